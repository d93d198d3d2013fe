"""``tt plan``: the plan in ``tasks.toml`` in the order in which it can be done. Needs no town and no server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
from tinytown.errors import NotFound
from tinytown.model.text import shown
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_cli.graph import stages
from tinytown_cli.text_files import read_text_file, write_new_file

from tinytown_plans.plan_file import Plan, read_plan
from tinytown_plans.template import PLAN_FILE, TEMPLATE

file_option = click.option("-f", "--file", metavar="FILE", help=f"The plan.  [default: {PLAN_FILE} at the town's root]")


@click.command(
    cls=TownCommand,
    examples=["tt plan", "tt plan --init", "tt plan --file docs/release.toml --json"],
    scope="town.read",
    local_options=["init", "file"],
)
@click.option("-i", "--init", "init", is_flag=True, help="Write an example plan. Overwrites nothing.")
@file_option
@pass_cli_context
def plan(context: CliContext, init: bool, file: str | None) -> None:
    """Show the plan: its tasks in stages, each of which needs only earlier ones. To send it, run tt sync."""
    path = plan_path(context, file)
    if init:
        write_new_file(path, TEMPLATE)
        context.warn(f"wrote {path}; edit it, then run tt sync push")
    loaded, _ = load_plan(path)
    order = stages(loaded.needs)
    shape = {
        "file": str(path),
        "description": loaded.meta.description,
        "default_agent": loaded.meta.default_agent or None,
        "stages": order,
        "waves": order,  # the old name, for one release
        "tasks": [entry_shape(loaded, number) for number in range(len(loaded.tasks))],
    }
    context.emit(shape, _lines(loaded, order))


def plan_path(context: CliContext, file: str | None) -> Path:
    """The path of the plan: `file` from the current directory, else at the town's root. Raises: NotFound."""
    return Path(file) if file else context.town_root() / PLAN_FILE


def load_plan(path: Path) -> tuple[Plan, str]:
    """The plan in a file, and the file's text. Raises: NotFound; ConfigError; UsageError with code ``bad_plan``."""
    text = read_text_file(path)
    if text is None:
        raise NotFound(f"no plan at {shown(str(path), 300)}", hint="tt plan --init writes an example")
    return read_plan(text, shown(str(path), 300)), text


def entry_shape(loaded: Plan, number: int) -> dict[str, Any]:
    """A task of the plan; ``agent`` is its agent with the default applied, null for the backlog."""
    task = loaded.tasks[number]
    return {**msgspec.to_builtins(task), "agent": loaded.agent_of(task) or None}


def _lines(loaded: Plan, order: tuple[tuple[str, ...], ...]) -> list[str]:
    tasks = {task.id: task for task in loaded.tasks}
    rows = [
        (
            str(number),
            task.id,
            task.status,
            task.priority,
            loaded.agent_of(task) or "-",
            ",".join(task.needs) or "-",
            task.title or task.description.strip().partition("\n")[0],
        )
        for number, stage in enumerate(order, 1)
        for task in (tasks[id_] for id_ in stage)
    ]
    heading = [loaded.meta.description.strip(), ""] if loaded.meta.description.strip() else []
    if not rows:
        return [*heading, "the plan has no tasks"]
    return heading + table(("stage", "task", "status", "priority", "agent", "needs", "title"), rows)
