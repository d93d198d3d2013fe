"""``tt assign`` and ``tt task``: assign, show and settle tasks.

Inside a round, a command acts as the agent, with the token of its round; a person needs none.
"""

from __future__ import annotations

from typing import Any, Literal

import click
from tinytown.errors import UsageError
from tinytown.model.tasks import TASK_STATES, Task, TaskState
from tinytown.model.text import shown
from tinytown.model.time import rfc3339

from tinytown_cli.client import TownClient
from tinytown_cli.command_table import Entry
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownGroup
from tinytown_cli.params import (
    AGENT,
    MOMENT,
    TAG,
    TASK,
    Moment,
    limit_option,
    read_text,
    task_argument,
)
from tinytown_cli.serializers import task_shape
from tinytown_cli.task_lists import emit_task_list

#: In a module of their own: few tasks come from a document.
_ELSEWHERE = {
    "import": Entry("tinytown_cli.commands.import_export:import_", "Add the tasks in FILE."),
    "export": Entry("tinytown_cli.commands.import_export:export", "Write tasks to FILE."),
}


@click.group(cls=TownGroup, examples=["tt task list --state running", "tt task show 1f3a"], elsewhere=_ELSEWHERE)
def task() -> None:
    """Show and settle tasks."""


@task.command("show", examples=["tt task show 1f3a", "tt task show 1f3a --json"])
@task_argument
@pass_cli_context
def show(context: CliContext, task_word: str) -> None:
    """Show a task in full."""
    with context.open_town() as town:
        found = town.run(town.operations.task(task_word))
    context.emit(task_shape(found), _details(found))


def _details(task: Task) -> list[str]:
    shape = task_shape(task)
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
@limit_option
@pass_cli_context
def list_tasks(context: CliContext, state: TaskState | None, agent: str, tag: str, limit: int) -> None:
    """List tasks, the newest first."""
    with context.open_town() as town:
        found = town.run(town.operations.tasks(state=state or "", agent=agent, tag=tag, limit=limit + 1))
    emit_task_list(context, found, limit, "no matching tasks")


@task.command("current", examples=["tt task current", "tt task current worker"])
@click.argument("agent", required=False, type=AGENT)
@pass_cli_context
def current(context: CliContext, agent: str | None) -> None:
    """Show the task that AGENT is working on, or its only open one. Inside a round: the task of the round."""
    with context.open_town() as town:
        if agent is None and town.caller.task_id:
            found: Task | None = town.run(town.operations.task(town.caller.task_id))
        elif agent or town.caller.is_agent:
            from tinytown_cli import administration  # late: most commands of the group do without

            found = town.run(administration.current_task(town.operations.keys, agent or town.caller.agent))
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
        if town.caller.task_token:
            raise UsageError("expected a task: this round has several", hint="name one of them by its ID")
        raise UsageError("expected a task: only a round has a current task", hint="tt task list")
    return town.caller.task_id


def _authority(town: TownClient, verb: str, chosen: str) -> tuple[str, str]:
    """The agent and token to settle a task with. Cancelling another agent's task needs none, and ends the round on it."""
    caller = town.caller
    if not caller.is_agent or (verb == "cancel" and not caller.task_id.startswith(chosen)):
        return "", ""
    return caller.agent, caller.task_token


def _print_task(context: CliContext, task: Task) -> None:
    context.emit(task_shape(task), f"task {task.id} is {task.state}" + (f": {task.reason}" if task.reason else ""))


_optional_task = click.argument("task_word", metavar="[TASK]", required=False, type=TASK)
_reason = click.option("--reason", default="", metavar="TEXT", help="The reason; - reads standard input.")


@task.command("complete", examples=["tt task complete --result 'done, see src/count.py'", "tt task complete 1f3a"])
@_optional_task
@click.option("--result", default="", metavar="TEXT", help="The result; - reads standard input.")
@pass_cli_context
def complete(context: CliContext, task_word: str | None, result: str) -> None:
    """Complete a task. Inside a round: by default the task of the round, which the gates check first."""
    _settle(context, "complete", task_word, result)


@task.command("fail", examples=["tt task fail 1f3a --reason 'the API is gone'"])
@_optional_task
@_reason
@pass_cli_context
def fail(context: CliContext, task_word: str | None, reason: str) -> None:
    """Mark a task as failed. Tasks that need it stay blocked."""
    _settle(context, "fail", task_word, reason)


@task.command("cancel", examples=["tt task cancel 1f3a --reason 'no longer wanted'"])
@_optional_task
@_reason
@pass_cli_context
def cancel(context: CliContext, task_word: str | None, reason: str) -> None:
    """Cancel a task; a running round on it is interrupted."""
    _settle(context, "cancel", task_word, reason)


@task.command("reopen", examples=["tt task reopen 1f3a --reason 'the tests fail on Windows'"])
@task_argument
@click.option(
    "--reason", default="reopened", metavar="TEXT", help="The reason, which the agent sees; - reads standard input."
)
@pass_cli_context
def reopen(context: CliContext, task_word: str, reason: str) -> None:
    """Reopen a finished task, for its agent or the backlog; tasks that need it are blocked again."""
    from tinytown_cli import administration  # late: most commands of the group do without

    with context.open_town() as town:
        opened = town.run(administration.reopen_task(town.operations.keys, task_word, reason=read_text(reason)))
    _print_task(context, opened.task)


@task.command("hold", examples=["tt task hold 1f3a --reason 'until the design is agreed' --until 2h"])
@task_argument
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
        from tinytown_cli import administration

        held = town.run(administration.hold_task(town.operations.keys, task_word, reason=words, until=moment))
    _print_task(context, held)


@task.command("release", examples=["tt task release 1f3a"])
@task_argument
@pass_cli_context
def release(context: CliContext, task_word: str) -> None:
    """Release a held task: to its agent or the backlog, unless it needs other tasks."""
    with context.open_town() as town:
        from tinytown_cli import administration

        released = town.run(administration.release_task(town.operations.keys, task_word))
    _print_task(context, released)


@task.command("requeue", examples=["tt task requeue 1f3a --reason 'needs a reviewer'"])
@task_argument
@click.option("--reason", default="requeued", metavar="TEXT", help="The reason; - reads standard input.")
@pass_cli_context
def requeue(context: CliContext, task_word: str, reason: str) -> None:
    """Move a task from its agent to the backlog; a running round on it is interrupted."""
    with context.open_town() as town:
        from tinytown_cli import administration

        freed = town.run(administration.requeue_task(town.operations.keys, task_word, reason=read_text(reason)))
    _print_task(context, freed)
