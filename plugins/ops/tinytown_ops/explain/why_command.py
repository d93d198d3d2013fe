"""``tt task why``: why a task is not running. Gathers what `obstacles` decides by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import click
from tinytown.client import TownClient
from tinytown.errors import TinytownError
from tinytown.model.messages import TaskAssign
from tinytown.model.results import Inbox
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import TASK
from tinytown_cli.serializers import task_shape
from tinytown_ops.costs import ledger
from tinytown_ops.explain.blockers import Obstacle, Order, Situation, why_task

_TASKS_READ = 300
_MAIL_READ = 2_000


@click.command("why", cls=TownCommand, examples=["tt task why 1f3a", "tt task why 1f3a --json"])
@click.argument("task_word", metavar="TASK", type=TASK)
@pass_cli_context
def why(context: CliContext, task_word: str) -> None:
    """Say why TASK is not running, down to the last reason, and what to do about each."""
    with context.open_town() as town:
        task = town.run(town.operations.task(task_word))
        reasons = why_task(task, gather(town, [task]))
    head = f"task {task.id} ({shown(task.headline)}) is {task.state}"
    context.emit({"task": task_shape(task), "reasons": reasons}, [head, *_lines(reasons, "  ")])


def _lines(reasons: Sequence[Obstacle], indent: str) -> Iterator[str]:
    for each in reasons:
        yield indent + each.text
        if each.fix:
            yield f"{indent}  -> {each.fix}"
        yield from _lines(each.because, indent + "  ")


def gather(town: TownClient, tasks: Sequence[Task]) -> Situation:
    """What there is to know about these tasks: their open needs, all agents and kernels, the orders of what is assigned."""
    seen, accounts = town.run_all([town.operations.status(), ledger.accounts(town.operations.keys)])
    known = {each.id: each for each in tasks}
    known |= _read(town, {each.current_task for each in seen.agents if each.current_task} - known.keys())
    wave = _open_needs(tasks, known)
    while wave and len(known) < _TASKS_READ:
        found = _read(town, wave)
        known |= found
        wave = _open_needs(found.values(), known)
    holders = sorted({each.agent_id for each in known.values() if each.state == "assigned" and each.agent_id})
    boxes = town.client.run_all([town.operations.peek(each, limit=_MAIL_READ) for each in holders])
    return Situation(
        now_ms=town.now_ms(),
        agents=seen.agents,
        hosts=seen.hosts,
        tasks=known,
        orders={task: order for box in boxes if isinstance(box, Inbox) for task, order in _orders(box)},
        accounts=accounts,
        auto_claim=town.config.auto_claim,
        frozen=seen.frozen,
    )


def _open_needs(tasks: Iterable[Task], known: dict[str, Task]) -> set[str]:
    return {need for each in tasks for need in each.open_needs} - known.keys()


def _read(town: TownClient, ids: Iterable[str]) -> dict[str, Task]:
    """Those of the tasks that are there."""
    answers = town.client.run_all([town.operations.task(each) for each in sorted(ids)[:_TASKS_READ]])
    return {each.id: each for each in answers if not isinstance(each, TinytownError)}


def _orders(box: Inbox) -> Iterator[tuple[str, Order]]:
    ahead = 0
    for lying in box.messages:
        if lying.message is not None and isinstance(lying.message.body, TaskAssign):
            yield lying.message.body.task_id, Order(lying.place, lying.until, ahead if lying.place == "queued" else 0)
        ahead += lying.place == "queued"
