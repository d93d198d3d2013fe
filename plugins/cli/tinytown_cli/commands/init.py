"""``tt init``: creates a town in a directory and starts its server. If a step fails, everything is undone."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from tinytown.config import CONFIG_FILE, Config
from tinytown.errors import NotFound, TinytownError, UsageError
from tinytown.state import state_directory

from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.new_town import make_town
from tinytown_cli.params import KIND


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
    config, url, version = make_town(
        root, name=name, cli=cli, redis_url=redis_url, join=join, inside=inside, on_connect=context.explain
    )
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
