"""``tt merge``: the merge queue, seen and steered by a person."""

from __future__ import annotations

import time
from typing import Any

import click
import msgspec
from tinytown.errors import NotFound, Refused
from tinytown_cli import administration
from tinytown_cli.public import TASK, CliContext, TownClient, TownGroup, pass_cli_context, read_text, table

from tinytown_git.commands.place import in_units
from tinytown_git.reservations import RESERVATIONS_FIELD
from tinytown_git.work import (
    FINAL,
    NOTICE_FIELD,
    PLUGIN,
    QUEUE_FIELD,
    QueueState,
    Work,
    field_of,
    notice,
    queue_state,
    read_work,
    town_notice,
    works_in,
)

_TASK = click.argument("task_word", metavar="TASK", type=TASK)
_SHORT = 8
_SETTLED_SHOWN = 10


@click.group(
    cls=TownGroup, alone="list", examples=["tt merge", "tt merge show 1f3a", "tt merge pause --reason release"]
)
def merge() -> None:
    """The merge queue: work that passed its gates is merged one after another, by priority and age."""


@merge.command("list", examples=["tt merge list", "tt merge list --all"], scope="town.read")
@click.option("--all", "everything", is_flag=True, help="All settled work, too, not only the latest.")
@pass_cli_context
def list_(context: CliContext, everything: bool) -> None:
    """List what waits, in the order in which it is merged, and what was merged or refused lately."""
    with context.open_town() as town:
        works, state = read_queue(town)
    now_ms = int(time.time() * 1000)
    waiting = sorted((work for work in works if work.stage not in FINAL), key=lambda work: -work.score(now_ms))
    settled = sorted((work for work in works if work.stage in FINAL), key=lambda work: -work.since_ms)
    shown = [*waiting, *(settled if everything else settled[:_SETTLED_SHOWN])]
    rows = [
        (
            work.task[:_SHORT],
            work.stage,
            in_units((now_ms - work.since_ms) / 1000),
            work.priority,
            work.agent,
            short(work.place or work.target or "HEAD"),
            (work.reason.partition("\n")[0] or work.title),
        )
        for work in shown
    ]
    lines = (
        table(("task", "stage", "age", "priority", "agent", "branch", "notes"), rows, spare=("priority",))
        if rows
        else []
    )
    context.emit(
        {"queue": state_shape(state), "work": [work_shape(work) for work in shown]},
        [*state_lines(state), *(lines or ["nothing waits to be merged"])],
    )


@merge.command("show", examples=["tt merge show 1f3a"], scope="town.read")
@_TASK
@pass_cli_context
def show(context: CliContext, task_word: str) -> None:
    """Show where the work on a task is on its way, with its checks and reviews."""
    with context.open_town() as town:
        work = find_work(town, task_word)
    context.emit(work_shape(work), work_lines(work))


@merge.command("retry", examples=["tt merge retry 1f3a"], scope="town.write")
@_TASK
@pass_cli_context
def retry(context: CliContext, task_word: str) -> None:
    """Have refused work tried again: the task goes back to its agent, with the reason."""
    with context.open_town() as town:
        town.caller.refuse_agents("may not retry merges", "report your task again instead")
        work = find_work(town, task_word)
        if work.stage != "refused":
            raise Refused(f"task {work.task} was not refused: it is {work.stage}", hint="tt merge list")
        task = town.run(town.operations.task(work.task))
        if task.finished:
            town.run(
                administration.reopen_task(town.operations.keys, work.task, reason=work.reason or "merge it again")
            )
    context.emit(work_shape(work), f"task {work.task[:_SHORT]} is with {work.agent} again")


@merge.command("reject", examples=["tt merge reject 1f3a --reason 'the API must not change'"], scope="town.write")
@_TASK
@click.option("--reason", required=True, help="What the author has to change (- reads standard input).")
@pass_cli_context
def reject(context: CliContext, task_word: str, reason: str) -> None:
    """Take work out of the queue and send it back to its agent."""
    why = read_text(reason).strip()
    with context.open_town() as town:
        town.caller.refuse_agents("may not reject merges", "tt reject TASK --reason ... as a reviewer")
        work = find_work(town, task_word)
        if work.stage not in ("queued", "review", "proposed"):
            raise Refused(f"task {work.task} does not wait to be merged: it is {work.stage}", hint="tt merge list")
        changed = msgspec.structs.replace(
            work, stage="refused", reason=f"rejected by supervisor: {why}", since_ms=now_ms()
        )
        write_work(town, work, changed)
    context.emit(work_shape(changed), f"rejected {work.task[:_SHORT]}: it goes back to {work.agent}")


@merge.command("pause", examples=["tt merge pause --reason 'release day'"], scope="town.write")
@click.option("--reason", default="requested by user", show_default=True, help="Why.")
@pass_cli_context
def pause(context: CliContext, reason: str) -> None:
    """Merge nothing until tt merge resume. Work continues and queues up."""
    _set_paused(context, reason)


