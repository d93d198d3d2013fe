"""`docs/coming-from-tinytown.md`: each of the 99 weaknesses has its place."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "coming-from-tinytown.md").read_text()
NUMBERS = 99


def rows(heading: str) -> list[list[str]]:
    """The cells of each row of the tables whose first line is `heading`."""
    cells: list[list[str]] = []
    for table in PAGE.split(heading + "\n")[1:]:
        lines = table.splitlines()[1:]
        cells += [[cell.strip() for cell in line.strip("|").split(" | ")] for line in _while_rows(lines)]
    return cells


def _while_rows(lines: list[str]) -> list[str]:
    end = next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return lines[:end]


def test_each_weakness_is_listed_once() -> None:
    numbers: list[int] = []
    for row in rows("| | here |") + rows("| | why there is no test |"):
        for part in row[0].split(", "):
            first, _, last = part.partition(" to ")
            numbers += range(int(first), int(last or first) + 1)
    assert sorted(numbers) == list(range(1, NUMBERS + 1))
