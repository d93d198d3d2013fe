"""Names and ids: what a town, an agent, a task or a message may be called. Pure; knows nothing of what they name.

A name is an address that users type and that ends up in file paths, Redis keys and prompts, so the alphabet is
small. Ids are random UUIDs (version 4) in text form; any of them may be shortened to a unique prefix.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache

from tinytown.errors import UsageError
from tinytown.model.text import shown

#: The human side of a town: a mailbox without an agent. Id and both names as in Tinytown 0.10 for Rust.
SUPERVISOR = "supervisor"
SUPERVISOR_ID = "00000000-0000-0000-0000-000000000001"
SUPERVISOR_NAMES = frozenset({SUPERVISOR, "conductor"})

SHORT_ID_LENGTH = 4

_TOWN_NAME = r"[a-z0-9][a-z0-9._-]{0,62}"
_AGENT_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_LABEL = r"[A-Za-z0-9][A-Za-z0-9._=-]{0,127}"
_WORD = r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}"
_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"


def new_id() -> str:
    """A fresh random id, a UUID of version 4 in text form. (The `uuid` module costs quick commands 10 ms to import.)"""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def short_id(full: str) -> str:
    """The first characters of an id, for screens."""
    return full[:SHORT_ID_LENGTH]


def check_town_name(name: str) -> str:
    """`name` itself. Raises UsageError unless it is 1 to 63 of ``a-z 0-9 . _ -``, beginning with a letter or digit."""
    expected = "a town name of 1 to 63 lower-case letters, digits, '.', '_' or '-'"
    return _matched(_TOWN_NAME, name, expected, hint=f"try {town_name_from(name)!r}")


def _matched(pattern: str, text: str, expected: str, *, hint: str = "") -> str:
    if not re.fullmatch(pattern, text):
        raise UsageError(f"expected {expected}, got {shown(text)!r}", hint=hint)
    return text


def town_name_from(text: str) -> str:
    """The nearest legal town name to any text, such as a directory's name or a branch; ``tinytown`` if nothing is left."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("._-")[:63].rstrip("._-") or "tinytown"


def check_agent_name(name: str) -> str:
    """`name` itself. Raises UsageError for an illegal or reserved one (`supervisor` and `conductor` are the human side)."""
    expected = "an agent name of 1 to 63 letters, digits, '.', '_' or '-'"
    _matched(_AGENT_NAME, name, expected, hint="begin with a letter or digit and leave out spaces, slashes and colons")
    if name.lower() in SUPERVISOR_NAMES:
        why = f"{name!r} is the human side of the town and cannot be an agent's name"
        raise UsageError(why, hint=f"try {name}-helper")
    return name


def check_word(what: str, text: str) -> str:
    """`text` itself, checked as a nickname, role or tag: 1 to 63 letters, digits, blanks, '.', '_' or '-'."""
    return _matched(_WORD, text, f"a {what} of 1 to 63 letters, digits, blanks, '.', '_' or '-'")


def check_label(text: str) -> str:
    """`text` itself, checked as a label of a host: ``gpu``, ``zone=a``, ``host=build-7``."""
    return _matched(_LABEL, text, "a label of 1 to 128 letters, digits, '.', '_', '=' or '-'")


def check_id(what: str, text: str) -> str:
    """`text` itself, checked as an id made elsewhere (ours are UUIDs, which pass)."""
    return _matched(_ID, text, f"{what} of 1 to 128 letters, digits, '.', '_' or '-'")


def check_task_id(text: str) -> str:
    """`text` itself, checked as an id that an importer or a plan gave a task."""
    return check_id("a task id", text)


@cache
def _names() -> list[list[str]]:
    """First and last names, from the two paragraphs of their file."""
    with open(os.path.join(os.path.dirname(__file__), "nicknames.txt"), encoding="utf-8") as file:
        return [paragraph.split() for paragraph in file.read().split("\n\n")]


def nicknames(agent_id: str, count: int = 8) -> Iterator[str]:
    """Up to `count` nicknames that belong to an agent's id, the favourite first: the same id gives the same names."""
    first, last = _names()
    number = int(agent_id.replace("-", ""), 16)
    for step in range(count):
        pick = number >> (step * 11)
        yield f"{first[pick % len(first)]} {last[pick // len(first) % len(last)]}"
