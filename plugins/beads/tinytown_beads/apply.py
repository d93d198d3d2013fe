"""Execute a reconciliation in the town: operations in batches, and the outcome of each. Knows no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tinytown.errors import TinytownError
from tinytown.model.tasks import Task
from tinytown_cli.public import TownClient

from tinytown_beads.patch_task import task_operations
from tinytown_beads.reconcile import Create, Reconciliation, TownState, Update, town_state

#: Calls in one write to the server.
_AT_ONCE = 500
_TIMEOUT_S = 60.0
_ALL_TASKS = 1_000_000


@dataclass(slots=True)
class Applied:
    """The result: the tasks as they are now, the refusals, and the fields that could not be changed, by bead."""

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


def apply(town: TownClient, reconciliation: Reconciliation) -> Applied:
    """Execute what `reconciliation` decided for the town. A refusal is recorded with its reason; the rest continues.

    Raises: TinytownError if the server is unreachable.
    """
    applied = Applied(tasks={update.bead.id: update.task for update in reconciliation.updates})
    _make(town, reconciliation.creates, applied)
    _change(town, reconciliation, applied)
    return applied


def _make(town: TownClient, creates: Sequence[Create], applied: Applied) -> None:
    for begin in range(0, len(creates), _AT_ONCE):
        chunk = creates[begin : begin + _AT_ONCE]
        calls: list[Any] = []
        asked: list[str] = []
        for create in chunk:
            try:
                calls.append(town.operations.add_task(**create.arguments))
                asked.append(create.bead.id)
            except TinytownError as error:
                applied.refused[create.bead.id] = error.message
        for key, answer in zip(asked, _ask(town, calls), strict=True):
            if isinstance(answer, TinytownError):
                applied.refused[key] = answer.message
            else:
                applied.made.append(key)
                applied.tasks[key] = answer.task


def _change(town: TownClient, reconciliation: Reconciliation, applied: Applied) -> None:
    task_ids = {reconciliation.ids(id_): id_ for id_ in reconciliation.town.tasks}
    task_ids |= {key: task.id for key, task in applied.tasks.items()}
    waiting: list[tuple[Update, list[tuple[frozenset[str], Any]]]] = []
    for update in reconciliation.updates:
        steps: list[tuple[frozenset[str], Any]] = []
        for fields, make in task_operations(town, update, reconciliation, task_ids):
            try:
                steps.append((fields, make()))
            except TinytownError as error:
                _hold_back(applied, update.bead.id, fields, error)
        if steps:
            waiting.append((update, steps))
    answers = iter(_ask(town, [call for _, steps in waiting for _, call in steps]))
    for each, steps in waiting:
        for fields, _ in steps:
            answer = next(answers)
            if isinstance(answer, TinytownError):
                _hold_back(applied, each.bead.id, fields, answer)
            else:
                applied.tasks[each.bead.id] = getattr(answer, "task", answer)
                applied.changed.setdefault(each.bead.id, []).extend(sorted(fields))


def _hold_back(applied: Applied, key: str, fields: frozenset[str], error: TinytownError) -> None:
    applied.pending[key] = applied.pending.get(key, frozenset()) | fields
    applied.refused[key] = error.message


def _ask(town: TownClient, calls: Sequence[Any]) -> list[Any]:
    """What the town answers to each call, or why not. Raises: TinytownError when the server is not there."""
    answers: list[Any] = []
    for begin in range(0, len(calls), _AT_ONCE):
        answers += town.client.run_all(calls[begin : begin + _AT_ONCE], timeout_s=_TIMEOUT_S)
    for answer in answers:
        if isinstance(answer, TinytownError) and answer.exit_code == 5:
            raise answer
    return answers
