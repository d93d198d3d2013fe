from __future__ import annotations

import pytest
from tinytown_cli import formatting as tables
from tinytown_cli.formatting import both_ends, brief_id, brief_ids, end_of, table

HEADINGS = ("name", "nickname", "kind", "state", "about")
ROWS = [
    ("ada", "Maude Tanner", "shell", "working", "task 1f3ab0d2 and what it is about"),
    ("bob", "", "echo", "idle", ""),
]


def reported(monkeypatch: pytest.MonkeyPatch, columns: int | None) -> list[str]:
    monkeypatch.setattr(tables, "terminal_width", lambda: columns)
    return table(HEADINGS, ROWS, spare=("nickname", "kind"))


@pytest.mark.parametrize(
    ("columns", "head"),
    [
        (None, "NAME  NICKNAME      KIND   STATE    ABOUT"),
        (80, "NAME  NICKNAME      KIND   STATE    ABOUT"),
        (40, "NAME  KIND   STATE    ABOUT"),
        (24, "NAME  STATE    ABOUT"),
        (10, "NAME  STA…"),
    ],
)
def test_a_narrow_terminal_drops_the_least_important_columns_first(
    monkeypatch: pytest.MonkeyPatch, columns: int | None, head: str
) -> None:
    lines = reported(monkeypatch, columns)
    assert lines[0] == head
    assert all(len(line) <= (columns or 200) for line in lines)


def test_a_pipe_gets_every_column(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reported(monkeypatch, None)[1] == "ada   Maude Tanner  shell  working  task 1f3ab0d2 and what it is about"


def test_ids_are_as_long_as_they_need_to_be() -> None:
    one, two = "e2de19ce-a0fb-4ad4-9337-c0199ead0df9", "e2de19ce-a1fb-4ad4-9337-c0199ead0df9"
    assert brief_ids(["plan-release-1", "plan-release-12", "a"]) == {
        "plan-release-1": "plan-release-1",
        "plan-release-12": "plan-release-12",
        "a": "a",
    }
    assert brief_ids([one]) == {one: "e2de19ce"}
    assert brief_ids([one, two]) == {one: "e2de19ce-a0", two: "e2de19ce-a1"}
    assert brief_id(one) == "e2de19ce"
    assert brief_id("plan-release-12") == "plan-release-12"
    assert brief_id("") == ""


def test_of_a_long_reason_the_end_is_shown() -> None:
    assert end_of("short", 10) == "short"
    assert (
        end_of("Traceback (most recent call last):\n  File x\nValueError: no such table", 26)
        == "…ValueError: no such table"
    )
    assert end_of("a\x1b[31mb", 20) == "a\\x1b[31mb"


def test_of_a_long_reason_both_ends_are_shown() -> None:
    assert both_ends("short\nand two", 20) == "short and two"
    assert both_ends("conflicts in a.py: more of it, and report it again", 31) == "conflicts in a … eport it again"
