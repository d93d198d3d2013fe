"""``tt task why``: why a task is not running."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
from tinytown.model.text import shown
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import TASK
from tinytown_cli.serializers import task_shape

from tinytown_ops.explain.blockers import Blocker, task_blockers
from tinytown_ops.explain.situation import read_situation


@click.command("why", cls=TownCommand, examples=["tt task why 1f3a", "tt task why 1f3a --json"])
@click.argument("task_word", metavar="TASK", type=TASK)
@pass_cli_context
def why(context: CliContext, task_word: str) -> None:
    """Explain why TASK is not running, down to the root cause, and what to do about each reason."""
    with context.open_town() as town:
        task = town.run(town.operations.task(task_word))
        reasons = task_blockers(task, read_situation(town, [task]))
    head = f"task {task.id} ({shown(task.headline)}) is {task.state}"
    context.emit({"task": task_shape(task), "reasons": reasons}, [head, *_lines(reasons, "  ")])


def _lines(reasons: Sequence[Blocker], indent: str) -> Iterator[str]:
    for reason in reasons:
        yield indent + reason.text
        if reason.fix:
            yield f"{indent}  -> {reason.fix}"
        yield from _lines(reason.because, indent + "  ")
