"""The lines of the view on a terminal; `test_demo` tests that it is redrawn in place."""

from __future__ import annotations

from pathlib import Path

import pytest
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown_demo.live_view import LiveView, agent_table, task_table

AGENTS = (
    Agent(id="1", name="designer", cli="demo", state="working", current_task="design"),
    Agent(id="2", name="a-name-longer-than-others", cli="demo", state="idle"),
)


def test_columns_are_aligned_whatever_they_hold() -> None:
    assert agent_table(AGENTS, {"designer": "thinking\n\x1b[2J about it"}, coloured=False) == [
        "agent                      state       task        latest line",
        "designer                   working     design      thinking \\x1b[2J about it",
        "a-name-longer-than-others  idle",
    ]


def test_only_states_are_coloured() -> None:
    tasks = [
        Task(id=state, description="x", state=state, assigned_to="failed?")
        for state in ("completed", "failed", "pending")
    ]
    _, *rows = task_table(tasks, coloured=True)
    assert [row[12:].split()[0] for row in rows] == ["\x1b[32mcompleted", "\x1b[1;31mfailed", "pending"]
    assert all(row.startswith(state) for row, state in zip(rows, ("completed", "failed", "pending"), strict=True))
    assert "\x1b" not in "".join(task_table(tasks, coloured=False))


def test_a_view_fits_the_screen_and_replaces_the_last_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("LINES", "6"), ("COLUMNS", "40"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    view = LiveView()
    view.opened(Path("somewhere"))
    capsys.readouterr()
    view.update(AGENTS, ())
    drawn = capsys.readouterr().out
    assert drawn.count("\n") == 5
    view.update(AGENTS, ())
    assert capsys.readouterr().out.startswith("\x1b[5F")
    view.closed()
    assert capsys.readouterr().out.endswith("\x1b[?25h")
