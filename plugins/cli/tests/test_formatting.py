from __future__ import annotations

import pytest
from tinytown_cli import formatting as tables
from tinytown_cli.formatting import table

HEADINGS = ("name", "nickname", "kind", "state", "about")
ROWS = [
    ("ada", "Maude Tanner", "shell", "working", "task 1f3ab0d2 and what it is about"),
    ("bob", "", "echo", "idle", ""),
]


def told(monkeypatch: pytest.MonkeyPatch, columns: int | None) -> list[str]:
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
def test_where_a_terminal_is_narrow_the_columns_that_matter_least_go_first(
    monkeypatch: pytest.MonkeyPatch, columns: int | None, head: str
) -> None:
    lines = told(monkeypatch, columns)
    assert lines[0] == head
    assert all(len(line) <= (columns or 200) for line in lines)


def test_in_a_pipe_nothing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, None)[1] == "ada   Maude Tanner  shell  working  task 1f3ab0d2 and what it is about"
