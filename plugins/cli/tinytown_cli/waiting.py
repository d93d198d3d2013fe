"""Waiting until agents or tasks reach a state, woken by the town's events and not by a clock."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar

from tinytown.errors import TinytownError, WaitFailed
from tinytown.model.agents import Agent, is_idle
from tinytown.model.events import AgentStateChanged, Event, RoundEnded, TaskStateChanged, event_fields
from tinytown.model.tasks import Task
from tinytown.model.text import counted
from tinytown.protocol import Operation

from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext
from tinytown_cli.event_text import describe
from tinytown_cli.progress import Progress

T = TypeVar("T")

#: What an agent can be waited for: ``idle`` (no round, no mail, no open task) or one of its states.
Goal: TypeAlias = Literal["idle", "working", "paused", "suspended", "stopped", "error"]

#: How long what may pass by itself has to last before waiting ends for it: a kernel may just be starting.
_PATIENCE_S = 10.0


def has_reached(agent: Agent, goal: Goal) -> bool:
    """Whether an agent is in the state that is waited for. Raises: WaitFailed as `is_idle`."""
    return is_idle(agent) if goal == "idle" else agent.state == goal


def await_agents(
    context: CliContext, town: TownClient, names: Sequence[str], goal: Goal, *, until: float
) -> tuple[Agent, ...]:
    """The agents once all of them are what `goal` says; `until` is a moment of `time.monotonic`.

    Raises: TinytownError with code ``timeout``; WaitFailed with code ``will_not_be_idle`` and the reason for agents that will
    not become idle by themselves.
    """

    def describe_agent(agent: Agent) -> str:
        return (
            f"{agent.name} is {agent.state} with {counted(agent.mail.total, 'message')} "
            f"and {counted(agent.open_tasks, 'open task')}"
        )

    agents = town.run_all([town.operations.agent(name) for name in names])
    ids, known = [agent.id for agent in agents], {agent.name for agent in agents}
    calls = [town.operations.agent(agent_id) for agent_id in ids]
    return _await(
        context,
        town,
        calls,
        partial(has_reached, goal=goal),
        describe_agent,
        lambda event: _concerns(event, known),
        until,
        partial(_raise_for_agents, town) if goal == "idle" else _hope,
    )


def await_tasks(context: CliContext, town: TownClient, words: Sequence[str], *, until: float) -> tuple[Task, ...]:
    """The tasks once all of them are finished.

    Raises: TinytownError with code ``timeout``; WaitFailed with code ``will_not_finish`` and the reason for tasks that will not
    finish by themselves.
    """
    known = {task.id for task in town.run_all([town.operations.task(word) for word in words])}
    calls = [town.operations.task(task_id) for task_id in sorted(known)]
    return _await(
        context,
        town,
        calls,
        lambda task: task.finished,
        lambda task: f"task {task.id} is {task.state}",
        lambda event: isinstance(event, TaskStateChanged) and event.task in known,
        until,
        partial(_raise_for_tasks, town),
    )


def _await(
    context: CliContext,
    town: TownClient,
    calls: Sequence[Operation[T]],
    arrived: Callable[[T], bool],
    describe_record: Callable[[T], str],
    concerns: Callable[[Event], bool],
    until: float,
    give_up: Callable[[Sequence[T], bool], object],
) -> tuple[T, ...]:
    cursor = town.cursor()  # before the first read, so that no later event is missed
    records: Sequence[T] = town.run_all(calls)
    if all(map(arrived, records)):
        return tuple(records)
    if not town.running_kernel() and not town.run(town.operations.status(agents=False)).hosts:
        context.warn("no kernel is running; start one with: tt start")
    give_up([record for record in records if not arrived(record)], False)
    next_look = time.monotonic() + _PATIENCE_S
    with context.progress("waiting") as progress:
        progress.update(", ".join(describe_record(record) for record in records if not arrived(record)))
        for batch in town.follow(cursor, until=until):
            ours = [event for event in batch if concerns(event)]
            _show_progress(context, progress, ours)
            if ours or not batch:
                records = town.run_all(calls)
                if all(map(arrived, records)):
                    return tuple(records)
            late = [record for record in records if not arrived(record)]
            progress.update(", ".join(map(describe_record, late)))
            lasting = time.monotonic() >= next_look
            if lasting or ours:
                give_up(late, lasting)
    left = [describe_record(record) for record in records if not arrived(record)]
    raise TinytownError(f"timed out: {', '.join(left)}", hint="raise --timeout, or see tt events", code="timeout")


def _hope(_records: Sequence[Agent], _lasting: bool) -> None:
    """Whatever is waited for may come."""


def _raise_for_agents(town: TownClient, agents: Sequence[Agent], lasting: bool) -> None:
    from tinytown_cli.obstacles import agent_obstacle  # late: most waiting ends without

    for agent in agents:
        obstacle = agent_obstacle(town, agent)
        if obstacle and (lasting or obstacle.is_final):
            raise WaitFailed(
                f"agent {agent.name!r} will not become idle: {obstacle.text}", hint=obstacle.fix, agent=agent.name
            )


def _raise_for_tasks(town: TownClient, tasks: Sequence[Task], lasting: bool) -> None:
    from tinytown_cli.obstacles import task_obstacle

    for task in tasks:
        obstacle = task_obstacle(town, task)
        if obstacle and (lasting or obstacle.is_final):
            text = f"task {task.id} will not finish: {obstacle.text}"
            raise WaitFailed(text, hint=obstacle.fix, code="will_not_finish", task=task.id)


def _concerns(event: Event, names: Set[str]) -> bool:
    fields: dict[str, Any] = event_fields(event)
    return any(fields.get(member) in names for member in ("agent", "recipient"))


def _show_progress(context: CliContext, progress: Progress, events: Sequence[Event]) -> None:
    if sys.stderr.isatty():
        progress.clear()
        for event in events:
            if isinstance(event, AgentStateChanged | TaskStateChanged | RoundEnded):
                context.warn(describe(event))
