"""Waiting until agents or tasks reach a state, woken by the town's events and not by a clock."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import Any, TypeVar

from tinytown.client import TownClient
from tinytown.errors import TinytownError
from tinytown.kernel import running_kernel
from tinytown.model.agents import Agent
from tinytown.model.events import AgentStateChanged, Event, RoundEnded, TaskStateChanged, event_fields
from tinytown.model.tasks import Task
from tinytown.model.text import counted
from tinytown.protocol import Operation
from tinytown.waiting import Goal, has_reached

from tinytown_cli.context import CliContext
from tinytown_cli.event_text import describe

T = TypeVar("T")


def await_agents(
    context: CliContext, town: TownClient, names: Sequence[str], goal: Goal, *, until: float
) -> tuple[Agent, ...]:
    """The agents once all of them are what `goal` says; `until` is a moment of `time.monotonic`.

    Raises: TinytownError with code ``timeout``, or ``will_not_be_idle`` for an agent that is stopped or in error with work left.
    """

    def describe_agent(agent: Agent) -> str:
        return (
            f"{agent.name} is {agent.state} with {counted(agent.mail.total, 'message')} "
            f"and {counted(agent.open_tasks, 'open task')}"
        )

    agents = town.run_all([town.operations.agent(name) for name in names])
    ids, known = [each.id for each in agents], {each.name for each in agents}
    calls = [town.operations.agent(each) for each in ids]
    return _await(
        context,
        town,
        calls,
        partial(has_reached, goal=goal),
        describe_agent,
        lambda event: _concerns(event, known),
        until,
    )


def await_tasks(context: CliContext, town: TownClient, words: Sequence[str], *, until: float) -> tuple[Task, ...]:
    """The tasks once all of them are finished. Raises: TinytownError with code ``timeout``."""
    known = {each.id for each in town.run_all([town.operations.task(word) for word in words])}
    calls = [town.operations.task(each) for each in sorted(known)]
    return _await(
        context,
        town,
        calls,
        lambda task: task.finished,
        lambda task: f"task {task.id} is {task.state}",
        lambda event: isinstance(event, TaskStateChanged) and event.task in known,
        until,
    )


def _await(
    context: CliContext,
    town: TownClient,
    calls: Sequence[Operation[T]],
    arrived: Callable[[T], bool],
    describe_record: Callable[[T], str],
    concerns: Callable[[Event], bool],
    until: float,
) -> tuple[T, ...]:
    cursor = town.cursor()  # before the first read, so that no later event is missed
    records: Sequence[T] = town.run_all(calls)
    if all(map(arrived, records)):
        return tuple(records)
    if not running_kernel(town.root) and not town.run(town.operations.status(agents=False)).hosts:
        context.warn("no kernel is running; start one with: tt start")
    for batch in town.follow(cursor, until=until):
        ours = [event for event in batch if concerns(event)]
        _show_progress(context, ours)
        if ours or not batch:
            records = town.run_all(calls)
            if all(map(arrived, records)):
                return tuple(records)
    late = [describe_record(each) for each in records if not arrived(each)]
    raise TinytownError(f"timed out: {', '.join(late)}", hint="raise --timeout, or see tt events", code="timeout")


def _concerns(event: Event, names: Set[str]) -> bool:
    fields: dict[str, Any] = event_fields(event)
    return any(fields.get(member) in names for member in ("agent", "recipient"))


def _show_progress(context: CliContext, events: Sequence[Event]) -> None:
    if sys.stderr.isatty():
        for event in events:
            if isinstance(event, AgentStateChanged | TaskStateChanged | RoundEnded):
                context.warn(describe(event))
