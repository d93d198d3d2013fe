"""State in ``key: value`` lines of a bead's description: read it, and change one line only. Pure."""

from __future__ import annotations

import re

_LINE = re.compile(r"^[ \t]*([A-Za-z][A-Za-z0-9_ -]{0,40}?)[ \t]*:[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)


def _plain(key: str) -> str:
    """Keys are the same with dashes, without any separator, and in any case."""
    return re.sub(r"[ _-]", "", key).lower()


def fields_in(text: str) -> dict[str, str]:
    """The values by their keys, lower case and without separators; ``null`` is empty. Of two the first counts."""
    fields: dict[str, str] = {}
    for match in _LINE.finditer(text):
        fields.setdefault(_plain(match[1]), "" if match[2] == "null" else match[2])
    return fields


def field_of(text: str, key: str) -> str:
    """The value of a key, empty if absent."""
    return fields_in(text).get(_plain(key), "")


def with_field(text: str, key: str, value: str) -> str:
    """`text` with another value for a key; a new one gets a line at the end. Every other character stays."""
    for match in _LINE.finditer(text):
        if _plain(match[1]) == _plain(key):
            # `null` is how they write an empty value of a key that is there.
            return text[: match.start(2)] + (value or "null") + text[match.end(2) :]
    gap = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{gap}{key}: {value or 'null'}"
