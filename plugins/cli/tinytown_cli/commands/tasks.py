"""``tt assign`` and ``tt task``: assign, show and settle tasks.

Inside a round, a command acts as the agent, with the token of its round; a person needs none.
"""

from __future__ import annotations

from typing import Any, Literal

import click
from tinytown.client import TownClient
from tinytown.errors import UsageError
from tinytown.model.messages import Priority
from tinytown.model.tasks import TASK_STATES, Task, TaskState
from tinytown.model.text import shown
from tinytown.model.time import rfc3339

from tinytown_cli.commands.import_export import export, import_
from tinytown_cli.commands.roles import warn_of_role
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import task_table
from tinytown_cli.framework import TownCommand, TownGroup
from tinytown_cli.kernel_process import start_where_needed
from tinytown_cli.params import (
    AGENT,
    MOMENT,
    PRIORITY,
    ROLE,
    TAG,
    TASK,
    Moment,
    hold_options,
    no_start_option,
    read_hold,
    read_text,
    split_list,
)
from tinytown_cli.serializers import task_shape


@click.command(
    cls=TownCommand,
    examples=[
        "tt assign worker 'add a --dry-run option to the importer'",
        "tt assign rita - --title 'review the importer' --needs 1f3a < review.md",
    ],
)
@click.argument("agent", type=AGENT)
@click.argument("text")
@click.option("--title", default="", help="The title shown in lists.  [default: the first line of the text]")
@click.option(
    "--priority", type=PRIORITY, default="normal", show_default=True, help="Tasks of higher priority are done first."
)
@click.option(
    "--needs", multiple=True, type=TASK, metavar="TASK,..", help="Tasks that must be completed before this one."
)
@click.option("--tags", multiple=True, type=TAG, metavar="TAG,..", help="Tags to find it by.")
@click.option("--role", default="", type=ROLE, help="The role that the task is for.")
@click.option("--parent", default="", type=TASK, metavar="TASK", help="The parent task.")
@hold_options
@no_start_option
@pass_cli_context
def assign(
    context: CliContext,
    agent: str,
    text: str,
    title: str,
    priority: Priority,
    needs: tuple[str, ...],
    tags: tuple[str, ...],
    role: str,
    parent: str,
    hold: str | None,
    hold_until: Moment | None,
    no_start: bool,
) -> None:
    """Assign a task to AGENT, described by TEXT (- reads standard input)."""
    description = read_text(text)
    with context.open_town() as town:
        held, held_until = read_hold(hold, hold_until, town.now_ms)
        call = town.operations.add_task(
            description,
            agent=agent,
            title=title,
            priority=priority,
            needs=split_list(needs),
            tags=split_list(tags),
            role=role,
            parent=whole_task_id(town, parent),
            held=held,
            held_until=held_until,
        )
        assigned = town.run(call)
        warn_of_role(context, town.config, role)
        start_where_needed(context, town, may_start=not no_start)
    task = assigned.task
    context.emit(
        {"task_id": task.id, "agent": task.assigned_to, "message_id": assigned.message_id, "state": task.state},
        f"task {task.id} is {task.state} to {task.assigned_to}" + (f": {task.reason}" if task.reason else ""),
    )


def whole_task_id(town: TownClient, word: str) -> str:
    """The id of the task that `word` names; empty for an empty word. Raises: NotFound; UsageError if several match."""
    return town.run(town.operations.task(word)).id if word else ""


@click.group(cls=TownGroup, examples=["tt task list --state running", "tt task show 1f3a"])
def task() -> None:
    """Show and settle tasks."""


@task.command("show", examples=["tt task show 1f3a", "tt task show 1f3a --json"])
@click.argument("task_word", metavar="TASK", type=TASK)
@pass_cli_context
def show(context: CliContext, task_word: str) -> None:
    """Show a task in full."""
    with context.open_town() as town:
        found = town.run(town.operations.task(task_word))
    context.emit(task_shape(found), _details(found))


def _details(found: Task) -> list[str]:
    shape = task_shape(found)
    lines = [f"{name:13} {_flat(value)}" for name, value in shape.items() if value and name not in _PROSE]
    for name in _PROSE:
        if shape[name]:
            lines += ["", f"{name}:", str(shape[name])]
    return lines


_PROSE = ("description", "result")


def _flat(value: Any) -> str:
    items: list[Any] = [*value] if isinstance(value, list | tuple) else [value]
    return shown(", ".join(map(str, items)), 500)


@task.command(
    "list", examples=["tt task list", "tt task list --state failed --agent worker", "tt task list --tag docs"]
)
@click.option("--state", type=click.Choice(TASK_STATES), help="Only tasks in this state.")
@click.option("--agent", default="", type=AGENT, metavar="AGENT", help="Only tasks of this agent.")
@click.option("--tag", default="", type=TAG, help="Only tasks with this tag.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The maximum number of tasks."
)
@pass_cli_context
def list_tasks(context: CliContext, state: TaskState | None, agent: str, tag: str, limit: int) -> None:
    """List tasks, the newest first."""
    with context.open_town() as town:
        tasks = town.run(town.operations.tasks(state=state or "", agent=agent, tag=tag, limit=limit))
    lines = task_table(tasks) if tasks else ["no matching tasks"]
    context.emit({"tasks": [task_shape(each) for each in tasks]}, lines)


task.add_command(export)
task.add_command(import_)


