"""``tt backlog``: tasks that no agent has yet."""

from __future__ import annotations

import click
from tinytown.errors import Refused, UsageError
from tinytown.model.messages import Priority
from tinytown.model.text import counted

from tinytown_cli.backlog_pickup import pickup_blocker
from tinytown_cli.commands.roles import warn_of_role
from tinytown_cli.commands.tasks import whole_task_id
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import task_table
from tinytown_cli.framework import TownGroup
from tinytown_cli.kernel_process import start_where_needed
from tinytown_cli.params import (
    AGENT,
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


@click.group(cls=TownGroup, examples=["tt backlog add 'write the manual' --role writer", "tt backlog list"])
def backlog() -> None:
    """Manage tasks that no agent has yet. Idle agents claim tasks with their role or one of their tags."""


@backlog.command("add", examples=["tt backlog add 'write the manual' --role writer --priority high"])
@click.argument("text")
@click.option("--title", default="", help="The title shown in lists.  [default: the first line of the text]")
@click.option(
    "--priority", type=PRIORITY, default="normal", show_default=True, help="Tasks of higher priority are done first."
)
@click.option(
    "--needs", multiple=True, type=TASK, metavar="TASK,..", help="Tasks that must be completed before this one."
)
@click.option("--tags", multiple=True, type=TAG, metavar="TAG,..", help="Agents with one of these tags may claim it.")
@click.option("--role", default="", type=ROLE, help="Agents with this role may claim it.")
@click.option("--parent", default="", type=TASK, metavar="TASK", help="The parent task.")
@hold_options
@pass_cli_context
def add(
    context: CliContext,
    text: str,
    title: str,
    priority: Priority,
    needs: tuple[str, ...],
    tags: tuple[str, ...],
    role: str,
    parent: str,
    hold: str | None,
    hold_until: Moment | None,
) -> None:
    """Add a task, described by TEXT (- reads standard input).

    Idle agents with its role or one of its tags claim it. A task without both has to be assigned: tt backlog claim,
    tt backlog assign-all.
    """
    description = read_text(text)
    with context.open_town() as town:
        held, held_until = read_hold(hold, hold_until, town.now_ms)
        added = town.run(
            town.operations.add_task(
                description,
                title=title,
                priority=priority,
                needs=split_list(needs),
                tags=split_list(tags),
                role=role,
                parent=whole_task_id(town, parent),
                held=held,
                held_until=held_until,
            )
        ).task
        warn_of_role(context, town.config, role)
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
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The maximum number of tasks."
)
@pass_cli_context
def list_backlog(context: CliContext, tag: str, limit: int) -> None:
    """List the backlog: by priority, then by age."""
    with context.open_town() as town:
        found = town.run(town.operations.tasks(state="backlog", tag=tag, limit=limit))
    lines = task_table(found) if found else ["the backlog is empty"]
    context.emit({"tasks": [task_shape(each) for each in found]}, lines)


@backlog.command("claim", examples=["tt backlog claim 1f3a worker", "tt backlog claim 1f3a   # inside a round: for me"])
@click.argument("task_word", metavar="TASK", type=TASK)
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
@click.argument("task_word", metavar="TASK", type=TASK)
@pass_cli_context
def remove(context: CliContext, task_word: str) -> None:
    """Cancel a task of the backlog. It stays in the town as cancelled; tt task reopen reopens it."""
    with context.open_town() as town:
        found = town.run(town.operations.task(task_word))
        if found.state != "pending":
            raise Refused(
                f"task {found.id} is not on the backlog: it is {found.state}", hint=f"tt task cancel {found.id}"
            )
        gone = town.run(town.operations.settle_task("cancel", found.id, text="removed from the backlog"))
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
