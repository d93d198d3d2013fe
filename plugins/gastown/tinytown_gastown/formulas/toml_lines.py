"""The line of a key or table in a TOML text, for error messages. Pure.

A line scanner that knows headers, keys at the start of a line and multi-line strings; anything inside
inline tables and arrays has the line of its key.
"""

from __future__ import annotations

import re
from collections import Counter

KeyPath = tuple[str | int, ...]

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\"'-]+)\s*=")


def lines_by_path(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of each table and key at the start of a line. Elements of arrays of tables are numbered from 0."""
    positions: dict[KeyPath, int] = {}
    elements: Counter[KeyPath] = Counter()
    table: KeyPath = ()
    closing = ""
    for number, line in enumerate(text.splitlines(), 1):
        if closing:
            if line.count(closing) % 2:
                closing = ""
            continue
        if header := _HEADER.match(line):
            table = ()
            names = [name.strip().strip("\"'") for name in header[2].split(".")]
            for depth, name in enumerate(names):
                table = (*table, name)
                if depth == len(names) - 1 and header[1] == "[[":
                    elements[table] += 1
                if elements[table]:
                    table = (*table, elements[table] - 1)
            positions.setdefault(table, number)
        elif key := _KEY.match(line):
            positions.setdefault((*table, *(part.strip("\"'") for part in key[1].split("."))), number)
        for quotes in ('"""', "'''"):
            if line.count(quotes) % 2:
                closing = quotes
    return positions


def line_of(positions: dict[KeyPath, int], path: KeyPath) -> int | None:
    """The line of `path`, or of its nearest enclosing key."""
    while path:
        if path in positions:
            return positions[path]
        path = path[:-1]
    return None


def parse_path(where: str) -> KeyPath:
    """The path in an error of msgspec, such as ``$.steps[2].gate``; ``...`` is the key of a table of tables."""
    parts = re.findall(r"\.\.\.|\w+(?:-\w+)*", where.removeprefix("$"))
    return tuple(int(part) if part.isdigit() else part for part in parts)
