"""A town from its ledger: the last record of each agent and task, so that they can be restored like a snapshot. Pure.

Mail, data of plugins and settings of the server are not in a ledger. Tasks that agents had are given to them again; numbers and
references are made to fit, because a ledger may have been continued by another town, set back, or edited.
"""

from __future__ import annotations

import graphlib
from collections.abc import Mapping
from itertools import count

import msgspec
from tinytown.model.tasks import FINISHED
from tinytown_snapshots.records import AgentRecord, Snapshot, TaskRecord, order_of

from tinytown_git.ledger.lines import Ledger, bad_line


def snapshot_of(ledger: Ledger) -> Snapshot:
    """The snapshot that a whole ledger makes. Raises: UsageError with code ``bad_ledger`` for needs in a cycle."""
    assert ledger.header is not None
    _refuse_cycles(ledger.tasks)
    numbers = count(1)
    agents: list[AgentRecord] = []
    nicknames = set(ledger.agents)
    for agent in sorted(ledger.agents.values(), key=lambda each: (each.created_at, each.seq)):
        is_taken = agent.nickname.lower() in nicknames
        nicknames.add(agent.nickname.lower())
        agents.append(msgspec.structs.replace(agent, seq=next(numbers), nickname="" if is_taken else agent.nickname))
    holders = {agent.name: agent.id for agent in agents}
    tasks = [
        msgspec.structs.replace(_as_open(task, ledger.tasks, holders), seq=next(numbers))
        for task in sorted(ledger.tasks.values(), key=lambda each: (each.created_at, each.seq))
    ]
    orders = [order_of(task, next(numbers)) for task in tasks if task.order]
    return Snapshot(schema=ledger.header.schema, agents=tuple(agents), tasks=tuple(tasks), messages=tuple(orders))


def _as_open(task: TaskRecord, tasks: Mapping[str, TaskRecord], holders: Mapping[str, str]) -> TaskRecord:
    """A task as it can continue: without agents and needs that are not there; what was being judged is to be done again."""
    open_needs = tuple(need for need in task.open_needs if need in tasks and tasks[need].state != "completed")
    if task.state in FINISHED:
        return msgspec.structs.replace(task, order="", open_needs=open_needs)
    has_agent = bool(task.agent_id) and holders.get(task.assigned_to) == task.agent_id
    state = task.state
    if open_needs or (state == "blocked" and task.held):
        state = "blocked"
    elif has_agent:
        state = "assigned"
    else:
        state = "pending"
    orders = max(task.orders, 1)
    return msgspec.structs.replace(
        task,
        state=state,
        open_needs=open_needs,
        agent_id=task.agent_id if has_agent else "",
        assigned_to=task.assigned_to if has_agent else "",
        order=(task.order or f"{task.id}.{orders}") if state == "assigned" else "",
        orders=orders if state == "assigned" else task.orders,
        held=task.held if state == "blocked" else "",
        held_until=task.held_until if state == "blocked" and task.held else "",
        reason=task.reason if state == task.state else "",
    )


def _refuse_cycles(tasks: Mapping[str, TaskRecord]) -> None:
    try:
        graphlib.TopologicalSorter({id_: task.needs for id_, task in tasks.items()}).prepare()
    except graphlib.CycleError as error:
        raise bad_line("its tasks", f"needs form a cycle: {' needs '.join(error.args[1][::-1])}") from error
