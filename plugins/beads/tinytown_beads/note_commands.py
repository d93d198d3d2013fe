"""``tt remember``, ``tt recall`` and ``tt forget``."""

from __future__ import annotations

import re

import click
import msgspec
from tinytown.errors import NotFound, Refused, UsageError
from tinytown_cli.public import (
    AGENT,
    CliContext,
    TownClient,
    TownCommand,
    pass_cli_context,
    read_text,
)

from tinytown_beads.groups.record import PLUGIN, now
from tinytown_beads.notes import TEXT_BYTES, Note, field_of, key_of, notes_in

#: Control characters, and bytes that are no UTF-8 as they arrive from a command line.
_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@click.command(
    cls=TownCommand,
    examples=["tt remember 'the integration tests need make services first'", "tt remember --key style - < STYLE.md"],
    scope="town.write",
)
@click.argument("text")
@click.option("--key", default="", help="The note's key; an existing key is replaced.  [default: the first words]")
@click.option("--for", "agent", default="", type=AGENT, metavar="AGENT", help="Only for this agent.")
@pass_cli_context
def remember(context: CliContext, text: str, key: str, agent: str) -> None:
    """Add a note, TEXT (- reads standard input), to every prompt from now on."""
    words = read_text(text).strip()
    if not words or len(words.encode("utf-8", "surrogateescape")) > TEXT_BYTES:
        raise UsageError(
            f"expected a note of 1 to {TEXT_BYTES:,} bytes", hint="put longer text in a file of the repository"
        )
    if _UNFIT.search(words):
        raise UsageError("expected a note of UTF-8 text without control characters")
    field = field_of(key or key_of(words))
    with context.open_town() as town:
        note = Note(
            key=field.partition(".")[2],
            text=words,
            by=town.caller.agent_name or town.caller.address,
            at=now(),
            agent=town.run(town.operations.agent(agent)).name if agent else "",
        )
        old = town.run(town.operations.plugin_field(PLUGIN, field))
        if old is not None and not key and old.get("text") != words:
            raise Refused(f"a note {note.key!r} already exists", hint="choose another --key", code="exists")
        town.run(town.operations.set_plugin_field(PLUGIN, field, msgspec.to_builtins(note)))
    context.emit(note, f"saved as {note.key}")


@click.command(cls=TownCommand, examples=["tt recall", "tt recall tests"], scope="town.read")
@click.argument("word", required=False, default="")
@pass_cli_context
def recall(context: CliContext, word: str) -> None:
    """Show the notes, or those whose key or text contains WORD."""
    with context.open_town() as town:
        notes = [note for note in _notes(town) if word.lower() in f"{note.key}\n{note.text}".lower()]
    lines = [
        line
        for note in notes
        for line in (
            f"{note.key}  ({note.by}, {note.at}{f', for {note.agent}' if note.agent else ''})",
            f"  {note.text}",
        )
    ]
    context.emit({"notes": notes}, lines or ["no notes" + (f" match {word}" if word else "")])


@click.command(cls=TownCommand, examples=["tt forget style"], scope="town.write")
@click.argument("key")
@pass_cli_context
def forget(context: CliContext, key: str) -> None:
    """Remove the note KEY from all prompts."""
    with context.open_town() as town:
        forgotten = next((note for note in _notes(town) if note.key == key), None)
        if forgotten is None:
            raise NotFound(f"no note called {key[:80]!r}", hint="tt recall shows them")
        town.run(town.operations.set_plugin_field(PLUGIN, field_of(key), None))
    context.emit(forgotten, f"removed note {key}")


def _notes(town: TownClient) -> tuple[Note, ...]:
    data = town.run(town.operations.plugin_data(PLUGIN))
    return notes_in(data)
