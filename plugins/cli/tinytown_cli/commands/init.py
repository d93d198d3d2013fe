"""``tt init``: creates a town in a directory and starts its server. If a step fails, everything is undone."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from pathlib import Path

import click
from tinytown.config import CONFIG_FILE, Config, load_config
from tinytown.errors import NotFound, Refused, TinytownError, UsageError
from tinytown.identity import inside_a_round
from tinytown.model.ids import check_agent_name, check_town_name, town_name_from
from tinytown.packages import default_kind
from tinytown.state import find_town, new_town_id, state_directory

from tinytown_cli.client import TownClient, connect
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.git_repository import town_words
from tinytown_cli.params import KIND
from tinytown_cli.secrets import has_password
from tinytown_cli.text_files import write_new_file
from tinytown_cli.town_state import remove_state

_TEMPLATE = """\
# A Tinytown town. Every setting is described in docs/reference/configuration.md; never put a secret into this file.
name = "{name}"
# Names the town's state, which lies outside of the project: tt where. Commit this file.
id = "{id}"

# The kind of agent that `tt spawn` adds without --cli.
{default_cli}

# Without a url the town runs a server of its own. A password goes into TINYTOWN_REDIS_PASSWORD.
{redis}
# durability = "fast"   # sync once a second: faster, but a crash of the machine loses the last seconds

# A kind of agents that run this command, with the prompt on its standard input.
# [agent_clis.tests]
# command = "pytest -q"
# timeout_s = 600
"""


@click.command(
    cls=TownCommand,
    examples=[
        "tt init",
        "tt init --name shop --cli shell",
        "tt init --redis-url rediss://town@redis.example:6380/2   # the password: TINYTOWN_REDIS_PASSWORD",
    ],
)
@click.option("-n", "--name", help="The town's name.  [default: the git repository and branch, else the directory]")
@click.option("-c", "--cli", type=KIND, metavar="KIND", help="The default kind of agent for tt spawn.")
@click.option("--redis-url", metavar="URL", help="Use this server instead of an embedded one.")
@click.option("--join", is_flag=True, help="With an external server: join the town of this name that exists there.")
@click.option("--inside", is_flag=True, help="Allow a town inside another one.")
@pass_cli_context
def init(
    context: CliContext, name: str | None, cli: str | None, redis_url: str | None, join: bool, inside: bool
) -> None:
    """Create a town in this directory (or in --town PATH).

    Writes tinytown.toml, which is made to be committed, and starts the town's server. Its data and logs lie outside of the
    project: tt where. Existing files are never overwritten.
    """
    root = _directory(context.town)
    _refuse_existing(root, inside=inside)
    text = _settings(root, name, cli, redis_url)
    with contextlib.ExitStack() as undo:
        write_new_file(root / CONFIG_FILE, text)
        undo.callback((root / CONFIG_FILE).unlink, missing_ok=True)
        config = load_config(root)
        if config.redis.url is None and inside_a_round():
            raise Refused("an agent's round cannot start the server of a new town", hint="ask a person to run tt init")
        undo.callback(remove_state, root, config)
        with connect(root, config, on_connect=context.explain) as link:
            _set_up(link, join=join)
            url, version = link.client.address.redacted, link.server_version()
        undo.pop_all()
    _register(context, root, config.name)
    note = _note(root, config)
    context.emit(
        {
            "town": config.name,
            "root": str(root),
            "config": str(root / CONFIG_FILE),
            "state": str(state_directory(root)),
            "redis": {"url": url, "version": version},
            "note": note,
        },
        [
            f"created town {config.name} in {root}",
            f"settings: {CONFIG_FILE} (commit it)    state: {state_directory(root)}    server: {url}",
            *([note] if note else []),
            "next: tt spawn worker --cli shell && tt assign worker 'echo hello'",
        ],
    )


def _register(context: CliContext, root: Path, name: str) -> None:
    """Put the town on the user's list of towns. If that fails, the town works all the same."""
    from tinytown_cli.town_registry import register_town  # late: tomlkit

    try:
        register_town(root, name)
    except TinytownError as error:
        context.warn(f"note: this town is not on your list of towns: {error}")


def _note(root: Path, config: Config) -> str | None:
    """What a plugin has to say of the new town."""
    from tinytown_cli.plugin_commands import load_town_plugins

    plugins = load_town_plugins(root, config, strict=False)
    return plugins.first_answer("tinytown_init_note", {"config": config, "root": root}, str, "a text")


def _directory(named: str | None) -> Path:
    try:
        root = Path(named or ".").resolve(strict=True)
    except OSError as error:
        if named is None:
            raise  # the current directory: reported as for every command
        raise NotFound(f"no such directory: {named}", hint=f"mkdir -p {shlex.quote(named)}") from error
    if not root.is_dir():
        raise UsageError(f"expected a directory, got {root}")
    return root


def _refuse_existing(root: Path, *, inside: bool) -> None:
    if os.path.lexists(root / CONFIG_FILE):
        raise Refused(f"{root} already has a {CONFIG_FILE}", hint="tt status", code="exists")
    if inside:
        return
    with contextlib.suppress(NotFound):
        outer = find_town(root)
        raise Refused(
            f"{root} is inside the town at {outer}",
            hint="use that town, or pass --inside to create another",
            code="exists",
        )


def _settings(root: Path, name: str | None, cli: str | None, redis_url: str | None) -> str:
    """The text of the settings file, from checked values."""
    name = check_town_name(name) if name is not None else town_name_from(town_words(root))
    if redis_url is not None and has_password(redis_url):
        raise UsageError(
            "expected a URL without a password, since the town's file may be committed",
            hint="set TINYTOWN_REDIS_PASSWORD instead",
        )
    if cli is not None:
        check_agent_name(cli)
    return _TEMPLATE.format(
        name=name,
        id=new_town_id(name),
        default_cli=f'default_cli = "{cli}"' if cli else f'# default_cli = "{default_kind()}"',
        redis=f"[redis]\nurl = {json.dumps(redis_url)}"
        if redis_url
        else '# [redis]\n# url = "redis://redis.example:6379/0"',
    )


def _set_up(link: TownClient, *, join: bool) -> None:
    """Store the town's limits. Only an external server may already hold a town of this name."""
    # Connecting has stored the schema of the town's data; only a town that was set up has limits.
    words = ("HEXISTS", f"{link.operations.keys.base}:meta", "max_agents")
    if link.config.redis.url is not None and not join and link.client.command(*words):
        raise Refused(
            f"{link.client.address.redacted} already has a town called {link.config.name!r}",
            hint="choose another --name, or pass --join to join it from this machine",
            code="exists",
        )
    link.run(link.operations.setup(link.config.server_settings))
