"""``tt where`` and ``tt uninstall``: where everything of a town is, and how it is removed from this machine."""

from __future__ import annotations

import click
from tinytown.config import load_config
from tinytown.redis import address_of

from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.town_state import town_places, uninstall_left_state, uninstall_town


@click.command(cls=TownCommand, examples=["tt where", "tt where --json"])
@pass_cli_context
def where(context: CliContext) -> None:
    """Show where everything of the town is: settings, state, snapshots, server. Starts nothing."""
    root = context.town_root()
    places = town_places(root)
    places["server"] = address_of(root, load_config(root)).redacted
    context.emit(places, [f"{name:<9}  {path}" for name, path in places.items()])


@click.command(cls=TownCommand, examples=["tt uninstall", "tt uninstall --force", "tt uninstall shop-1c9a04d2 --force"])
@click.argument("id_", metavar="[ID]", required=False)
@click.option("--force", is_flag=True, help="Remove it. Without --force, only show what would be removed.")
@pass_cli_context
def uninstall(context: CliContext, id_: str | None, force: bool) -> None:
    """Remove the town from this machine: agents, tasks, mail, logs, snapshots. The project and tinytown.toml stay.

    What an external server holds stays too: tt reset empties it. ID is that of a town whose project was deleted, as tt towns
    shows it; its state stays until then.
    """
    if id_ is None:
        uninstall_town(context, force=force)
    else:
        uninstall_left_state(context, id_, force=force)
