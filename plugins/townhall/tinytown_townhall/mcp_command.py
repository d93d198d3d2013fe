"""The command ``tt mcp``: the town for a model, over MCP on standard input and output."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from tinytown.config import load_config
from tinytown.errors import Refused
from tinytown.identity import inside_a_round
from tinytown_cli.public import CliContext, TownCommand, pass_cli_context

if TYPE_CHECKING:
    from tinytown_townhall.auth import Scope


@click.command(cls=TownCommand, examples=["tt mcp", "tt mcp --town /path/to/project --scope town.read"])
@click.option(
    "--scope", "scopes", multiple=True, metavar="SCOPE",
    help="What the model may do: town.read, town.write, agent.manage or admin.  [default: all]",
)  # fmt: skip
@pass_cli_context
def mcp(context: CliContext, scopes: tuple[str, ...]) -> None:
    """Serve the town to a model over MCP, on standard input and output, until the input ends.

    A client such as a desktop app starts it; the model then acts for its person. Agents in rounds have tt agent-tools.
    """
    from tinytown_townhall.auth import check_scopes

    root = context.town_root()
    load_config(root)
    if inside_a_round():
        raise Refused("cannot act for a person inside an agent's round", hint="agents have tt agent-tools")
    chosen = check_scopes(scopes or ("admin",))
    import trio  # late, like all that serving needs: `--help` does without

    trio.run(_serve, root, chosen)


async def _serve(root: Path, scopes: tuple[Scope, ...]) -> None:
    import trio
    from tinytown.town import connect_town

    from tinytown_townhall.application import all_endpoints
    from tinytown_townhall.auth import Principal
    from tinytown_townhall.hall import open_hall
    from tinytown_townhall.mcp_server import serve_stdio
    from tinytown_townhall.settings import Settings

    principal = Principal(name="person's model", scopes=frozenset(scopes))
    async with connect_town(root, load_config(root)) as town, open_hall(town, Settings(), trio.Event()) as hall:
        await serve_stdio(hall, all_endpoints(hall.extensions), principal)
