"""``tt trace``: where a message has been; and which message is meant by the beginning of an id."""

from __future__ import annotations

import re

import click
from tinytown.client import TownClient
from tinytown.errors import NotFound, UsageError
from tinytown.model.text import shown
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import MESSAGE

#: What may be the beginning of a message's id; nothing in it means anything else in a pattern.
_BEGINNING = re.compile("[A-Za-z0-9._-]{1,127}")
_STEP = 2_000
_CANDIDATES = 8


@click.command(cls=TownCommand, examples=["tt trace 6d2c41f0"])
@click.argument("message", type=MESSAGE)
@pass_cli_context
def trace(context: CliContext, message: str) -> None:
    """Where a message has been, and when. MESSAGE is its id, or the beginning of it."""
    with context.open_town() as town:
        id_ = whole_message_id(town, message)
        story = town.run(town.operations.trace(id_))
        kept_s = town.config.limits.trace_ttl_s
    if not story:
        raise NotFound(
            f"nothing is known of a message {shown(message)!r}",
            hint=f"stories are kept for {kept_s} s; tt inbox --all shows what lies there, tt dead list what was given up",
        )
    context.emit({"message": id_, "trace": story}, [f"{line.at}  {line.what}" for line in story])


def whole_message_id(town: TownClient, word: str) -> str:
    """The id of the one message whose story is known and whose id begins with `word`; `word` itself where there is none.

    Raises: UsageError for several, with code ``ambiguous``.
    """
    if not _BEGINNING.fullmatch(word):
        return word
    if town.run(town.operations.trace(word)):
        return word
    # Stories have no index, as only people ask for one by its beginning. The search holds nobody up: it goes in steps.
    begin, found, cursor = town.operations.keys.trace(word), set[bytes](), b"0"
    while True:
        cursor, keys = town.client.command("SCAN", cursor, "MATCH", f"{begin}*", "COUNT", _STEP)
        found.update(keys)
        if cursor == b"0":
            break
    ids = sorted(key.decode().rpartition(":")[2] for key in found)
    if len(ids) > 1:
        raise UsageError(
            f"more than one message begins with {word!r}: {', '.join(ids[:_CANDIDATES])}",
            hint="write more of the id",
            code="ambiguous",
            candidates=ids[:_CANDIDATES],
        )
    return ids[0] if ids else word
