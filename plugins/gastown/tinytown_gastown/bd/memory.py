"""``tt-bd remember``, ``recall``, ``memories``, ``forget`` and ``kv``: the notes of the town, and other values by key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import msgspec
from tinytown.errors import NotFound, UsageError
from tinytown_beads.groups.record import PLUGIN, now
from tinytown_beads.notes import TEXT_BYTES, Note, field_of, key_of, notes_in
from tinytown_cli.public import TownClient

from tinytown_gastown.bd.board import cli_context
from tinytown_gastown.bd.inputs import actor_of, clean_input
from tinytown_gastown.bd.output import Output, common_options, pass_output
from tinytown_gastown.bd.wisps import DATA

_VALUE = "kv."


def all_notes(town: TownClient) -> dict[str, Note]:
    """The notes of a town by their keys."""
    data = town.run(town.operations.plugin_data(PLUGIN))
    return {note.key: note for note in notes_in(data)}


@click.command("remember")
@click.argument("text")
@click.option("--key", default="", help="The key; an existing one is replaced.  [default: the first words]")
@common_options
@pass_output
def remember(out: Output, text: str, key: str) -> None:
    """Keep TEXT as a note: it is part of every prompt from now on."""
    out.refuse_readonly()
    words = clean_input(text).strip()
    if not words or len(words.encode()) > TEXT_BYTES:
        raise UsageError(f"expected a memory of 1 to {TEXT_BYTES:,} bytes")
    field = field_of(key or key_of(words))
    with cli_context(out.directory).open_town() as town:
        note = Note(key=field.partition(".")[2], text=words, by=actor_of(out, town), at=now())
        known = note.key in all_notes(town)
        town.run(town.operations.set_plugin_field(PLUGIN, field, msgspec.to_builtins(note)))
    action = "updated" if known else "remembered"
    out.answer({"action": action, "key": note.key, "value": words}, f"{action.title()} [{note.key}]: {words}")


@click.command("recall")
@click.argument("key")
@common_options
@pass_output
def recall(out: Output, key: str) -> None:
    """Print one memory."""
    with cli_context(out.directory).open_town() as town:
        note = all_notes(town).get(key)
    if note is None and not out.json:
        raise NotFound(f"no memory with key {key[:80]!r}")
    out.answer({"found": note is not None, "key": key, "value": note.text if note else ""}, note.text if note else "")


@click.command("memories")
@click.argument("word", required=False, default="")
@common_options
@pass_output
def memories(out: Output, word: str) -> None:
    """List the memories, or those that contain WORD."""
    with cli_context(out.directory).open_town() as town:
        notes = {
            key: note.text
            for key, note in sorted(all_notes(town).items())
            if word.lower() in f"{key}\n{note.text}".lower()
        }
    lines = [line for key, text in notes.items() for line in (f"  {key}", f"    {text}", "")]
    out.answer(notes, [f"Memories ({len(notes)}):", "", *lines] if notes else "No memories found.")


@click.command("forget")
@click.argument("key")
@common_options
@pass_output
def forget(out: Output, key: str) -> None:
    """Remove a memory."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        note = all_notes(town).get(key)
        if note is None:
            raise NotFound(f"no memory with key {key[:80]!r}")
        town.run(town.operations.set_plugin_field(PLUGIN, field_of(key), None))
    out.answer({"action": "forgot", "key": key, "value": note.text}, f"Forgot [{key}]: {note.text}")


@click.group("kv")
@common_options
def kv() -> None:
    """Values by key, for programs; they are in no prompt."""


def _values(data: Mapping[str, Any]) -> dict[str, str]:
    return {field.removeprefix(_VALUE): str(value) for field, value in sorted(data.items()) if field.startswith(_VALUE)}


@kv.command("set")
@click.argument("key")
@click.argument("value")
@common_options
@pass_output
def kv_set(out: Output, key: str, value: str) -> None:
    """Set a value."""
    out.refuse_readonly()
    text = clean_input(value)
    with cli_context(out.directory).open_town() as town:
        town.run(town.operations.set_plugin_field(DATA, _VALUE + key, text))
    out.answer({"key": key, "value": text, "status": "set"}, f"Set {key} = {text}")


@kv.command("get")
@click.argument("key")
@common_options
@pass_output
def kv_get(out: Output, key: str) -> None:
    """Print a value."""
    with cli_context(out.directory).open_town() as town:
        value = town.run(town.operations.plugin_field(DATA, _VALUE + key))
    if value is None and not out.json:
        raise NotFound(f"key {key[:80]!r} not found")
    out.answer({"key": key, "value": value or "", "found": value is not None}, str(value))


@kv.command("clear")
@click.argument("key")
@common_options
@pass_output
def kv_clear(out: Output, key: str) -> None:
    """Remove a value."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        town.run(town.operations.set_plugin_field(DATA, _VALUE + key, None))
    out.answer({"key": key, "status": "cleared"}, f"Cleared {key}")


@kv.command("list")
@common_options
@pass_output
def kv_list(out: Output) -> None:
    """List all values."""
    with cli_context(out.directory).open_town() as town:
        values = _values(town.run(town.operations.plugin_data(DATA)))
    out.answer(values, [f"  {key} = {value}" for key, value in values.items()] or "No values.")
