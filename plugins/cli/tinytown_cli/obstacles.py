"""Why what a command waits for will not happen by itself, with what to do about it, read from the town.

Some reasons are final: a failed dependency, a stopped agent, the caller itself. Others may pass by themselves within
moments, as while a kernel starts; the caller believes those once they have lasted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tinytown.errors import TinytownError
from tinytown.model.agents import Agent
from tinytown.model.results import Status
from tinytown.model.tasks import Task, TaskState
from tinytown.model.text import shown

from tinytown_cli.backlog_pickup import pickup_blocker
from tinytown_cli.client import TownClient
from tinytown_cli.formatting import brief_id, end_of
from tinytown_cli.hosting import host_blocker
from tinytown_cli.staleness import why_reload

_DEPTH = 12
_TASKS = 50


class Obstacle(NamedTuple):
    """One reason in words, and what to do about it; `is_final` unless it may pass by itself."""

    text: str
    fix: str
    is_final: bool = True


def agent_obstacle(town: TownClient, agent: Agent) -> Obstacle | None:
    """Why the agent will not become idle; None if it may."""
    if town.caller.agent in (agent.id, agent.name):
        return Obstacle("it would wait for itself", "end the round, or wait for other agents")
    if agent.state == "working":
        return None
    status = town.run(town.operations.status())
    if not agent.mail.total:
        found = [_task_obstacle(town, task, status, _DEPTH) for task in _tasks_of(town, agent)]
        if found and all(found):
            return found[0]
    return _unhosted(town, agent, status)


def task_obstacle(town: TownClient, task: Task) -> Obstacle | None:
    """Why the task will not finish; None if it may."""
    if task.finished:
        return None
    return _task_obstacle(town, task, town.run(town.operations.status()), _DEPTH)


def _task_obstacle(town: TownClient, task: Task, status: Status, depth: int) -> Obstacle | None:
    if town.caller.is_agent and task.id == town.caller.task_id:
        return Obstacle("it is the task that this round works on", "end the round, or wait for other tasks")
    agent = next((agent for agent in status.agents if agent.id == task.agent_id), None)
    match task.state:
        case "pending":
            not_picked_up = pickup_blocker(task, status.agents, auto_claim=town.config.auto_claim)
            return not_picked_up and Obstacle(not_picked_up.text, not_picked_up.fix, is_final=False)
        case "blocked":
            return next(filter(None, (_need(town, need, status, depth) for need in task.open_needs)), None)
        case "assigned" if agent is not None and (agent.state == "error" or agent.desired_state == "stopped"):
            state = "in error" if agent.state == "error" else "stopped"
            return Obstacle(f"{agent.name} is {state}{_because(agent.reason)}", f"tt resume {agent.name}")
        case "assigned" if agent is not None:
            return _unhosted(town, agent, status)
        case _:
            return None


def _need(town: TownClient, need: str, status: Status, depth: int) -> Obstacle | None:
    try:
        task = town.client.run(town.operations.task(need))
    except TinytownError:
        return Obstacle(f"it needs task {need}, which does not exist", "add it under this id, or cancel what needs it")
    named = f"{brief_id(task.id)} ({shown(task.headline, 50)})"
    if task.state in ("failed", "cancelled"):
        return Obstacle(f"it needs {named}, which is {task.state}{_because(task.reason)}", f"tt task reopen {task.id}")
    deeper = _task_obstacle(town, task, status, depth - 1) if depth > 1 else None
    return deeper and deeper._replace(text=f"it needs {named}: {deeper.text}")


def _unhosted(town: TownClient, agent: Agent, status: Status) -> Obstacle | None:
    if agent.host or (not status.hosts and town.running_kernel()):  # it is about to join
        return None
    blocker = host_blocker(agent, status.hosts, why_reload(town.root, status.hosts, town.running_kernel()))
    return blocker and Obstacle(blocker.text, blocker.fix, is_final=False)


def _tasks_of(town: TownClient, agent: Agent) -> Sequence[Task]:
    states: tuple[TaskState, ...] = ("assigned", "blocked", "running", "verifying")
    listed = town.run_all([town.operations.tasks(state=state, agent=agent.id, limit=_TASKS) for state in states])
    return [task for tasks in listed for task in tasks]


def _because(reason: str | None) -> str:
    return f": {end_of(reason, 200)}" if reason else ""
