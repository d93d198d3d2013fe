"""Tasks: the record, its states, and the one table of legal transitions, which is compiled into the server-side functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from tinytown.model.hash_codec import read_record
from tinytown.model.messages import Priority

#: What a round, or the verdict on it, makes of its task.
Fate = Literal["complete", "fail", "again"]
TaskState = Literal["pending", "blocked", "assigned", "running", "verifying", "completed", "failed", "cancelled"]

#: From each state, where a task may go next.
TRANSITIONS: Mapping[TaskState, tuple[TaskState, ...]] = {
    "pending": ("assigned", "blocked", "completed", "failed", "cancelled"),
    "blocked": ("pending", "assigned", "completed", "failed", "cancelled"),
    "assigned": ("pending", "blocked", "running", "completed", "failed", "cancelled"),
    "running": ("pending", "blocked", "assigned", "verifying", "completed", "failed", "cancelled"),
    "verifying": ("pending", "blocked", "assigned", "completed", "failed", "cancelled"),
    "completed": ("pending", "blocked", "assigned"),
    "failed": ("pending", "blocked", "assigned"),
    "cancelled": ("pending", "blocked", "assigned"),
}

TASK_STATES: tuple[TaskState, ...] = tuple(TRANSITIONS)
FINISHED: frozenset[TaskState] = frozenset({"completed", "failed", "cancelled"})


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work. Times are RFC 3339 in UTC; ids are text.

    ``reason`` and ``since``: why and since when the task is in its present state. ``needs`` are the tasks that must
    be completed first, ``open_needs`` those of them that are not yet. ``attempts`` counts rounds begun, ``lost`` instead
    those lost with their kernels since the last outcome. ``round_id`` and ``token`` belong to the present round; a change
    by an agent is refused unless it carries that token. ``held`` is why the task is held, which is blocked until it is
    released, or until ``held_until``. ``rejection`` is why finished work was last sent back, by whoever opened the task
    again or by a gate; it outlives ``reason``. ``origin`` is where an importer found the task, with its record kept
    whole; ``meta`` holds one table per plugin.
    """

    id: str
    description: str
    title: str = ""
    state: TaskState = "pending"
    priority: Priority = "normal"
    tags: tuple[str, ...] = ()
    role: str | None = None
    needs: tuple[str, ...] = ()
    open_needs: tuple[str, ...] = ()
    parent: str | None = None
    assigned_to: str | None = None
    agent_id: str | None = None
    held: str | None = None
    held_until: str | None = None
    attempts: int = 0
    lost: int = 0
    round_id: str | None = None
    token: str | None = None
    result: str | None = None
    reason: str | None = None
    rejection: str | None = None
    since: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    origin: dict[str, Any] | None = None
    meta: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])

    @property
    def finished(self) -> bool:
        """Completed, failed or cancelled."""
        return self.state in FINISHED

    @property
    def headline(self) -> str:
        """The title, or the first line of the description."""
        return self.title or self.description.strip().partition("\n")[0]


def only_task(tasks: Sequence[Task]) -> Task | None:
    """The task of a round, unless it has none or several."""
    return tasks[0] if len(tasks) == 1 else None


_TIMES = frozenset({"since", "held_until", "created_at", "updated_at", "started_at", "completed_at"})
_JSON = frozenset({"tags", "needs", "open_needs", "origin", "meta"})


def read_task(fields: Mapping[str, str]) -> Task:
    """The task that a record's text fields hold. Raises ValueError when they do not fit."""
    return read_record(Task, fields, times=_TIMES, json=_JSON)
