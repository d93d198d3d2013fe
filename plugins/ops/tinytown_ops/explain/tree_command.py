"""``tt task tree``: tasks with what they are made of and what they wait for, drawn as a tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import click
import msgspec
from tinytown.client import TownClient
from tinytown.errors import TinytownError
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import TASK

_TASKS_READ = 2_000
_DEPTH = 40


class Branch(msgspec.Struct, frozen=True, kw_only=True):
    """One task in the tree. `relation`: it is a part of the one above, or that one needs it. What is `repeated` stands
    elsewhere in full; what is deeper than anybody reads is left out, and `cut` says so. A need that is gone has no state."""

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
@click.option("--all", "with_finished", is_flag=True, help="With trees in which everything is finished.")
@pass_cli_context
def tree(context: CliContext, task_word: str | None, with_finished: bool) -> None:
    """Show TASK, or all tasks, with their parts and what they need below them; what is under several stands in full once."""
    with context.open_town() as town:
        chosen = [town.run(town.operations.task(task_word))] if task_word else []
        known = _read(town, chosen)
    roots = chosen or _roots(known)
    branches = grow(roots, known)
    if not chosen and not with_finished:
        branches = [each for each in branches if _has_open(each)]
    lines = [line for each in branches for line in _draw(each)] or ["no open tasks: --all shows the finished"]
    context.emit({"tree": [_shape(each) for each in branches]}, lines)


def _read(town: TownClient, chosen: Sequence[Task]) -> dict[str, Task]:
    """The newest tasks, and older ones that they need."""
    newest = town.run(town.operations.tasks(limit=_TASKS_READ))
    known = {each.id: each for each in (*newest, *chosen)}
    wave: Iterable[Task] = list(known.values())
    while len(known) < 2 * _TASKS_READ:
        lacking = sorted({need for each in wave for need in each.needs} - known.keys())
        answers = town.client.run_all([town.operations.task(each) for each in lacking[:_TASKS_READ]])
        wave = [each for each in answers if not isinstance(each, TinytownError)]
        if not wave:
            break
        known |= {each.id: each for each in wave}
    return known


def _roots(known: dict[str, Task]) -> list[Task]:
    """Tasks that are under no other, the oldest first. Of parents in a circle, which nobody is under, one is taken."""
    below = {need for each in known.values() for need in each.needs}
    below |= {each.id for each in known.values() if each.parent in known}
    oldest_first = sorted(known.values(), key=lambda each: each.created_at or "")
    roots = [each for each in oldest_first if each.id not in below]
    reached = _reach(roots, known)
    for each in oldest_first:
        if each.id not in reached:
            roots.append(each)
            reached |= _reach([each], known)
    return roots


def _reach(roots: Sequence[Task], known: dict[str, Task]) -> set[str]:
    parts = _parts(known)
    reached: set[str] = set()
    waiting = [each.id for each in roots]
    while waiting:
        if (task_id := waiting.pop()) not in reached and task_id in known:
            reached.add(task_id)
            waiting += [*parts.get(task_id, ()), *known[task_id].needs]
    return reached


def _parts(known: dict[str, Task]) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for each in sorted(known.values(), key=lambda each: each.created_at or ""):
        if each.parent:
            parts.setdefault(each.parent, []).append(each.id)
    return parts


def grow(roots: Sequence[Task], known: dict[str, Task]) -> list[Branch]:
    """The trees below the roots. Each task has what is below it drawn once, so that even circles come to an end."""
    parts, drawn = _parts(known), set[str]()

    def branch(task_id: str, relation: Literal["root", "part", "need"], depth: int) -> Branch:
        task = known.get(task_id)
        if task is None:
            return Branch(id=task_id, relation=relation)
        needs = [each for each in task.needs if each not in parts.get(task_id, ())]
        lower = [(each, "part") for each in parts.get(task_id, ())] + [(each, "need") for each in needs]
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
            below=() if repeated or cut else tuple(branch(each, kind, depth + 1) for each, kind in lower),  # type: ignore[arg-type]
        )

    return [branch(each.id, "root", 1) for each in roots]


def _has_open(branch: Branch) -> bool:
    return branch.state not in ("completed", "failed", "cancelled", "") or any(map(_has_open, branch.below))


def _draw(branch: Branch, first: str = "", rest: str = "") -> Iterator[str]:
    needed = "needs " if branch.relation == "need" else ""
    who = f", {branch.agent}" if branch.agent else ""
    note = "  (see above)" if branch.repeated else "  (and more below it)" if branch.cut else ""
    if branch.state:
        yield f"{first}{needed}{branch.id[:8]}  [{branch.state}{who}]  {shown(branch.title)}{note}"
    else:
        yield f"{first}{needed}{branch.id}  [not in the town]"
    for number, each in enumerate(branch.below):
        is_last = number == len(branch.below) - 1
        yield from _draw(each, rest + ("└─ " if is_last else "├─ "), rest + ("   " if is_last else "│  "))


def _shape(branch: Branch) -> dict[str, Any]:
    shape: dict[str, Any] = msgspec.to_builtins(branch)
    return shape
