"""``tt dead``: messages that were delivered too often or cannot be decoded."""

from __future__ import annotations

import click
from tinytown.errors import NotFound, UsageError
from tinytown.model.text import shown

from tinytown_cli import administration
from tinytown_cli.administration import DeadLetter
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import brief_ids, table
from tinytown_cli.framework import TownGroup
from tinytown_cli.params import LETTER
from tinytown_cli.serializers import dead_letter_shape


@click.group(cls=TownGroup, examples=["tt dead list", "tt dead redrive all"])
def dead() -> None:
    """Manage dead letters: messages that were delivered too often or cannot be decoded."""


@dead.command("list", examples=["tt dead list", "tt dead list --limit 500 --json"])
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="The maximum number of letters."
)
@pass_cli_context
def list_dead(context: CliContext, limit: int) -> None:
    """List the dead letters, the newest first."""
    with context.open_town() as town:
        letters = town.run(administration.dead_letters(town.operations.keys, limit=limit))
    ids = brief_ids(letter.id for letter in letters)
    rows = [
        (ids[letter.id], letter.agent, letter.at, str(letter.deliveries), letter.reason, _text(letter))
        for letter in letters
    ]
    lines = table(("message", "to", "since", "deliveries", "reason", "text"), rows) if rows else ["no dead letters"]
    context.emit({"dead": [dead_letter_shape(letter) for letter in letters]}, lines)


def _text(letter: DeadLetter) -> str:
    return letter.message.text if letter.message else letter.raw.decode("utf-8", "replace")


@dead.command("show", examples=["tt dead show 6d2c"])
@click.argument("message", type=LETTER)
@pass_cli_context
def show(context: CliContext, message: str) -> None:
    """Show one dead letter in full."""
    with context.open_town() as town:
        letters = town.run(administration.dead_letters(town.operations.keys, limit=town.config.limits.dead_letters))
    matches = [letter for letter in letters if message and letter.id.startswith(message)]
    if not matches:
        raise NotFound(f"no dead letter {shown(message)!r}", hint="tt dead list")
    if len(matches) > 1:
        names = ", ".join(letter.id for letter in matches[:8])
        raise UsageError(f"more than one dead letter begins with {shown(message)!r}: {names}", code="ambiguous")
    letter = matches[0]
    sender = letter.message.sender if letter.message else "?"
    head = f"{letter.id}  from {sender} to {letter.agent}, {letter.deliveries} deliveries, {letter.at}: {letter.reason}"
    context.emit(dead_letter_shape(letter), [head, "", _text(letter)])


@dead.command("redrive", examples=["tt dead redrive 6d2c", "tt dead redrive all"])
@click.argument("message", type=LETTER)
@pass_cli_context
def redrive(context: CliContext, message: str) -> None:
    """Return a dead letter (or all) to its mailbox, with its delivery count reset."""
    with context.open_town() as town:
        ids = town.run(administration.redrive(town.operations.keys, message))
    context.emit(
        {"redriven": ids}, [f"returned {letter_id} to its mailbox" for letter_id in ids] or ["no dead letters"]
    )


@dead.command("drop", examples=["tt dead drop 6d2c", "tt dead drop all"])
@click.argument("message", type=LETTER)
@pass_cli_context
def drop(context: CliContext, message: str) -> None:
    """Delete a dead letter (or all) permanently."""
    with context.open_town() as town:
        ids = town.run(administration.drop(town.operations.keys, message))
    context.emit({"dropped": ids}, [f"deleted {letter_id}" for letter_id in ids] or ["no dead letters"])
