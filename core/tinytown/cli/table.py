"""Rows of text under headings, as plain text: for eyes, not for programs (those have ``--json``)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tinytown.names import shown

_GAP = "  "


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table. On a terminal the last column is cut at its edge; in a pipe it is kept whole."""
    cells = [[shown(cell, 10_000) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    edge = terminal_width()
    lines: list[str] = []
    for row in [[heading.upper() for heading in headings], *cells]:
        line = _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        lines.append(line if edge is None or len(line) <= edge else line[: edge - 1] + "…")
    return lines


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is, or None when it is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None
