"""``tt group``: create and change groups of tasks, and show their progress."""

from __future__ import annotations

import time
from collections.abc import Iterable

import click
import msgspec
from tinytown.errors import Refused, TinytownError, UsageError
from tinytown.model.events import TaskStateChanged
from tinytown.model.tasks import Task
from tinytown_cli.public import (
    AGENT,
    TASK,
    CliContext,
    TownClient,
    TownGroup,
    pass_cli_context,
    table,
)

from tinytown_beads.groups.progress import Progress, evaluate, group_shape, stages_of
from tinytown_beads.groups.record import Group, field_of, now, with_tasks
from tinytown_beads.groups.town import add_group, all_groups, change_group, find_group, find_progress

_NAME = click.argument("name")


@click.group(cls=TownGroup, examples=["tt group create release build docs announce", "tt group status release"])
def group() -> None:
    """Named sets of tasks: their progress, and a notice when all of them are completed."""


@group.command(
    "create",
    examples=["tt group create release 1f3a 77b0 --owner rita", "tt group create release 1f3a 77b0 --dry-run"],
    scope="town.write",
)
@_NAME
@click.argument("tasks", nargs=-1, type=TASK, metavar="[TASK...]")
@click.option("--owner", type=AGENT, metavar="AGENT", help="Who is notified.  [default: the caller]")
@click.option("--notify", multiple=True, type=AGENT, metavar="AGENT,..", help="Also notify these agents.")
@click.option("--description", default="", help="A short description.")
@click.option("--dry-run", is_flag=True, help="Only show the stages in which the tasks can run.")
@pass_cli_context
def create(
    context: CliContext,
    name: str,
    tasks: tuple[str, ...],
    owner: str | None,
    notify: tuple[str, ...],
    description: str,
    dry_run: bool,
) -> None:
    """Create the group NAME with these tasks."""
    field_of(name)
    with context.open_town() as town:
        members: list[Task] = town.run_all([town.operations.task(word) for word in tasks])
        stages = stages_of({task.id: task.needs for task in members})
        made = Group(
            name=name,
            created_at=now(),
            owner=_address(town, owner or town.caller.address),
            notify=tuple(_address(town, word) for names in notify for word in names.split(",") if word.strip()),
            description=description,
            tasks=tuple(dict.fromkeys(task.id for task in members)),
        )
        if dry_run:
            titles = {task.id: f"{task.state}  {task.headline}" for task in members}
            lines = [line for number, stage in enumerate(stages, 1) for line in _stage_lines(number, stage, titles)]
            context.emit({"name": name, "stages": stages, "waves": stages}, lines or ["no tasks, no stages"])
            return
        add_group(town, made)
        progress = find_progress(town, made)
    context.emit(group_shape(progress), _summary(progress))


def _stage_lines(number: int, stage: Iterable[str], titles: dict[str, str]) -> list[str]:
    return [f"stage {number}", *(f"  {id_}  {titles[id_]}" for id_ in stage)]


def _address(town: TownClient, word: str) -> str:
    """The name of an agent, or the supervisor's address."""
    return town.run(town.operations.peek(word.strip(), limit=1)).agent


@group.command("add", examples=["tt group add release 1f3a 77b0"], scope="town.write")
@_NAME
@click.argument("tasks", nargs=-1, required=True, type=TASK, metavar="TASK...")
@pass_cli_context
def add(context: CliContext, name: str, tasks: tuple[str, ...]) -> None:
    """Add tasks to the group NAME; a completed group reopens."""
    with context.open_town() as town:
        ids = [task.id for task in town.run_all([town.operations.task(word) for word in tasks])]
        changed = change_group(town, name, lambda now_: with_tasks(_not_closed(now_), added=ids))
        _answer(context, town, changed)


@group.command("remove", examples=["tt group remove release 1f3a"], scope="town.write")
@_NAME
@click.argument("tasks", nargs=-1, required=True, metavar="TASK...")
@pass_cli_context
def remove(context: CliContext, name: str, tasks: tuple[str, ...]) -> None:
    """Remove tasks from the group NAME. The tasks are not changed."""
    with context.open_town() as town:
        changed = change_group(town, name, lambda now_: with_tasks(now_, removed=[_member(now_, w) for w in tasks]))
        _answer(context, town, changed)


def _member(group: Group, word: str) -> str:
    """The member that `word` refers to; the task itself may no longer exist."""
    near = [word] if word in group.tasks else [id_ for id_ in group.tasks if word and id_.startswith(word)]
    if len(near) != 1:
        raise UsageError(
            f"expected a task of group {group.name}, got {word[:80]!r}",
            hint=f"tt group status {group.name} shows them" if not near else f"one of {', '.join(near[:8])}",
        )
    return near[0]


