"""`docs/coming-from-tinytown.md`: every row names tests that exist, and each of the 99 weaknesses has its place."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "coming-from-tinytown.md").read_text()
SOURCES = [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("plugins/*/tests/**/test_*.py")]
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


def test_every_row_names_tests_that_exist() -> None:
    written = {name for path in SOURCES for name in re.findall(r"def (test_\w+)", path.read_text())}
    checked = rows("| behaviour | tests |") + rows("| | here | tests |")
    assert len(checked) > 100
    for row in checked:
        named = re.findall(r"`(test_\w+)`", row[-1])
        assert named, row
        assert set(named) <= written, set(named) - written


def test_each_weakness_is_listed_once() -> None:
    numbers: list[int] = []
    for row in rows("| | here | tests |") + rows("| | why there is no test |"):
        for part in row[0].split(", "):
            first, _, last = part.partition(" to ")
            numbers += range(int(first), int(last or first) + 1)
    assert sorted(numbers) == list(range(1, NUMBERS + 1))