@task.command("current", examples=["tt task current", "tt task current worker"])
@click.argument("agent", required=False, type=AGENT)
@pass_cli_context
def current(context: CliContext, agent: str | None) -> None:
    """Show the task that AGENT is working on, or its only open one. Inside a round: the task of the round."""
    with context.open_town() as town:
        if agent is None and town.caller.task_id:
            found: Task | None = town.run(town.operations.task(town.caller.task_id))
        elif agent or town.caller.is_agent:
            found = town.run(town.operations.current_task(agent or town.caller.agent))
        else:
            raise UsageError("expected an agent: only a round has a current task", hint="tt task current AGENT")
    context.emit(
        {"task": None if found is None else task_shape(found)},
        ["no current task"] if found is None else _details(found),
    )


def _settle(
    context: CliContext,
    verb: Literal["complete", "fail", "cancel"],
    word: str | None,
    text: str,
) -> None:
    words = read_text(text)
    with context.open_town() as town:
        chosen = word or _current_task(town)
        by, token = _authority(town, verb, chosen)
        # An agent submits its task, and the gates of the town decide whether it is completed.
        action: Literal["complete", "submit", "fail", "cancel"] = "submit" if by and verb == "complete" else verb
        settled = town.run(town.operations.settle_task(action, chosen, text=words, by=by, token=token))
    _print_task(context, settled)


def _current_task(town: TownClient) -> str:
    if not town.caller.task_id:
        raise UsageError("expected a task: only a round has a current task", hint="tt task list")
    return town.caller.task_id


def _authority(town: TownClient, verb: str, chosen: str) -> tuple[str, str]:
    """The agent and token to settle a task with. Cancelling another agent's task needs none, and ends the round on it."""
    caller = town.caller
    if not caller.is_agent or (verb == "cancel" and not caller.task_id.startswith(chosen)):
        return "", ""
    return caller.agent, caller.task_token


def _print_task(context: CliContext, found: Task) -> None:
    context.emit(task_shape(found), f"task {found.id} is {found.state}" + (f": {found.reason}" if found.reason else ""))


@task.command("complete", examples=["tt task complete --result 'done, see src/count.py'", "tt task complete 1f3a"])
@click.argument("task_word", metavar="[TASK]", required=False, type=TASK)
@click.option("--result", default="", metavar="TEXT", help="The result; - reads standard input.")
@pass_cli_context
def complete(context: CliContext, task_word: str | None, result: str) -> None:
    """Complete a task. Inside a round: by default the task of the round, which the gates check first."""
    _settle(context, "complete", task_word, result)


@task.command("fail", examples=["tt task fail 1f3a --reason 'the API is gone'"])
@click.argument("task_word", metavar="[TASK]", required=False, type=TASK)
@click.option("--reason", default="", metavar="TEXT", help="The reason; - reads standard input.")
@pass_cli_context
def fail(context: CliContext, task_word: str | None, reason: str) -> None:
    """Mark a task as failed. Tasks that need it stay blocked."""
    _settle(context, "fail", task_word, reason)


@task.command("cancel", examples=["tt task cancel 1f3a --reason 'no longer wanted'"])
@click.argument("task_word", metavar="[TASK]", required=False, type=TASK)
@click.option("--reason", default="", metavar="TEXT", help="The reason; - reads standard input.")
@pass_cli_context
def cancel(context: CliContext, task_word: str | None, reason: str) -> None:
    """Cancel a task; a running round on it is interrupted."""
    _settle(context, "cancel", task_word, reason)


@task.command("reopen", examples=["tt task reopen 1f3a --reason 'the tests fail on Windows'"])
@click.argument("task_word", metavar="TASK", type=TASK)
@click.option(
    "--reason", default="reopened", metavar="TEXT", help="The reason, which the agent sees; - reads standard input."
)
@pass_cli_context
def reopen(context: CliContext, task_word: str, reason: str) -> None:
    """Reopen a finished task, for its agent or the backlog; tasks that need it are blocked again."""
    with context.open_town() as town:
        opened = town.run(town.operations.reopen_task(task_word, reason=read_text(reason)))
    _print_task(context, opened.task)


@task.command("hold", examples=["tt task hold 1f3a --reason 'until the design is agreed' --until 2h"])
@click.argument("task_word", metavar="TASK", type=TASK)
@click.option("--reason", required=True, metavar="TEXT", help="The reason; - reads standard input.")
@click.option(
    "--until", type=MOMENT, metavar="TIME", help="Release it after 90s, 10m, 2h, 3d, or at a time in RFC 3339."
)
@pass_cli_context
def hold(context: CliContext, task_word: str, reason: str, until: Moment | None) -> None:
    """Hold a task until tt task release or --until; a running round on it is interrupted."""
    words = read_text(reason)
    with context.open_town() as town:
        moment = "" if until is None else rfc3339(until.ahead_ms(town.now_ms()))
        held = town.run(town.operations.hold_task(task_word, reason=words, until=moment))
    _print_task(context, held)


@task.command("release", examples=["tt task release 1f3a"])
@click.argument("task_word", metavar="TASK", type=TASK)
@pass_cli_context
def release(context: CliContext, task_word: str) -> None:
    """Release a held task: to its agent or the backlog, unless it needs other tasks."""
    with context.open_town() as town:
        released = town.run(town.operations.release_task(task_word))
    _print_task(context, released)


@task.command("requeue", examples=["tt task requeue 1f3a --reason 'needs a reviewer'"])
@click.argument("task_word", metavar="TASK", type=TASK)
@click.option("--reason", default="requeued", metavar="TEXT", help="The reason; - reads standard input.")
@pass_cli_context
def requeue(context: CliContext, task_word: str, reason: str) -> None:
    """Move a task from its agent to the backlog; a running round on it is interrupted."""
    with context.open_town() as town:
        freed = town.run(town.operations.requeue_task(task_word, reason=read_text(reason)))
    _print_task(context, freed)
