"""Reads from a town what its blockers are decided by, in a constant number of round trips per level of dependencies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tinytown.errors import TinytownError
from tinytown.model.messages import TaskAssign
from tinytown.model.results import Inbox
from tinytown.model.tasks import FINISHED, TASK_STATES, Task, TaskState
from tinytown_cli.client import TownClient
from tinytown_cli.staleness import why_reload

from tinytown_ops.costs import ledger
from tinytown_ops.explain.blockers import AssignmentMessage, Situation

_TASKS_LIMIT = 300
_MAIL_LIMIT = 2_000
_LISTED_LIMIT = 200


def read_situation(town: TownClient, tasks: Sequence[Task]) -> Situation:
    """What the blockers of these tasks and of all agents are decided by.

    At most 300 tasks that these need, or are part of, are read, and 2,000 messages of each agent that has one of them.
    """
    status, accounts = town.run_all([town.operations.status(), ledger.accounts(town.operations.keys)])
    known = {task.id: task for task in tasks}
    known |= _read(town, {agent.current_task for agent in status.agents if agent.current_task} - known.keys())
    missing = _related(tasks, known)
    while missing and len(known) < _TASKS_LIMIT:
        needed = _read(town, missing)
        known |= needed
        missing = _related(needed.values(), known)
    assignees = sorted({task.agent_id for task in known.values() if task.state == "assigned" and task.agent_id})
    inboxes = town.client.run_all([town.operations.peek(agent_id, limit=_MAIL_LIMIT) for agent_id in assignees])
    return Situation(
        now_ms=town.now_ms(),
        agents=status.agents,
        hosts=status.hosts,
        tasks=known,
        assignments={
            task_id: message
            for inbox in inboxes
            if isinstance(inbox, Inbox)
            for task_id, message in _assignments(inbox)
        },
        accounts=accounts,
        auto_claim=town.config.auto_claim,
        frozen=status.frozen,
        changed_since_start=why_reload(town.root, status.hosts, town.running_kernel()),
    )


def open_tasks(town: TownClient) -> list[Task]:
    """The tasks that are not finished, at most 200 in each state."""
    states: list[TaskState] = [state for state in TASK_STATES if state not in FINISHED]
    by_state = town.run_all([town.operations.tasks(state=state, limit=_LISTED_LIMIT) for state in states])
    return [task for tasks in by_state for task in tasks]


def _related(tasks: Iterable[Task], known: dict[str, Task]) -> set[str]:
    return {id_ for task in tasks for id_ in (*task.open_needs, task.parent) if id_} - known.keys()


def _read(town: TownClient, ids: Iterable[str]) -> dict[str, Task]:
    """Those of the tasks that exist."""
    answers = town.client.run_all([town.operations.task(task_id) for task_id in sorted(ids)[:_TASKS_LIMIT]])
    return {task.id: task for task in answers if not isinstance(task, TinytownError)}


def _assignments(inbox: Inbox) -> Iterator[tuple[str, AssignmentMessage]]:
    ahead = 0
    for entry in inbox.messages:
        if entry.message is not None and isinstance(entry.message.body, TaskAssign):
            is_queued = entry.place == "queued"
            yield entry.message.body.task_id, AssignmentMessage(entry.place, entry.until, ahead if is_queued else 0)
        ahead += entry.place == "queued"