@group.command("list", examples=["tt group list", "tt group list --all"], scope="town.read")
@click.option("--all", "everything", is_flag=True, help="Include closed ones.")
@pass_cli_context
def list_groups(context: CliContext, everything: bool) -> None:
    """List the groups, oldest first."""
    with context.open_town() as town:
        groups = [progress for progress in all_groups(town) if everything or progress.state != "closed"]
        progresses = [find_progress(town, progress) for progress in groups]
    rows = [
        (
            progress.group.name,
            _state(progress),
            _done(progress),
            progress.group.owner,
            _counted(progress),
            progress.group.description,
        )
        for progress in progresses
    ]
    lines = table(("group", "state", "done", "owner", "tasks", "about"), rows) if rows else ["no groups"]
    context.emit({"groups": [group_shape(progress) for progress in progresses]}, lines)


@group.command("status", examples=["tt group status release", "tt group status release --json"], scope="town.read")
@_NAME
@pass_cli_context
def status(context: CliContext, name: str) -> None:
    """Show the progress of the group NAME, task by task."""
    with context.open_town() as town:
        _answer(context, town, find_group(town, name))


@group.command("watch", examples=["tt group watch release", "tt group watch release --timeout 3600"])
@_NAME
@click.option("--timeout", "timeout_s", type=click.FloatRange(0), metavar="SECONDS", help="Stop after this time.")
@pass_cli_context
def watch(context: CliContext, name: str, timeout_s: float | None) -> None:
    """Follow the group NAME until it is completed, closed or stuck.

    Exits with 1 if it is stuck (a task failed and no other can run) and on timeout.
    """
    until = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    with context.open_town() as town:
        cursor, progress = town.cursor(), find_progress(town, find_group(town, name))
        if not _over(progress):
            for batch in town.follow(cursor, until=until):
                for event in batch:
                    if isinstance(event, TaskStateChanged) and event.task in progress.states:
                        context.warn(f"{event.at}  {event.task} {event.old} -> {event.new}  {event.title}")
                progress = find_progress(town, find_group(town, name))
                if _over(progress):
                    break
    context.emit(group_shape(progress), _details(progress))
    if not _over(progress):
        raise TinytownError(f"timed out: group {name} is {_done(progress)} done", code="timeout")
    if not progress.complete and progress.group.state != "closed":
        raise TinytownError(
            f"group {name} is stuck: {', '.join(progress.failing)} did not complete",
            hint="tt task reopen, or tt group remove",
            code="group_stuck",
        )


def _over(progress: Progress) -> bool:
    return progress.group.state == "closed" or progress.complete or progress.stuck


@group.command(
    "close",
    examples=["tt group close release --reason 'shipped without the docs'", "tt group close old --forget"],
    scope="town.write",
)
@_NAME
@click.option("--reason", default="", help="Why.")
@click.option("--force", is_flag=True, help="Close it even if tasks are open.")
@click.option("--forget", is_flag=True, help="Delete the group. Its tasks stay.")
@pass_cli_context
def close(context: CliContext, name: str, reason: str, force: bool, forget: bool) -> None:
    """Close the group NAME: its notices end. Its tasks are not changed.

    A group that is not completed needs --force.
    """
    with context.open_town() as town:
        progress = find_progress(town, find_group(town, name))
        if not (force or progress.complete or progress.group.state == "closed" or not progress.states):
            raise Refused(
                f"group {name} is not completed: {_done(progress)} done",
                hint="close it anyway with --force",
                code="needs_force",
            )

        def closed(group: Group) -> Group | None:
            if forget:
                return None
            return msgspec.structs.replace(group, state="closed", closed_at=group.closed_at or now(), reason=reason)

        changed = change_group(town, name, closed)
        if changed is None:
            context.emit({**group_shape(progress), "state": "forgotten"}, f"group {name} is forgotten")
        else:
            _answer(context, town, changed)


def _not_closed(group: Group) -> Group:
    if group.state == "closed":
        raise Refused(f"group {group.name} is closed", hint="create another group")
    return group


def _answer(context: CliContext, town: TownClient, group: Group | None) -> None:
    if group is not None:
        progress = find_progress(town, group)
        context.emit(group_shape(progress), _details(progress))


def _state(progress: Progress) -> str:
    # What the record will say as soon as a kernel has looked.
    return progress.group.state if progress.group.state == "closed" else evaluate(progress).state


def _done(progress: Progress) -> str:
    return f"{progress.counts.get('completed', 0)}/{len(progress.states)}"


def _counted(progress: Progress) -> str:
    return ", ".join(f"{count} {state}" for state, count in progress.counts.items() if state != "completed")


def _summary(progress: Progress) -> list[str]:
    group = progress.group
    return [f"group {group.name} is {_state(progress)}: {_done(progress)} done, {group.owner} is notified"]


def _details(progress: Progress) -> list[str]:
    group = progress.group
    lines = _summary(progress)
    lines += [group.description] if group.description else []
    lines += [f"closed: {group.reason}"] if group.reason else []
    rows = [
        (id_, progress.states[id_], (task.assigned_to or "-") if task else "-", task.headline if task else "")
        for id_ in group.tasks
        for task in [progress.tasks.get(id_)]
    ]
    lines += table(("task", "state", "agent", "title"), rows) if rows else ["no tasks"]
    for id_ in progress.failing:
        task = progress.tasks.get(id_)
        lines.append(
            f"{id_} blocks completion: {progress.states[id_]}{f', {task.reason}' if task and task.reason else ''}"
        )
    return lines
