"""What a meeting decided, carried into the town: calls, many at a time, and what became of each. Knows no file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tinytown.errors import TinytownError
from tinytown.model.tasks import Task
from tinytown_cli.public import TownClient

from tinytown_beads.extra_fields import kept_fields, kept_table
from tinytown_beads.mapping import task_priority
from tinytown_beads.reconcile import Changing, Making, Meeting, TownState, town_state
from tinytown_beads.task_as_bead import TABLE
from tinytown_beads.view import BEYOND, View

#: Calls in one write to the server.
_AT_ONCE = 500
_TIMEOUT_S = 60.0
_ALL_TASKS = 1_000_000


@dataclass(slots=True)
class Carried:
    """What became of it: the tasks as they are now, what was refused, and the fields that could not be changed, by bead."""

    made: list[str] = field(default_factory=list[str])
    changed: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    tasks: dict[str, Task] = field(default_factory=dict[str, Task])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    pending: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])


def read_town(town: TownClient) -> TownState:
    """All tasks and agents."""
    tasks, agents = town.client.run_all(
        [town.operations.tasks(limit=_ALL_TASKS), town.operations.agents()], timeout_s=_TIMEOUT_S
    )
    for answer in (tasks, agents):
        if isinstance(answer, TinytownError):
            raise answer
    return town_state(tasks, agents)


def carry(town: TownClient, meeting: Meeting) -> Carried:
    """Do what `meeting` decided for the town. What one bead is refused is kept, with the reason, and the rest goes on.

    Raises: TinytownError when the server cannot be asked.
    """
    carried = Carried(tasks={each.bead.id: each.task for each in meeting.changings})
    _make(town, meeting.makings, carried)
    _change(town, meeting, carried)
    return carried


def _make(town: TownClient, makings: Sequence[Making], carried: Carried) -> None:
    for begin in range(0, len(makings), _AT_ONCE):
        chunk = makings[begin : begin + _AT_ONCE]
        calls: list[Any] = []
        asked: list[str] = []
        for making in chunk:
            try:
                calls.append(town.operations.add_task(**making.arguments))
                asked.append(making.bead.id)
            except TinytownError as error:
                carried.refused[making.bead.id] = error.message
        for key, answer in zip(asked, _ask(town, calls), strict=True):
            if isinstance(answer, TinytownError):
                carried.refused[key] = answer.message
            else:
                carried.made.append(key)
                carried.tasks[key] = answer.task


def _change(town: TownClient, meeting: Meeting, carried: Carried) -> None:
    task_ids = {meeting.ids(id_): id_ for id_ in meeting.town.tasks}
    task_ids |= {key: task.id for key, task in carried.tasks.items()}
    waiting: list[tuple[Changing, list[tuple[frozenset[str], Any]]]] = []
    for each in meeting.changings:
        steps: list[tuple[frozenset[str], Any]] = []
        for fields, make in _steps(town, each, meeting, task_ids):
            try:
                steps.append((fields, make()))
            except TinytownError as error:
                _hold_back(carried, each.bead.id, fields, error)
        if steps:
            waiting.append((each, steps))
    answers = iter(_ask(town, [call for _, steps in waiting for _, call in steps]))
    for each, steps in waiting:
        for fields, _ in steps:
            answer = next(answers)
            if isinstance(answer, TinytownError):
                _hold_back(carried, each.bead.id, fields, answer)
            else:
                carried.tasks[each.bead.id] = getattr(answer, "task", answer)
                carried.changed.setdefault(each.bead.id, []).extend(sorted(fields))


def _hold_back(carried: Carried, key: str, fields: frozenset[str], error: TinytownError) -> None:
    carried.pending[key] = carried.pending.get(key, frozenset()) | fields
    carried.refused[key] = error.message


def _steps(
    town: TownClient, each: Changing, meeting: Meeting, task_ids: Mapping[str, str]
) -> list[tuple[frozenset[str], Callable[[], Any]]]:
    """The calls that change one task, in order, each with the fields that it is about."""
    wanted, fields, task, calls = each.merge.wanted, each.merge.to_town, each.task, town.operations
    steps: list[tuple[frozenset[str], Callable[[], Any]]] = []
    reopens = "state" in fields and task.finished and not wanted.finished
    if reopens:
        steps.append((frozenset({"state"}), lambda: calls.reopen_task(task.id, reason="opened again in the bead file")))
    kept = fields & {*BEYOND, "priority", "assignee"}
    if kept and (reopens or not task.finished):
        table = kept_table(each.bead, task, wanted, kept)
        if table != kept_fields(task):
            steps.append((kept & frozenset(BEYOND), lambda: calls.set_task_meta(task.id, TABLE, table or None)))
    texts = fields & {"title", "description", "priority", "tags", "needs", "parent"}
    if texts and (reopens or not task.finished):
        # A finished task is history, here as there: what changes in its bead is kept in the file.
        new = _new_fields(wanted, texts, task_ids)
        steps.append((frozenset(texts), lambda: calls.update_task(task.id, **new)))
    if "assignee" in fields and not task.finished:
        agent = meeting.town.agent_for(wanted.assignee) if wanted.assignee else None
        if agent is not None and agent.id != task.agent_id:
            steps.append((frozenset({"assignee"}), lambda: calls.assign_task(task.id, agent.id)))
        elif not wanted.assignee and task.assigned_to:
            steps.append(
                (frozenset({"assignee"}), lambda: calls.requeue_task(task.id, reason="nobody's, says its bead"))
            )
    if "held" in fields and not wanted.finished:
        if wanted.held:
            steps.append(
                (frozenset({"held"}), lambda: calls.hold_task(task.id, reason=wanted.held, until=wanted.held_until))
            )
        elif task.held:
            steps.append((frozenset({"held"}), lambda: calls.release_task(task.id)))
    if "state" in fields and wanted.finished and not task.finished:
        verb: Any = {"completed": "complete", "failed": "fail", "cancelled": "cancel"}[wanted.state]
        steps.append((frozenset({"state"}), lambda: calls.settle_task(verb, task.id, text=wanted.outcome)))
    return steps


def _new_fields(wanted: View, fields: frozenset[str], task_ids: Mapping[str, str]) -> dict[str, Any]:
    new: dict[str, Any] = {name: getattr(wanted, name) for name in fields}
    if "priority" in new:
        new["priority"] = task_priority(wanted)
    if "needs" in new:
        new["needs"] = [task_ids[need] for need in wanted.needs if need in task_ids]
    if "parent" in new:
        new["parent"] = task_ids.get(wanted.parent, "")
    return new


def _ask(town: TownClient, calls: Sequence[Any]) -> list[Any]:
    """What the town answers to each call, or why not. Raises: TinytownError when the server is not there."""
    answers: list[Any] = []
    for begin in range(0, len(calls), _AT_ONCE):
        answers += town.client.run_all(calls[begin : begin + _AT_ONCE], timeout_s=_TIMEOUT_S)
    for answer in answers:
        if isinstance(answer, TinytownError) and answer.exit_code == 5:
            raise answer
    return answers
