"""On which line of a TOML text a key or a table stands, for error messages. Pure.

A scan by lines that knows headers, keys at the beginning of a line and texts of several lines; what is written inside
inline tables and arrays is found by the line of the key that they belong to.
"""

from __future__ import annotations

import re
from collections import Counter

KeyPath = tuple[str | int, ...]

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\"'-]+)\s*=")


def lines_by_path(text: str) -> dict[KeyPath, int]:
    """The line, counted from 1, of each table and key that begins one. Elements of arrays of tables are numbered from 0."""
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
    """The line of `path`, or of the nearest thing around it that has one."""
    while path:
        if path in positions:
            return positions[path]
        path = path[:-1]
    return None


def parse_path(where: str) -> KeyPath:
    """The path that msgspec words like ``$.steps[2].gate``; it writes ``...`` for the key of a table of tables."""
    parts = re.findall(r"\.\.\.|\w+(?:-\w+)*", where.removeprefix("$"))
    return tuple(int(part) if part.isdigit() else part for part in parts)
