"""Pages for users name no tests: `docs/evidence.md` does, for each of their lines that a test holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EVIDENCE = (DOCS / "evidence.md").read_text()
SECTIONS: dict[str, str] = dict(
    re.findall(r"^## \[[^]]*\]\((\S+)\)\n(.*?)(?=^## |\Z)", EVIDENCE, re.MULTILINE | re.DOTALL)
)
#: The head of a table whose lines have a reason in place of tests.
WITHOUT_TESTS = "| | why there is no test |"
#: Pages for those who write plugins show tests of theirs.
WITH_TESTS = {"evidence.md", "extend.md", "testing.md"}
SOURCES = [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("plugins/*/tests/**/test_*.py")]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of the tables in a text, without their heads."""
    lines = text.partition(WITHOUT_TESTS)[0].splitlines()
    for number, line in enumerate(lines):
        is_head = number + 1 < len(lines) and lines[number + 1].startswith("|---")
        if line.startswith("|") and not line.startswith("|---") and not is_head:
            yield [cell.strip() for cell in re.split(r" \| ", line.strip()[1:-1])]


def parts(text: str) -> dict[str, str]:
    """What is below each heading of a page, by the heading."""
    return dict(re.findall(r"^#+ ([^\n]+)\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", SECTIONS)
def test_each_line_that_is_held_by_tests_is_on_its_page_and_each_line_there_has_tests(page: str) -> None:
    of_page = parts((DOCS / page).read_text())
    for heading, evidence in parts(SECTIONS[page]).items():
        promised = [row[0] for row in rows(of_page[heading])]
        promised += re.findall(r"^- (.*)$", of_page[heading], re.MULTILINE) if not promised else []
        assert [row[0] for row in rows(evidence)] == promised, f"{page}: {heading}"


def test_the_tests_are_there() -> None:
    written = {name for path in SOURCES for name in re.findall(r"def (test_\w+)", path.read_text())}
    checked = [row for text in SECTIONS.values() for row in rows(text)]
    assert len(checked) > 150
    for row in checked:
        named = re.findall(r"`(test_\w+)`", row[-1])
        assert named, row
        assert set(named) <= written, set(named) - written
    assert set(re.findall(r"`(test_\w+)`", EVIDENCE)) <= written


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md") if path.name not in WITH_TESTS))
def test_a_page_for_users_names_no_tests(page: str) -> None:
    assert re.findall(r"`test_\w+`|\| tests \||\| proven by \|", (DOCS / page).read_text()) == []
