"""Tables as plain text for people; programs read ``--json``. Also the tables of agents and of tasks."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown.model.time import parse_rfc3339

_GAP = "  "
_SHORT = 8
#: A terminal too narrow for this much of the last column gets fewer columns.
_LAST_COLUMN = 6


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, spare: Sequence[str] = ()) -> list[str]:
    """The lines of a table, with its headings in capitals. A terminal cuts long lines at its edge; a pipe keeps them whole.

    On a terminal too narrow for the last column, the columns of `spare` are left out, in their order.
    """
    cells = [[shown(cell, 10_000) for cell in row] for row in rows]
    edge = terminal_width()
    for name in spare:
        widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
        if edge is None or sum(widths[:-1]) + len(_GAP) * len(widths[:-1]) + _LAST_COLUMN <= edge:
            break
        at = headings.index(name)
        headings, cells = [*headings[:at], *headings[at + 1 :]], [[*row[:at], *row[at + 1 :]] for row in cells]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    lines: list[str] = []
    for row in [[heading.upper() for heading in headings], *cells]:
        line = _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        lines.append(line if edge is None or len(line) <= edge else line[: edge - 1] + "…")
    return lines


def terminal_width() -> int | None:
    """The columns of the terminal on stdout; None if stdout is not a terminal."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None


def agent_table(agents: Sequence[Agent]) -> list[str]:
    """The agents as a table."""
    rows = [
        (
            each.name,
            each.nickname or "",
            each.role or "",
            each.cli,
            _state(each),
            _age(each.since),
            _mail(each),
            str(each.open_tasks),
            str(each.rounds_completed),
            _current(each) or each.reason or "",
        )
        for each in agents
    ]
    return table(
        ("name", "nickname", "role", "kind", "state", "age", "mail", "tasks", "rounds", "notes"),
        rows,
        spare=("nickname", "kind", "role", "rounds", "tasks"),
    )


def _state(agent: Agent) -> str:
    expected = {"running": "", "paused": "paused", "drained": "stopped", "stopped": "stopped"}[agent.desired_state]
    return agent.state if not expected or agent.state == expected else f"{agent.state} ({agent.desired_state})"


def _age(since: str | None) -> str:
    """The time since then in its largest unit, by the clock of this machine."""
    if since is None:
        return ""
    seconds = max(0, time.time() - parse_rfc3339(since) / 1000)
    size, unit = next((each for each in _UNITS if seconds >= each[0]), (1, "s"))
    return f"{seconds // size:.0f}{unit}"


_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))


def _mail(agent: Agent) -> str:
    mail = agent.mail
    return f"{mail.total}, {mail.urgent} urgent" if mail.urgent else str(mail.total)


def _current(agent: Agent) -> str:
    if not agent.current_task or agent.state in ("error", "starting", "suspended", "stopped"):
        return ""
    return f"task {agent.current_task[:_SHORT]}"


def task_table(tasks: Sequence[Task]) -> list[str]:
    """The tasks as a table."""
    rows = [
        (each.id[:_SHORT], each.state, each.priority, each.assigned_to or "-", ",".join(each.tags), each.headline)
        for each in tasks
    ]
    return table(("task", "state", "priority", "agent", "tags", "title"), rows, spare=("tags", "priority"))
