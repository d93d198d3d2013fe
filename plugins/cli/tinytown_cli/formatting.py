"""Tables as plain text for people; programs read ``--json``. Also the tables of agents and of tasks."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence

from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.model.text import escape_control, shown
from tinytown.model.time import parse_rfc3339

_GAP = "  "
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


def brief_id(id_: str) -> str:
    """An id as people read it: the first 8 characters of a UUID, and any other, such as ``plan-12``, whole."""
    return id_[:_BRIEF] if _is_uuid(id_) else id_


def brief_ids(ids: Iterable[str]) -> dict[str, str]:
    """The ids of a list as people read them, longer where two would look alike."""
    ordered = sorted({*ids})
    brief: dict[str, str] = {}
    for before, id_, after in zip(["", *ordered], ordered, [*ordered[1:], ""], strict=False):
        length = next((n for n in range(_BRIEF, len(id_)) if id_[:n] not in (before[:n], after[:n])), len(id_))
        brief[id_] = id_[:length] if _is_uuid(id_) else id_
    return brief


def _is_uuid(id_: str) -> bool:
    # The order to work on a task has the task's id with a number behind it.
    return len(id_) >= 36 and {id_[at] for at in (8, 13, 18, 23)} == {"-"}


_BRIEF = 8


def end_of(text: str, limit: int) -> str:
    """The end of a text on one line: of an error it is what says why."""
    line = " ".join(escape_control(text).split())
    return line if len(line) <= limit else f"…{line[1 - limit :].lstrip()}"


def both_ends(text: str, limit: int) -> str:
    """Both ends of a text on one line: a gate says first why, a program last."""
    line = " ".join(escape_control(text).split())
    if len(line) <= limit:
        return line
    begin = (limit - 3) // 2
    return f"{line[:begin].rstrip()} … {line[begin + 3 - limit :].lstrip()}"


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
            agent.name,
            agent.nickname or "",
            agent.role or "",
            agent.cli,
            _state(agent),
            _age(agent.since),
            _mail(agent),
            str(agent.open_tasks),
            str(agent.rounds_completed),
            _current(agent) or agent.reason or "",
        )
        for agent in agents
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
    size, unit = next((step for step in _UNITS if seconds >= step[0]), (1, "s"))
    return f"{seconds // size:.0f}{unit}"


_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))


def _mail(agent: Agent) -> str:
    mail = agent.mail
    return f"{mail.total}, {mail.urgent} urgent" if mail.urgent else str(mail.total)


def _current(agent: Agent) -> str:
    if not agent.current_task or agent.state in ("error", "starting", "suspended", "stopped"):
        return ""
    return f"task {brief_id(agent.current_task)}"


def task_table(tasks: Sequence[Task]) -> list[str]:
    """The tasks as a table."""
    ids = brief_ids(task.id for task in tasks)
    rows = [
        (ids[task.id], task.state, task.priority, task.assigned_to or "-", ",".join(task.tags), task.headline)
        for task in tasks
    ]
    return table(("task", "state", "priority", "agent", "tags", "title"), rows, spare=("tags", "priority"))
