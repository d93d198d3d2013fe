"""``tt task tree``: tasks with their parts and dependencies, drawn as a tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import click
import msgspec
from tinytown.errors import TinytownError
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import brief_id
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import TASK

_TASKS_LIMIT = 2_000
_DEPTH = 40


class Branch(msgspec.Struct, frozen=True, kw_only=True):
    """One task in the tree. `relation`: it is a part of the one above, or that one needs it. A `repeated` task is drawn in full
    elsewhere; below a `cut` one the tree is too deep to draw. A needed task that does not exist has no state."""

    id: str
    title: str = ""
    state: str = ""
    agent: str | None = None
    relation: Literal["root", "part", "need"] = "root"
    repeated: bool = False
    cut: bool = False
    below: tuple[Branch, ...] = ()


@click.command("tree", cls=TownCommand, examples=["tt task tree", "tt task tree 1f3a", "tt task tree --all"])
@click.argument("task_word", metavar="[TASK]", required=False, type=TASK)
@click.option("--all", "with_finished", is_flag=True, help="Include trees whose tasks are all finished.")
@pass_cli_context
def tree(context: CliContext, task_word: str | None, with_finished: bool) -> None:
    """Show TASK, or all tasks, with their parts and dependencies below them. A task below several is drawn in full once."""
    with context.open_town() as town:
        chosen = [town.run(town.operations.task(task_word))] if task_word else []
        known = _read(town, chosen)
    roots = chosen or _roots(known)
    branches = grow(roots, known)
    if not chosen and not with_finished:
        branches = [branch for branch in branches if _has_open(branch)]
    lines = [line for branch in branches for line in _draw(branch)] or ["no open tasks; --all shows finished ones"]
    context.emit({"tree": branches}, lines)


def _read(town: TownClient, chosen: Sequence[Task]) -> dict[str, Task]:
    """The newest tasks, and older ones that they need."""
    newest = town.run(town.operations.tasks(limit=_TASKS_LIMIT))
    known = {task.id: task for task in (*newest, *chosen)}
    added: Iterable[Task] = list(known.values())
    while len(known) < 2 * _TASKS_LIMIT:
        missing = sorted({need for task in added for need in task.needs} - known.keys())
        answers = town.client.run_all([town.operations.task(need) for need in missing[:_TASKS_LIMIT]])
        added = [task for task in answers if not isinstance(task, TinytownError)]
        if not added:
            break
        known |= {task.id: task for task in added}
    return known


def _roots(known: dict[str, Task]) -> list[Task]:
    """Tasks below no other, the oldest first. Of a cycle of parents, which is below no other task, one is a root."""
    below = {need for task in known.values() for need in task.needs}
    below |= {task.id for task in known.values() if task.parent in known}
    oldest_first = sorted(known.values(), key=lambda task: task.created_at or "")
    roots = [task for task in oldest_first if task.id not in below]
    reached = _reach(roots, known)
    for task in oldest_first:
        if task.id not in reached:
            roots.append(task)
            reached |= _reach([task], known)
    return roots


def _reach(roots: Sequence[Task], known: dict[str, Task]) -> set[str]:
    parts = _parts(known)
    reached: set[str] = set()
    waiting = [task.id for task in roots]
    while waiting:
        if (task_id := waiting.pop()) not in reached and task_id in known:
            reached.add(task_id)
            waiting += [*parts.get(task_id, ()), *known[task_id].needs]
    return reached


def _parts(known: dict[str, Task]) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for task in sorted(known.values(), key=lambda task: task.created_at or ""):
        if task.parent:
            parts.setdefault(task.parent, []).append(task.id)
    return parts


def grow(roots: Sequence[Task], known: dict[str, Task]) -> list[Branch]:
    """The trees below the roots. What is below a task is drawn once, so that a cycle ends."""
    parts, drawn = _parts(known), set[str]()

    def branch(task_id: str, relation: Literal["root", "part", "need"], depth: int) -> Branch:
        task = known.get(task_id)
        if task is None:
            return Branch(id=task_id, relation=relation)
        needs = [need for need in task.needs if need not in parts.get(task_id, ())]
        lower = [(part, "part") for part in parts.get(task_id, ())] + [(need, "need") for need in needs]
        repeated = task_id in drawn and bool(lower)
        cut = not repeated and depth >= _DEPTH and bool(lower)
        drawn.add(task_id)
        return Branch(
            id=task_id,
            title=task.headline,
            state=task.state,
            agent=task.assigned_to,
            relation=relation,
            repeated=repeated,
            cut=cut,
            below=() if repeated or cut else tuple(branch(below, kind, depth + 1) for below, kind in lower),  # type: ignore[arg-type]
        )

    return [branch(task.id, "root", 1) for task in roots]


def _has_open(branch: Branch) -> bool:
    return branch.state not in ("completed", "failed", "cancelled", "") or any(map(_has_open, branch.below))


def _draw(branch: Branch, first: str = "", rest: str = "") -> Iterator[str]:
    needed = "needs " if branch.relation == "need" else ""
    who = f", {branch.agent}" if branch.agent else ""
    note = "  (see above)" if branch.repeated else "  (more below)" if branch.cut else ""
    if branch.state:
        yield f"{first}{needed}{brief_id(branch.id)}  [{branch.state}{who}]  {shown(branch.title)}{note}"
    else:
        yield f"{first}{needed}{branch.id}  [does not exist]"
    for number, below in enumerate(branch.below):
        is_last = number == len(branch.below) - 1
        yield from _draw(below, rest + ("└─ " if is_last else "├─ "), rest + ("   " if is_last else "│  "))
