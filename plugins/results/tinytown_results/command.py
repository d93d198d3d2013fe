"""``tt task result``: the checked result of a task, for scripts and for agents that depend on it."""

from __future__ import annotations

import click
import msgspec
from tinytown.errors import Refused
from tinytown_cli.public import TASK, CliContext, TownCommand, pass_cli_context

from tinytown_results.table import schema_of, value_of


@click.command("result", cls=TownCommand, examples=["tt task result 1f3a", "tt task result 1f3a | jq .files"])
@click.argument("task_word", metavar="TASK", type=TASK)
@pass_cli_context
def result(context: CliContext, task_word: str) -> None:
    """Print the result of a TASK that was given with a schema, as JSON: what was checked, and nothing around it."""
    with context.open_town() as town:
        task = town.run(town.operations.task(task_word))
    try:
        value = value_of(task)
    except LookupError:
        if schema_of(task) is None:
            raise Refused(f"task {task.id} has no schema: its result is text", hint=f"tt task show {task.id}") from None
        raise Refused(
            f"task {task.id} has no checked result: it is {task.state}", hint=f"tt task show {task.id}"
        ) from None
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    context.emit({"task_id": task.id, "state": task.state, "value": value}, text.splitlines())
