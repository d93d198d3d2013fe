"""``tt plan``: the plan in ``tasks.toml``, shown in the order in which it can be done. Needs no town and no server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
from tinytown.errors import NotFound
from tinytown.model.graph import stages
from tinytown.model.text import shown
from tinytown_cli.atomic_files import read_text_file, write_new_file
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand

from tinytown_plans.reading import Plan, read_plan
from tinytown_plans.template import PLAN_FILE, TEMPLATE

file_option = click.option("-f", "--file", metavar="FILE", help=f"The plan.  [default: {PLAN_FILE} at the town's root]")


@click.command(cls=TownCommand, examples=["tt plan", "tt plan --init", "tt plan --file docs/release.toml --json"])
@click.option("-i", "--init", "begin", is_flag=True, help="Write an example to begin with. Overwrites nothing.")
@file_option
@pass_cli_context
def plan(context: CliContext, begin: bool, file: str | None) -> None:
    """Show the plan: its tasks in waves, each of which needs only earlier ones. Sends nothing; that is tt sync."""
    path = plan_path(context, file)
    if begin:
        write_new_file(path, TEMPLATE)
        context.warn(f"wrote {path}: change it, then tt sync push")
    found, _ = load_plan(path)
    order = stages(found.needs)
    shape = {
        "file": str(path),
        "description": found.meta.description,
        "default_agent": found.meta.default_agent or None,
        "waves": order,
        "tasks": [entry_shape(found, number) for number in range(len(found.tasks))],
    }
    context.emit(shape, _lines(found, order))


def plan_path(context: CliContext, file: str | None) -> Path:
    """Where the plan is: `file` from the current directory, else at the town's root. Raises: NotFound."""
    return Path(file) if file else context.town_root() / PLAN_FILE


def load_plan(path: Path) -> tuple[Plan, str]:
    """The plan in a file, and the file's text. Raises: NotFound; ConfigError; UsageError with code ``bad_plan``."""
    text = read_text_file(path)
    if text is None:
        raise NotFound(f"there is no plan at {shown(str(path), 300)}", hint="tt plan --init writes one to begin with")
    return read_plan(text, shown(str(path), 300)), text


def entry_shape(found: Plan, number: int) -> dict[str, Any]:
    """A task of the plan; ``agent`` is whom it is for after all, null for the backlog."""
    task = found.tasks[number]
    return {**msgspec.to_builtins(task), "agent": found.agent_of(task) or None}


def _lines(found: Plan, order: tuple[tuple[str, ...], ...]) -> list[str]:
    tasks = {task.id: task for task in found.tasks}
    rows = [
        (
            str(number),
            task.id,
            task.status,
            task.priority,
            found.agent_of(task) or "-",
            ",".join(task.needs) or "-",
            task.title or task.description.strip().partition("\n")[0],
        )
        for number, wave in enumerate(order, 1)
        for task in (tasks[id_] for id_ in wave)
    ]
    about = [found.meta.description.strip(), ""] if found.meta.description.strip() else []
    if not rows:
        return [*about, "the plan has no tasks"]
    return about + table(("wave", "task", "status", "priority", "agent", "needs", "title"), rows)
