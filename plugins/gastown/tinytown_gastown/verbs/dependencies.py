"""``tt ready`` and ``tt dep``: tasks that can start now, and the needs among tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
from tinytown.errors import NotFound, Refused, TinytownError, UsageError
from tinytown.model.tasks import Task
from tinytown_cli import administration
from tinytown_cli.public import (
    AGENT,
    TASK,
    CliContext,
    TownClient,
    TownCommand,
    TownGroup,
    emit_task_list,
    find_cycle,
    no_start_option,
    pass_cli_context,
    start_where_needed,
    task_shape,
)

_ALL = 10_000


@click.command(
    cls=TownCommand,
    examples=["tt ready", "tt ready --claim", "tt ready --agent worker"],
    scope="town.read",
    option_scopes={"claim": "town.write"},
)
@click.option("--agent", default="", type=AGENT, metavar="AGENT", help="What this agent could begin, too.")
@click.option("--tag", default="", help="Only those with this tag.")
@click.option("--claim", is_flag=True, help="Take the first one: for yourself inside a round, else for --agent.")
@click.option(
    "--limit", type=click.IntRange(1, _ALL), default=50, show_default=True, help="The maximum number of lines."
)
@no_start_option
@pass_cli_context
def ready(context: CliContext, agent: str, tag: str, claim: bool, limit: int, no_start: bool) -> None:
    """List the tasks that are ready: their needs are done and they are not held. Most urgent first."""
    with context.open_town() as town:
        owner = agent or town.caller.agent
        backlog = town.run(town.operations.tasks(state="backlog", tag=tag, limit=limit + 1))
        tasks = list(backlog)
        if claim:
            _claim(context, town, tasks, owner, no_start=no_start)
            return
        if owner:
            own = town.run(town.operations.tasks(state="assigned", agent=owner, tag=tag, limit=limit + 1))
            tasks = [*reversed(own), *tasks]
    emit_task_list(context, tasks, limit, "no task is ready")


def _claim(context: CliContext, town: TownClient, tasks: Sequence[Task], owner: str, *, no_start: bool) -> None:
    if not owner:
        raise UsageError("expected --agent (there is no default outside of a round)", hint="tt list shows them")
    for task in tasks:
        try:
            claimed = town.run(town.operations.claim_from_backlog(task.id, owner)).task
        except (Refused, NotFound) as error:
            if error.fields.get("task") != task.id:
                raise
            continue  # another caller was quicker
        start_where_needed(context, town, may_start=not no_start)
        context.emit(
            {"tasks": [task_shape(claimed)]}, f"task {claimed.id} is {claimed.state}, for {claimed.assigned_to}"
        )
        return
    raise NotFound("no task is ready", hint="tt task list shows dependencies", code="nothing_ready")


@click.group(cls=TownGroup, examples=["tt dep add 77b0 1f3a", "tt dep tree 77b0"])
def dep() -> None:
    """Show and change the dependencies of tasks."""


@dep.command("add", examples=["tt dep add 77b0 1f3a   # 77b0 waits for 1f3a"], scope="town.write")
@click.argument("task_word", metavar="TASK", type=TASK)
@click.argument("need", metavar="NEED", type=TASK)
@pass_cli_context
def add(context: CliContext, task_word: str, need: str) -> None:
    """Make TASK wait until NEED is completed."""
    with context.open_town() as town:
        task = town.run(administration.add_need(town.operations.keys, task_word, need))
    _answer(context, task)


@dep.command("remove", examples=["tt dep remove 77b0 1f3a"], scope="town.write")
@click.argument("task_word", metavar="TASK", type=TASK)
@click.argument("need", metavar="NEED", type=TASK)
@pass_cli_context
def remove(context: CliContext, task_word: str, need: str) -> None:
    """Remove NEED from the dependencies of TASK."""
    with context.open_town() as town:
        task = town.run(town.operations.task(task_word))
        near = [id_ for id_ in task.needs if id_ == need] or [
            id_ for id_ in task.needs if need and id_.startswith(need)
        ]
        if len(near) != 1:
            raise NotFound(
                f"task {task.id} does not need {need[:80]!r}", hint=f"it needs {', '.join(task.needs) or 'nothing'}"
            )
        changed = town.run(
            administration.update_task(town.operations, task.id, needs=[id_ for id_ in task.needs if id_ != near[0]])
        )
    _answer(context, changed)


def _answer(context: CliContext, task: Task) -> None:
    waits = f", waiting for {', '.join(task.open_needs)}" if task.open_needs else ""
    context.emit(task_shape(task), f"task {task.id} is {task.state}{waits}")


@dep.command("tree", examples=["tt dep tree 77b0"], scope="town.read")
@click.argument("task_word", metavar="TASK", type=TASK)
@click.option("--depth", type=click.IntRange(1, 100), default=20, show_default=True, help="The maximum depth.")
@pass_cli_context
def tree(context: CliContext, task_word: str, depth: int) -> None:
    """Show the dependencies of TASK, and theirs. A repeated task is not expanded again."""
    with context.open_town() as town:
        root = town.run(town.operations.task(task_word))
        known = {root.id: root}
        wanted = list(root.needs)
        for _ in range(depth):
            wanted = [id_ for id_ in dict.fromkeys(wanted) if id_ not in known]
            if not wanted:
                break
            answers = town.client.run_all([town.operations.task(id_) for id_ in wanted])
            known |= {answer.id: answer for answer in answers if isinstance(answer, Task)}
            wanted = [need for answer in answers if isinstance(answer, Task) for need in answer.needs]
    lines: list[str] = []
    _draw(lines, root.id, known, "", set())
    context.emit(_tree_shape(root.id, known, set()), lines)


def _draw(lines: list[str], id_: str, known: Mapping[str, Task], indent: str, seen: set[str]) -> None:
    task = known.get(id_)
    again = id_ in seen
    lines.append(
        f"{indent}{id_}  {task.state if task else 'gone'}  {task.headline if task else ''}{'  (above)' if again else ''}"
    )
    seen.add(id_)
    if task and not again:
        for need in task.needs:
            _draw(lines, need, known, f"{indent}  ", seen)


def _tree_shape(id_: str, known: Mapping[str, Task], seen: set[str]) -> dict[str, Any]:
    task, again = known.get(id_), id_ in seen
    seen.add(id_)
    return {
        "task_id": id_,
        "state": task.state if task else None,
        "title": task.headline if task else "",
        "needs": [] if again or not task else [_tree_shape(need, known, seen) for need in task.needs],
    }


@dep.command("cycles", examples=["tt dep cycles"], scope="town.read")
@pass_cli_context
def cycles(context: CliContext) -> None:
    """Look for dependency cycles. The town refuses to create one, so there should be none."""
    with context.open_town() as town:
        tasks = {task.id: task for task in town.run(town.operations.tasks(limit=_ALL))}
    cycle = find_cycle({id_: [need for need in task.needs if need in tasks] for id_, task in tasks.items()})
    context.emit({"cycle": cycle}, " -> ".join((*cycle, cycle[0])) if cycle else "no dependency cycles")
    if cycle:
        raise TinytownError(f"{len(cycle)} tasks wait for each other", hint="tt dep remove", code="cycle")
