"""``tt task import`` and ``tt task export``: tasks from a document and back, by the converters of plugins.

A document is read completely before anything is changed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from tinytown.errors import NotFound, PluginFaulty, Refused, TinytownError, UsageError
from tinytown.model.results import Assigned
from tinytown.model.tasks import TASK_STATES, TaskState
from tinytown.model.text import counted, shown
from tinytown.packages import install_hint
from tinytown.protocol import Operation

from tinytown_cli.bulk import add_all, in_order_of_needs
from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import AGENT, TAG
from tinytown_cli.text_files import read_file, replace_text_file, write_new_file

if TYPE_CHECKING:
    from tinytown_cli.contracts import Converter

_LIMIT_BYTES = 64 << 20
_MOST = 10_000
T = TypeVar("T")

_format = click.option(
    "--format", "name", required=True, metavar="FORMAT", help="A format of a plugin; see tt plugins."
)


@click.command(
    "import",
    cls=TownCommand,
    examples=["tt task import todo.jsonl --format my-tool --dry-run", "tt task import - --format beads < issues.jsonl"],
)
@click.argument("path", metavar="FILE")
@_format
@click.option(
    "--agent", default="", type=AGENT, metavar="AGENT", help="The agent to assign all tasks to.  [default: the backlog]"
)
@click.option("--strict", is_flag=True, help="Change nothing if any part of the file cannot be read.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
@pass_cli_context
def import_(context: CliContext, path: str, name: str, agent: str, strict: bool, dry_run: bool) -> None:
    """Add the tasks in FILE (- for standard input). Tasks that the town already has are left unchanged.

    Exits with 1 if a part of FILE cannot be imported; the rest is. A document without task ids gives new tasks each time.
    """
    from tinytown_cli.contracts import Converted  # late: the other commands of the group need no plugins

    document = _document(path)
    with context.open_town() as town:
        if agent:
            town.run(town.operations.agent(agent))  # one error for an unknown agent, not one for each task
        converter = _converter(town, name)
        converted = _ask(name, lambda: converter.read(document), Converted)
        problems = [*converted.problems]
        calls = [_call(town, task, agent, problems) for task in _in_order(converted.tasks, problems)]
        if problems and strict:
            raise Refused(
                f"{counted(len(problems), 'problem')} in {path}, nothing was imported: {shown(problems[0], 300)}",
                hint="fix the file, or leave out --strict",
            )
        adding = [call for call in calls if call]
        added, known = ([], 0) if dry_run else _add(context, town, adding, problems)
    count = sum(call is not None for call in calls) if dry_run else len(added)
    shape = {"format": name, "dry_run": dry_run, "created": count, "known": known, "tasks": added, "problems": problems}
    verb = "to import" if dry_run else "imported"
    lines = [
        f"{counted(count, 'task')} {verb}, {known} already known",
        *(f"problem: {problem}" for problem in problems),
    ]
    context.emit(shape, lines)
    if problems:
        click.get_current_context().exit(1)


@click.command(
    cls=TownCommand,
    examples=["tt task export done.jsonl --format my-tool --state completed", "tt task export - --format beads | less"],
)
@click.argument("path", metavar="FILE")
@_format
@click.option("--state", type=click.Choice(TASK_STATES), help="Only tasks in this state.")
@click.option("--agent", default="", type=AGENT, metavar="AGENT", help="Only tasks of this agent.")
@click.option("--tag", default="", type=TAG, help="Only tasks with this tag.")
@click.option("--update", is_flag=True, help="Write changes into an existing FILE; the rest of it stays byte for byte.")
@pass_cli_context
def export(
    context: CliContext, path: str, name: str, state: TaskState | None, agent: str, tag: str, update: bool
) -> None:
    """Write tasks to FILE (- for standard output), the oldest first. An existing FILE is not overwritten."""
    from tinytown_cli.contracts import RewritingConverter

    before = _document(path) if update else b""
    with context.open_town() as town:
        converter = _converter(town, name)
        if update and not isinstance(converter, RewritingConverter):
            raise UsageError(
                f"the format {name!r} cannot update a document", hint="leave out --update, and name a new file"
            )
        tasks = town.run(town.operations.tasks(state=state or "", agent=agent, tag=tag, limit=_MOST))[::-1]
        if len(tasks) == _MOST:
            context.warn(f"note: only the newest {_MOST:,} tasks are exported; select with --state or --tag")
        if update and isinstance(converter, RewritingConverter):
            document = _ask(name, lambda: converter.rewrite(before, tasks), bytes)
        else:
            document = _ask(name, lambda: converter.write(tasks), bytes)
    shape = {"format": name, "file": path, "tasks": len(tasks), "loses": [*converter.loses], "document": None}
    if path == "-":
        if context.json:
            context.emit({**shape, "document": document.decode("utf-8", "replace")}, ())
        else:
            sys.stdout.buffer.write(document)
        return
    if update:
        replace_text_file(Path(path), document, was=before, limit_bytes=_LIMIT_BYTES)
    else:
        write_new_file(Path(path), document)
    lost = f"; the format does not keep: {', '.join(converter.loses)}" if converter.loses else ""
    context.emit(shape, f"wrote {counted(len(tasks), 'task')} to {path}{lost}")


def _document(path: str) -> bytes:
    if path == "-":
        document = sys.stdin.buffer.read(_LIMIT_BYTES + 1)
        if len(document) > _LIMIT_BYTES:
            raise UsageError(f"expected at most {_LIMIT_BYTES:,} bytes on standard input, got more")
        return document
    content = read_file(Path(path), limit_bytes=_LIMIT_BYTES)
    if content is None:
        raise UsageError(f"no such file: {shown(path)}", hint="name an existing file, or - for standard input")
    return content


def _converter(town: TownClient, name: str) -> Converter:
    from tinytown_cli.plugin_commands import load_town_plugins

    converters: Mapping[str, Converter] = load_town_plugins(town.root, town.config, strict=False).contributed(
        "converters"
    )
    if name not in converters:
        known = ", ".join(sorted(converters))
        raise NotFound(
            f"no installed plugin has the format {shown(name)!r}",
            hint=install_hint("formats", name, f"available formats: {known or 'none'}"),
        )
    return converters[name]


def _ask(name: str, ask: Callable[[], object], kind: type[T]) -> T:
    """The answer of a plugin's converter. Raises: PluginFaulty unless it is a `kind`."""
    try:
        answer = ask()
    except Exception as error:
        raise PluginFaulty(f"the converter {name!r} failed: {shown(repr(error), 300)}", stage="converter") from error
    if not isinstance(answer, kind):
        raise PluginFaulty(f"expected {kind.__name__} from the converter {name!r}, got {type(answer).__name__}")
    return answer


