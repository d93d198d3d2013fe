"""Rows of text under headings, as plain text: for eyes, not for programs (those have ``--json``).

Here are also the two tables that several commands show, of agents and of tasks.
"""

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
#: How much of its last column a table should have room for.
_LAST = 6


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, spare: Sequence[str] = ()) -> list[str]:
    """The lines of a table. On a terminal what is too long is cut at its edge; in a pipe all is kept whole.

    Where a terminal is too narrow to show something of the last column, columns of `spare` are left out, the first of them first.
    """
    cells = [[shown(cell, 10_000) for cell in row] for row in rows]
    edge = terminal_width()
    for name in spare:
        widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
        if edge is None or sum(widths[:-1]) + len(_GAP) * len(widths[:-1]) + _LAST <= edge:
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
    """Columns of the terminal that stdout is, or None when it is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None


def agent_table(agents: Sequence[Agent]) -> list[str]:
    """The agents as a table for people."""
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
        ("name", "nickname", "role", "kind", "state", "for", "mail", "tasks", "rounds", "about"),
        rows,
        spare=("nickname", "kind", "role", "rounds", "tasks"),
    )


def _state(agent: Agent) -> str:
    settled = {"running": "", "paused": "paused", "drained": "stopped", "stopped": "stopped"}[agent.desired_state]
    return agent.state if not settled or agent.state == settled else f"{agent.state} ({agent.desired_state})"


def _age(since: str | None) -> str:
    """For how long something has been so, in its largest unit. By this machine's clock, so only roughly."""
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
    at_it = agent.current_task and agent.state not in ("error", "starting", "suspended", "stopped")
    return f"task {agent.current_task[:8]}" if at_it and agent.current_task else ""


def task_table(tasks: Sequence[Task]) -> list[str]:
    """The tasks as a table for people."""
    rows = [
        (each.id[:_SHORT], each.state, each.priority, each.assigned_to or "-", ",".join(each.tags), each.headline)
        for each in tasks
    ]
    return table(("task", "state", "priority", "agent", "tags", "title"), rows, spare=("tags", "priority"))
