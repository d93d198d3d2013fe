"""``tt trace``: the history of a message."""

from __future__ import annotations

import click
from tinytown.errors import NotFound
from tinytown.model.text import shown
from tinytown_cli import administration
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.message_ids import whole_message_id
from tinytown_cli.params import MESSAGE


@click.command(cls=TownCommand, examples=["tt trace 6d2c41f0"])
@click.argument("message", type=MESSAGE)
@pass_cli_context
def trace(context: CliContext, message: str) -> None:
    """Show the history of a message: queued, leased, delivered, dead, and when. MESSAGE is its id or a prefix of it."""
    with context.open_town() as town:
        id_ = whole_message_id(town, message)
        entries = town.run(administration.trace(town.operations.keys, id_))
        ttl_s = town.config.limits.trace_ttl_s
    if not entries:
        raise NotFound(
            f"no message {shown(message)!r} on record",
            hint=f"traces are kept for {ttl_s} s; tt inbox --all lists messages, tt dead list those that could not be delivered",
        )
    context.emit({"message": id_, "trace": entries}, [f"{entry.at}  {entry.what}" for entry in entries])