@merge.command("resume", examples=["tt merge resume"], scope="town.write")
@pass_cli_context
def resume(context: CliContext) -> None:
    """Resume merging."""
    _set_paused(context, "")


def _set_paused(context: CliContext, reason: str) -> None:
    with context.open_town() as town:
        town.caller.refuse_agents("may not pause or resume merges", "ask the supervisor")
        _, before = read_queue(town)
        after = msgspec.structs.replace(before, paused=reason, by="supervisor" if reason else "")
        value = None if after == QueueState() else msgspec.to_builtins(after)
        town.run(town.operations.set_plugin_field(PLUGIN, QUEUE_FIELD, value))
        write_notice(town)
    context.emit(state_shape(after), f"paused: {reason}" if reason else "resumed")


# -- shared with the other commands --------------------------------------------------------------------------------


def read_queue(town: TownClient) -> tuple[list[Work], QueueState]:
    """All work that is recorded, and the state of the queue."""
    data = town.run(town.operations.plugin_data(PLUGIN))
    return works_in(data), queue_state(data.get(QUEUE_FIELD))


def find_work(town: TownClient, task_word: str) -> Work:
    """What was submitted for a task. Raises: NotFound."""
    task = town.run(town.operations.task(task_word))
    work = read_work(town.run(town.operations.plugin_field(PLUGIN, field_of(task.id))))
    if work is None:
        raise NotFound(
            f"nothing was submitted for task {task.id}: it is {task.state}", hint=f"tt task why {task.id[:_SHORT]}"
        )
    return work


def write_work(town: TownClient, before: Work, after: Work) -> None:
    """Write a record that is still as it was read. Raises: Refused if it is not."""
    values = [msgspec.to_builtins(work) for work in (before, after)]
    written = town.run(town.operations.set_plugin_field(PLUGIN, before.field, values[1], expected=values[0]))
    if not written:
        raise Refused(f"task {before.task} has moved on meanwhile", hint="tt merge show", code="changed")


def write_notice(town: TownClient) -> None:
    """Write what ``tt status`` says of the plugin, by what is recorded now."""
    data = town.run(town.operations.plugin_data(PLUGIN))
    said = town_notice(data.get(QUEUE_FIELD), data.get(RESERVATIONS_FIELD))
    town.run(town.operations.set_plugin_field(PLUGIN, NOTICE_FIELD, said))


def now_ms() -> int:
    return int(time.time() * 1000)


def short(branch: str) -> str:
    """A branch as people write it."""
    return branch.removeprefix("refs/heads/")


def work_shape(work: Work) -> dict[str, Any]:
    """The JSON object of submitted work."""
    return {
        "task": work.task,
        "title": work.title,
        "agent": work.agent,
        "round_id": work.round_id,
        "stage": work.stage,
        "reason": work.reason or None,
        "priority": work.priority,
        "branch": short(work.branch),
        "target": short(work.target) if work.target else None,
        "place": short(work.place) or None,
        "base": work.base,
        "commit": work.commit,
        "result": work.result or None,
        "since_ms": work.since_ms,
        "checks": list(work.checks),
        "reviews": list(work.reviews),
        "review_task": work.review_task or None,
    }


def state_shape(state: QueueState) -> dict[str, Any]:
    """The JSON object of the queue as a whole."""
    return {
        "paused": state.paused or None,
        "by": state.by or None,
        "collected": short(state.collected) or None,
        "target": short(state.target) or None,
        "reason": state.reason or None,
        "stale": state.stale or None,
        "next": todo(state),
    }


def todo(state: QueueState) -> str | None:
    """What a person has to type, if anything."""
    if state.paused:
        return "tt merge resume"
    if state.collected:
        return f"git merge {short(state.collected)}"
    return None


def state_lines(state: QueueState) -> list[str]:
    """The queue as a whole, for people; nothing if all is well."""
    said = notice(state)
    return [said] if said else []


def work_lines(work: Work) -> list[str]:
    """Submitted work, for people."""
    lines = [
        f"{work.task[:_SHORT]}  {work.title}",
        f"  stage    {work.stage}{f': {work.reason}' if work.reason else ''}",
        f"  agent    {work.agent}",
        f"  branch   {short(work.branch)} at {work.commit[:12]}, begun from {work.base[:12]}",
        f"  target   {short(work.place or work.target or 'HEAD')}",
    ]
    for check in work.checks:
        lines.append(f"  check    {check.name}: {'passed' if check.passed else 'failed'} in {check.duration_s:.1f} s")
    for review in work.reviews:
        verdict = "approved" if review.approved else "rejected"
        lines.append(f"  review   {verdict} by {review.by}{f': {review.reason}' if review.reason else ''}")
    return lines
