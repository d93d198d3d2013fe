"""``tt why`` and ``tt task why``: why tasks are not running, and why an agent is not working."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
from tinytown.errors import NotFound
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import TASK, Word
from tinytown_cli.serializers import agent_shape, task_shape

from tinytown_ops.explain.blockers import Blocker, agent_reasons, task_blockers
from tinytown_ops.explain.situation import open_tasks, read_situation


@click.command(cls=TownCommand, examples=["tt why", "tt why 1f3a", "tt why worker"])
@click.argument("word", metavar="[TASK|AGENT]", required=False, type=Word("task or agent", "work"))
@pass_cli_context
def why(context: CliContext, word: str | None) -> None:
    """Explain why TASK is not running, or AGENT is not working, and what to do about it.

    Without a word: why each task that is not finished does not run.
    """
    with context.open_town() as town:
        if word is None:
            _explain_all(context, town)
        elif (task := _task(town, word)) is not None:
            _explain_task(context, town, task)
        else:
            _explain_agent(context, town, town.run(town.operations.agent(word)))


@click.command("why", cls=TownCommand, examples=["tt task why 1f3a", "tt task why 1f3a --json"])
@click.argument("task_word", metavar="TASK", type=TASK)
@pass_cli_context
def task_why(context: CliContext, task_word: str) -> None:
    """Explain why TASK is not running, down to the root cause, and what to do about each reason."""
    with context.open_town() as town:
        _explain_task(context, town, town.run(town.operations.task(task_word)))


def _task(town: TownClient, word: str) -> Task | None:
    """The task that `word` means; None if it means an agent, or nothing."""
    try:
        return town.run(town.operations.task(word))
    except NotFound:
        return None


def _explain_all(context: CliContext, town: TownClient) -> None:
    tasks = open_tasks(town)
    situation = read_situation(town, tasks)
    reasons = {task.id: task_blockers(task, situation) for task in tasks}
    lines = [line for task in tasks for line in (_head(task), *_lines(reasons[task.id], "  "))]
    shapes = [{"task": task_shape(task), "reasons": reasons[task.id]} for task in tasks]
    context.emit({"tasks": shapes}, lines or ["no open tasks"])


def _explain_task(context: CliContext, town: TownClient, task: Task) -> None:
    reasons = task_blockers(task, read_situation(town, [task]))
    context.emit({"task": task_shape(task), "reasons": reasons}, [_head(task), *_lines(reasons, "  ")])


def _explain_agent(context: CliContext, town: TownClient, agent: Agent) -> None:
    reasons = agent_reasons(agent, read_situation(town, []))
    head = f"agent {agent.name} is {agent.state}"
    context.emit({"agent": agent_shape(agent), "reasons": reasons}, [head, *_lines(reasons, "  ")])


def _head(task: Task) -> str:
    return f"task {task.id} ({shown(task.headline)}) is {task.state}"


def _lines(reasons: Sequence[Blocker], indent: str) -> Iterator[str]:
    for reason in reasons:
        yield indent + reason.text
        if reason.fix:
            yield f"{indent}  -> {reason.fix}"
        yield from _lines(reason.because, indent + "  ")