def _call(town: TownClient, task: Mapping[str, Any], agent: str, problems: list[str]) -> Operation[Assigned] | None:
    """The operation that adds this task; None, and one more problem, if the task is not valid."""
    try:
        arguments: dict[str, Any] = {**task, "agent": agent or task.get("agent", "")}
        return town.operations.add_task(**arguments)
    except (UsageError, TypeError, KeyError, AttributeError) as error:
        problems.append(f"task {shown(str(task.get('task_id') or task.get('title') or '?'), 80)}: {error}")
        return None


def _in_order(tasks: Sequence[Mapping[str, Any]], problems: list[str]) -> Sequence[Mapping[str, Any]]:
    """The tasks, each behind those that it needs, wherever these are in the document."""
    try:
        return in_order_of_needs(tasks)
    except UsageError as error:
        problems.append(error.message)
    except (TypeError, AttributeError):  # needs that are no list, or a task that is no mapping: reported for that task
        pass
    return tasks


def _add(
    context: CliContext, town: TownClient, calls: Sequence[Operation[Assigned]], problems: list[str]
) -> tuple[list[str], int]:
    """Add the tasks: the ids of the new ones, and the number of known ones."""
    with context.progress("importing") as progress:
        results = add_all(town, calls, on_progress=lambda done: progress.update(done=done, total=len(calls)))
    errors = [result for result in results if isinstance(result, TinytownError)]
    problems += [str(error) for error in errors if error.code != "exists"]
    added = [result.task.id for result in results if not isinstance(result, TinytownError)]
    return added, sum(error.code == "exists" for error in errors)
