"""Notes in the prompt of every agent: part of the plugin's data, bounded, quoted. Pure.

A note is one person's text in everybody's prompt, so it is fenced with more backticks than it contains, under its author.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from tinytown.errors import UsageError
from tinytown.model.agents import Agent

PREFIX = "note."
TEXT_BYTES = 4_000
SECTION_CHARACTERS = 12_000

_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A note. ``agent`` limits it to one agent, '' for all; ``at`` is RFC 3339."""

    key: str
    text: str
    by: str
    at: str
    agent: str = ""


def key_of(text: str) -> str:
    """A key from the first words of a note."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return "-".join(words[:5])[:60].strip("-") or "note"


def field_of(key: str) -> str:
    """The field that holds the note. Raises: UsageError for an illegal key."""
    if not _KEY.fullmatch(key):
        raise UsageError(f"expected a key of 1 to 63 small letters, digits, '.', '_' or '-', got {key[:80]!r}")
    return PREFIX + key


def notes_in(data: Mapping[str, Any]) -> tuple[Note, ...]:
    """The notes in the plugin's data, oldest first; invalid values are skipped."""
    notes: list[Note] = []
    for field, value in data.items():
        if field.startswith(PREFIX):
            try:
                notes.append(msgspec.convert(value, Note))
            except msgspec.ValidationError:
                continue
    return tuple(sorted(notes, key=lambda note: (note.at, note.key)))


def note_sections(agent: Agent, data: Mapping[str, Any]) -> list[str]:
    """The notes for an agent's prompt, empty if there are none for it. Beyond the limit the oldest are omitted."""
    notes = [note for note in notes_in(data) if not note.agent or note.agent.lower() == agent.name.lower()]
    entries: list[str] = []
    length = 0
    for note in reversed(notes):
        text = _quoted(note)
        length += len(text)
        if length > SECTION_CHARACTERS:
            entries.append(f"- and {len(notes) - len(entries)} older ones: `tt recall`")
            break
        entries.append(text)
    if not entries:
        return []
    head = "## Notes of this town\n\nLeft by agents and people (`tt remember`, `tt recall`, `tt forget`)."
    return ["\n\n".join((head, *reversed(entries)))]


def _quoted(note: Note) -> str:
    longest = max(map(len, re.findall(r"`+", note.text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"### {note.key}, by {note.by}\n\n{fence}text\n{note.text}\n{fence}"
