"""What the lists of tasks print, and that they say when there is more."""

from __future__ import annotations

from collections.abc import Sequence

from tinytown.model.tasks import Task

from tinytown_cli.context import CliContext
from tinytown_cli.formatting import task_table
from tinytown_cli.serializers import task_shape


def emit_task_list(context: CliContext, found: Sequence[Task], limit: int, none: str) -> None:
    """Print at most `limit` of the tasks `found`, one more of which was asked for; `none` if there is none."""
    tasks = found[:limit]
    lines = task_table(tasks) if tasks else [none]
    if len(found) > limit:
        lines.append(f"only the first {limit}; more with --limit")
    context.emit({"tasks": [task_shape(task) for task in tasks], "more": len(found) > limit}, lines)
