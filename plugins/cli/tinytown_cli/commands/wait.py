"""``tt wait``: until agents are idle or tasks are finished, woken by the town's events and not by a clock."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence, Set
from typing import Any, Literal, TypeVar, get_args

import click
from tinytown.client import TownClient
from tinytown.errors import TinytownError, UsageError
from tinytown.kernel import running_kernel
from tinytown.model.agents import Agent
from tinytown.model.events import AgentStateChanged, Event, RoundEnded, TaskStateChanged, event_fields
from tinytown.model.tasks import Task
from tinytown.model.text import counted
from tinytown.protocol import Operation
from tinytown_cli.commands.events import describe
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import AGENT, TASK, split_list
from tinytown_cli.serializers import agent_shape, task_shape

T = TypeVar("T")

Goal = Literal["idle", "working", "paused", "suspended", "stopped", "error"]


@click.command(
    cls=TownCommand,
    examples=[
        "tt wait worker",
        "tt wait backend frontend --timeout 600",
        "tt wait worker --for stopped",
        "tt wait --task 1f3a",
    ],
)
@click.argument("agents", nargs=-1, type=AGENT, metavar="[AGENT...]")
@click.option(
    "--for", "goal", type=click.Choice(get_args(Goal)), default="idle", show_default=True,
    help="What to wait for. Idle: nothing runs, no mail waits, no task is open. Cold: no kernel holds it, as when it sleeps.",
)  # fmt: skip
@click.option("--task", "tasks", multiple=True, type=TASK, metavar="TASK,..", help="Wait until this task is finished.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer than this.")
@pass_cli_context
def wait(
    context: CliContext, agents: tuple[str, ...], goal: Goal, tasks: tuple[str, ...], timeout_s: float | None
) -> None:
    """Wait until all the agents are idle (or --for something else), or tasks are finished.

    Ends with 1 when the time is over, when an agent that is to become idle is stopped or in error with work left, or when
    a task failed or was cancelled.
    """
    wanted_tasks = split_list(tasks)
    if not agents and not wanted_tasks:
        raise UsageError("expected an agent or --task", hint="tt wait worker, or tt wait --task 1f3a")
    until = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    with context.open_town() as town:
        arrived = await_agents(context, town, agents, goal, until=until) if agents else ()
        finished = await_tasks(context, town, wanted_tasks, until=until) if wanted_tasks else ()
    lines = [f"{each.name} is {each.state}" for each in arrived]
    lines += [f"task {each.id} is {each.state}: {each.headline}" for each in finished]
    context.emit(
        {"agents": [agent_shape(each) for each in arrived], "tasks": [task_shape(each) for each in finished]}, lines
    )
    if bad := [each for each in finished if each.state != "completed"]:
        raise TinytownError(
            "; ".join(f"task {each.id} is {each.state}: {each.reason or 'no reason given'}" for each in bad),
            code="task_not_completed",
        )


def await_agents(
    context: CliContext, town: TownClient, names: Sequence[str], goal: Goal, *, until: float
) -> tuple[Agent, ...]:
    """The agents once all of them are what `goal` says; `until` is a moment of `time.monotonic`.

    Raises: TinytownError with code ``timeout``, or ``will_not_be_idle`` for an agent that is stopped or in error with work left.
    """

    def arrived(agent: Agent) -> bool:
        if goal != "idle":
            return agent.state == goal
        if agent.state not in ("stopped", "error"):
            return agent.at_rest
        if agent.mail.total or agent.open_tasks:
            raise TinytownError(
                f"{agent.name} will not become idle: it is {agent.state} with work left ({agent.reason or 'no reason given'})",
                hint=f"tt resume {agent.name} lets it go on",
                code="will_not_be_idle",
            )
        return True

    def standing(agent: Agent) -> str:
        return (
            f"{agent.name} is {agent.state} with {counted(agent.mail.total, 'message')} "
            f"and {counted(agent.open_tasks, 'open task')}"
        )

    agents = town.run_all([town.operations.agent(name) for name in names])
    ids, known = [each.id for each in agents], {each.name for each in agents}
    calls = [town.operations.agent(each) for each in ids]
    return _await(context, town, calls, arrived, standing, lambda event: _concerns(event, known), until)


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
    standing: Callable[[T], str],
    concerns: Callable[[Event], bool],
    until: float,
) -> tuple[T, ...]:
    cursor = town.cursor()  # before the first look, so that nothing that comes after it is missed
    records: Sequence[T] = town.run_all(calls)
    if all(map(arrived, records)):
        return tuple(records)
    if not running_kernel(town.root) and not town.run(town.operations.status(agents=False)).hosts:
        context.warn("no kernel runs, so little will happen: tt start runs one")
    for batch in town.follow(cursor, until=until):
        ours = [event for event in batch if concerns(event)]
        _show_progress(context, ours)
        if ours or not batch:
            records = town.run_all(calls)
            if all(map(arrived, records)):
                return tuple(records)
    late = [standing(each) for each in records if not arrived(each)]
    raise TinytownError(f"the time is over: {', '.join(late)}", hint="give it longer, or see tt events", code="timeout")


def _concerns(event: Event, names: Set[str]) -> bool:
    fields: dict[str, Any] = event_fields(event)
    return any(fields.get(member) in names for member in ("agent", "recipient"))


def _show_progress(context: CliContext, events: Sequence[Event]) -> None:
    if sys.stderr.isatty():
        for event in events:
            if isinstance(event, AgentStateChanged | TaskStateChanged | RoundEnded):
                context.warn(describe(event))
