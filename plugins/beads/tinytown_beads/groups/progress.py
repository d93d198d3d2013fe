"""The progress of a group, from its record and its members, and the record that follows. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from tinytown.model.tasks import TASK_STATES, Task
from tinytown_cli.public import stages

from tinytown_beads.groups.record import Group, now

GONE = "gone"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A group with its members. ``states`` has the state of each member, ``gone`` for a task that no longer exists."""

    group: Group
    tasks: dict[str, Task]
    states: dict[str, str]

    @property
    def complete(self) -> bool:
        """Whether there are members and each of them is completed."""
        return bool(self.states) and set(self.states.values()) == {"completed"}

    @property
    def failing(self) -> tuple[str, ...]:
        """The members that failed, were cancelled or no longer exist: they keep the group open."""
        return tuple(id_ for id_, state in self.states.items() if state in ("failed", "cancelled", GONE))

    @property
    def counts(self) -> dict[str, int]:
        """The number of members per state; empty states are omitted."""
        counts_by_state = Counter(self.states.values())
        return {state: counts_by_state[state] for state in (*TASK_STATES, GONE) if counts_by_state[state]}

    @property
    def stuck(self) -> bool:
        """Whether a task failed and no other can start: all of them wait for failed ones."""
        if not self.failing or self.group.origin.get("made") is False:  # its tasks are being made at this moment
            return False
        dead, before = set(self.failing), -1
        waiting = {id_: task for id_, task in self.tasks.items() if task.state == "blocked"}
        while len(dead) > before:
            before = len(dead)
            dead |= {id_ for id_, task in waiting.items() if dead & set(task.open_needs)}
        return all(task.finished or id_ in dead for id_, task in self.tasks.items())


def progress_of(group: Group, tasks: Sequence[Task | None]) -> Progress:
    """`tasks` are the members in the order of the group's, None for one that the town does not know (any more)."""
    known = {task.id: task for task in tasks if task is not None}
    states = {id_: str(known[id_].state) if id_ in known else group.ended.get(id_, GONE) for id_ in group.tasks}
    return Progress(group=group, tasks=known, states=states)


def evaluate(progress: Progress) -> Group:
    """The record that follows from the members: completed if all are, reopened if one was."""
    group = progress.group
    ended = {id_: state for id_, state in progress.states.items() if state in ("completed", "failed", "cancelled")}
    group = msgspec.structs.replace(group, ended=ended, stuck=group.stuck if progress.failing else ())
    if group.state == "open" and progress.complete:
        return msgspec.structs.replace(
            group, state="completed", completed_at=now(), completions=group.completions + 1, stuck=()
        )
    if group.state == "completed" and not progress.complete:
        return msgspec.structs.replace(group, state="open", completed_at="")
    return group


def stages_of(needs: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The stages in which tasks with these `needs` can run; needs outside of them count as met."""
    return stages({id_: [need for need in needs[id_] if need in needs] for id_ in needs})


def group_shape(progress: Progress) -> dict[str, Any]:
    """A group in JSON; ``docs/groups.md`` describes it."""
    group = progress.group
    return {
        "name": group.name,
        "state": group.state,
        "owner": group.owner,
        "notify": group.notify,
        "description": group.description,
        "total": len(group.tasks),
        "completed": progress.counts.get("completed", 0),
        "counts": progress.counts,
        "failing": progress.failing,
        "created_at": group.created_at,
        "completed_at": group.completed_at or None,
        "closed_at": group.closed_at or None,
        "reason": group.reason,
        "members": [member_shape(progress, id_) for id_ in group.tasks],
    }


def member_shape(progress: Progress, id_: str) -> dict[str, Any]:
    """One member of a group in JSON."""
    task = progress.tasks.get(id_)
    return {
        "task_id": id_,
        "state": progress.states[id_],
        "title": task.headline if task else "",
        "agent": task.assigned_to if task else None,
        "reason": task.reason if task else None,
    }
