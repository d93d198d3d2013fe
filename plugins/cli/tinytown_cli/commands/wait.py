"""``tt wait``: until agents are idle or tasks are finished, woken by the town's events and not by a clock."""

from __future__ import annotations

import time
from typing import get_args

import click
from tinytown.errors import UsageError
from tinytown.waiting import Goal, check_completed
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import AGENT, TASK, split_list
from tinytown_cli.serializers import agent_shape, task_shape
from tinytown_cli.waiting import await_agents, await_tasks


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
    check_completed(finished)
