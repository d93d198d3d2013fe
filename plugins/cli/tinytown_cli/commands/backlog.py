"""``tt backlog``: tasks that no agent has yet."""

from __future__ import annotations

from typing import Unpack

import click
from tinytown.errors import Refused, UsageError
from tinytown.model.text import counted

from tinytown_cli.backlog_pickup import pickup_blocker
from tinytown_cli.context import CliContext, pass_cli_context, start_where_needed
from tinytown_cli.framework import TownGroup
from tinytown_cli.new_task import TaskOptions, add_task, task_options
from tinytown_cli.params import AGENT, TAG, limit_option, no_start_option, read_text, task_argument
from tinytown_cli.task_lists import emit_task_list


@click.group(cls=TownGroup, examples=["tt backlog add 'write the manual' --role writer", "tt backlog list"])
def backlog() -> None:
    """Manage tasks that no agent has yet. Idle agents claim tasks with their role or one of their tags."""


@backlog.command("add", examples=["tt backlog add 'write the manual' --role writer --priority high"])
@click.argument("text")
@task_options(tags="Agents with one of these tags may claim it.", role="Agents with this role may claim it.")
@pass_cli_context
def add(context: CliContext, text: str, **options: Unpack[TaskOptions]) -> None:
    """Add a task, described by TEXT (- reads standard input).

    Idle agents with its role or one of its tags claim it; one without both is for agents that have neither a role nor tags. To
    assign tasks of the backlog yourself: tt backlog claim, tt backlog assign-all.
    """
    description = read_text(text)
    with context.open_town() as town:
        added = add_task(context, town, description, **options).task
        agents = town.run(town.operations.agents())
    blocker = pickup_blocker(added, agents, auto_claim=town.config.auto_claim)
    if blocker:
        context.warn(f"note: {blocker.text}; {blocker.fix}")
    context.emit(
        {"task_id": added.id, "state": added.state, "remarks": [blocker.text] if blocker else []},
        f"task {added.id} is {added.state}" + (f": {added.reason}" if added.reason else " on the backlog"),
    )


@backlog.command("list", examples=["tt backlog list", "tt backlog list --tag docs"])
@click.option("--tag", default="", type=TAG, help="Only tasks with this tag.")
@limit_option
@pass_cli_context
def list_backlog(context: CliContext, tag: str, limit: int) -> None:
    """List the backlog: by priority, then by age."""
    with context.open_town() as town:
        found = town.run(town.operations.tasks(state="backlog", tag=tag, limit=limit + 1))
    emit_task_list(context, found, limit, "the backlog is empty")


@backlog.command("claim", examples=["tt backlog claim 1f3a worker", "tt backlog claim 1f3a   # inside a round: for me"])
@task_argument
@click.argument("agent", required=False, type=AGENT)
@no_start_option
@pass_cli_context
def claim(context: CliContext, task_word: str, agent: str | None, no_start: bool) -> None:
    """Assign a task of the backlog to AGENT; inside a round by default to the agent itself."""
    with context.open_town() as town:
        taker = agent or town.caller.agent
        if not taker:
            raise UsageError(
                "expected an agent: only inside a round is there a default", hint="tt backlog claim TASK AGENT"
            )
        claimed = town.run(town.operations.claim_from_backlog(task_word, taker))
        start_where_needed(context, town, may_start=not no_start)
    task = claimed.task
    context.emit(
        {"task_id": task.id, "agent": task.assigned_to, "message_id": claimed.message_id, "state": task.state},
        f"task {task.id} is {task.state} to {task.assigned_to}",
    )


@backlog.command("remove", examples=["tt backlog remove 1f3a"])
@task_argument
@pass_cli_context
def remove(context: CliContext, task_word: str) -> None:
    """Cancel a task of the backlog. It stays in the town as cancelled; tt task reopen reopens it."""
    with context.open_town() as town:
        task = town.run(town.operations.task(task_word))
        if task.state != "pending":
            raise Refused(f"task {task.id} is not on the backlog: it is {task.state}", hint=f"tt task cancel {task.id}")
        gone = town.run(town.operations.settle_task("cancel", task.id, text="removed from the backlog"))
    context.emit({"task_id": gone.id, "state": gone.state}, f"task {gone.id} is {gone.state}")


@backlog.command("assign-all", examples=["tt backlog assign-all worker"])
@click.argument("agent", type=AGENT)
@no_start_option
@pass_cli_context
def assign_all(context: CliContext, agent: str, no_start: bool) -> None:
    """Assign the whole backlog to AGENT (1,000 tasks at most)."""
    from tinytown_cli import administration

    with context.open_town() as town:
        name = town.run(town.operations.agent(agent)).name
        ids = town.run(administration.assign_backlog(town.operations.keys, name))
        start_where_needed(context, town, may_start=not no_start)
    context.emit({"agent": name, "task_ids": ids}, f"assigned {counted(len(ids), 'task')} to {name}")
