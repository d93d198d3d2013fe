"""``tt wait``: until agents are idle or tasks are finished, woken by the town's events and not by a clock."""

from __future__ import annotations

import time
from typing import Any, get_args

import click
from tinytown.errors import UsageError, WaitFailed

from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import AGENT, TASK, split_list
from tinytown_cli.serializers import agent_shape, task_shape
from tinytown_cli.waiting import Goal, await_agents, await_tasks


class _State(click.Choice):  # type: ignore[type-arg, unused-ignore]
    """A state; the name that one had in the previous release is accepted with a warning."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "cold" and ctx is not None:
            ctx.ensure_object(CliContext).warn(
                "warning: the state cold is now suspended; the old name is removed in the next release"
            )
            value = "suspended"
        return super().convert(value, param, ctx)  # pyright: ignore[reportUnknownVariableType]


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
    "--for", "goal", type=_State(get_args(Goal)), default="idle", show_default=True,
    help="The state to wait for. Idle: no round, mail or open task. Suspended: no kernel holds it, for example asleep.",
)  # fmt: skip
@click.option("--task", "tasks", multiple=True, type=TASK, metavar="TASK,..", help="Wait until this task is finished.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(0), metavar="SECONDS", help="Give up after this long.")
@pass_cli_context
def wait(
    context: CliContext, agents: tuple[str, ...], goal: Goal, tasks: tuple[str, ...], timeout_s: float | None
) -> None:
    """Wait until all the agents are idle (or in another state: --for), or until tasks are finished.

    Exits with 1 on a timeout, if an agent with work left is stopped or in error, or if a task failed or was cancelled.
    """
    wanted_tasks = split_list(tasks)
    if not agents and not wanted_tasks:
        raise UsageError("expected an agent or --task", hint="tt wait worker, or tt wait --task 1f3a")
    until = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    with context.open_town() as town:
        arrived = await_agents(context, town, agents, goal, until=until) if agents else ()
        finished = await_tasks(context, town, wanted_tasks, until=until) if wanted_tasks else ()
    lines = [f"{agent.name} is {agent.state}" for agent in arrived]
    lines += [f"task {task.id} is {task.state}: {task.headline}" for task in finished]
    context.emit(
        {"agents": [agent_shape(agent) for agent in arrived], "tasks": [task_shape(task) for task in finished]}, lines
    )
    if bad := [task for task in finished if task.state != "completed"]:
        raise WaitFailed(
            "; ".join(f"task {task.id} is {task.state}: {task.reason or 'no reason given'}" for task in bad),
            code="task_not_completed",
            tasks=[task.id for task in bad],
        )
