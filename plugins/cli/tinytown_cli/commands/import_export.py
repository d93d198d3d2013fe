"""``tt task import`` and ``tt task export``: tasks out of a document and back, by the converters of plugins.

What a format keeps and loses is the converter's to say; what becomes of a task is the town's. A document is read whole
before anything is changed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from tinytown.client import TownClient
from tinytown.errors import NotFound, PluginFaulty, Refused, TinytownError, UsageError
from tinytown.files import read_file, replace_text_file, write_new_file
from tinytown.model.results import Assigned
from tinytown.model.tasks import TASK_STATES, TaskState
from tinytown.model.text import counted, shown
from tinytown.packages import install_hint
from tinytown.protocol import Operation
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import AGENT, TAG

if TYPE_CHECKING:
    from tinytown.contracts import Converter

_LIMIT_BYTES = 64 << 20
_MOST = 10_000
T = TypeVar("T")

_format = click.option(
    "--format", "name", required=True, metavar="FORMAT", help="One that a plugin has; see tt plugins."
)


@click.command(
    "import",
    cls=TownCommand,
    examples=["tt task import todo.jsonl --format my-tool --dry-run", "tt task import - --format beads < issues.jsonl"],
)
@click.argument("path", metavar="FILE")
@_format
@click.option("--agent", default="", type=AGENT, metavar="AGENT", help="Whom all of it is for.  [default: the backlog]")
@click.option("--strict", is_flag=True, help="Do nothing at all when something in the file cannot be read.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@pass_cli_context
def import_(context: CliContext, path: str, name: str, agent: str, strict: bool, dry_run: bool) -> None:
    """Make the tasks that stand in FILE (- for standard input). Those that the town has already stay as they are.

    Ends with 1 if anything in FILE could not become a task, after the rest has. A document without ids of tasks gives new
    ones each time it is read.
    """
    from tinytown.contracts import Converted  # late, as below: the other commands of the group do without plugins

    document = _document(path)
    with context.open_town() as town:
        if agent:
            town.run(town.operations.agent(agent))  # says once, and not of each task, that there is no such agent
        converter = _converter(town, name)
        converted = _asked(name, lambda: converter.read(document), Converted)
        problems = [*converted.problems]
        calls = [_call(town, task, agent, problems) for task in converted.tasks]
        if problems and strict:
            raise Refused(
                f"{counted(len(problems), 'problem')} in {path}, and nothing is done: {shown(problems[0], 300)}",
                hint="mend the file, or leave out --strict",
            )
        made, known = ([], 0) if dry_run else _make(town, [call for call in calls if call], problems)
    count = sum(call is not None for call in calls) if dry_run else len(made)
    shape = {"format": name, "dry_run": dry_run, "created": count, "known": known, "tasks": made, "problems": problems}
    would = "would be made" if dry_run else "made"
    lines = [f"{counted(count, 'task')} {would}, {known} known already", *(f"problem: {each}" for each in problems)]
    context.emit(shape, lines)
    if problems:
        click.get_current_context().exit(1)


@click.command(
    cls=TownCommand,
    examples=["tt task export done.jsonl --format my-tool --state completed", "tt task export - --format beads | less"],
)
@click.argument("path", metavar="FILE")
@_format
@click.option("--state", type=click.Choice(TASK_STATES), help="Only those in this state.")
@click.option("--agent", default="", type=AGENT, metavar="AGENT", help="Only those of this agent.")
@click.option("--tag", default="", type=TAG, help="Only those with this tag.")
@click.option("--update", is_flag=True, help="Put what has changed into FILE; the rest of it stays byte for byte.")
@pass_cli_context
def export(
    context: CliContext, path: str, name: str, state: TaskState | None, agent: str, tag: str, update: bool
) -> None:
    """Write tasks into FILE (- for standard output), the oldest first. A FILE that is there is not overwritten."""
    from tinytown.contracts import RewritingConverter

    before = _document(path) if update else b""
    with context.open_town() as town:
        converter = _converter(town, name)
        if update and not isinstance(converter, RewritingConverter):
            raise UsageError(f"the format {name!r} cannot update a document", hint="write a new one, without --update")
        found = town.run(town.operations.tasks(state=state or "", agent=agent, tag=tag, limit=_MOST))[::-1]
        if len(found) == _MOST:
            context.warn(f"note: there may be more than these {_MOST:,}, the newest; choose with --state or --tag")
        if update and isinstance(converter, RewritingConverter):
            document = _asked(name, lambda: converter.rewrite(before, found), bytes)
        else:
            document = _asked(name, lambda: converter.write(found), bytes)
    shape = {"format": name, "file": path, "tasks": len(found), "loses": [*converter.loses], "document": None}
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
    lost = f"; the format does not hold: {', '.join(converter.loses)}" if converter.loses else ""
    context.emit(shape, f"{counted(len(found), 'task')} written into {path}{lost}")


def _document(path: str) -> bytes:
    if path == "-":
        document = sys.stdin.buffer.read(_LIMIT_BYTES + 1)
        if len(document) > _LIMIT_BYTES:
            raise UsageError(f"standard input is longer than {_LIMIT_BYTES:,} bytes")
        return document
    found = read_file(Path(path), limit_bytes=_LIMIT_BYTES)
    if found is None:
        raise UsageError(f"there is no file {shown(path)}", hint="name one, or - for standard input")
    return found


def _converter(town: TownClient, name: str) -> Converter:
    from tinytown_cli.plugin_commands import load_town_plugins

    converters = load_town_plugins(town.root, town.config, strict=False).converters
    if name not in converters:
        known = ", ".join(sorted(converters))
        raise NotFound(
            f"no plugin has the format {shown(name)!r}",
            hint=f"there are: {known}"
            if known
            else install_hint("formats", name, "tt plugins lists what is installed"),
        )
    return converters[name]


def _asked(name: str, ask: Callable[[], object], kind: type[T]) -> T:
    """What a stranger's converter answers. Raises: PluginFaulty for anything but a `kind`."""
    try:
        answer = ask()
    except Exception as error:
        raise PluginFaulty(f"the converter {name!r} failed: {shown(repr(error), 300)}", stage="converter") from error
    if not isinstance(answer, kind):
        raise PluginFaulty(f"expected {kind.__name__} from the converter {name!r}, got {type(answer).__name__}")
    return answer


def _call(town: TownClient, task: Mapping[str, Any], agent: str, problems: list[str]) -> Operation[Assigned] | None:
    """What makes this task; None, and a problem more, for one that no town would take."""
    try:
        arguments: dict[str, Any] = {**task, "agent": agent or task.get("agent", "")}
        return town.operations.add_task(**arguments)
    except (UsageError, TypeError, KeyError, AttributeError) as error:
        problems.append(f"task {shown(str(task.get('task_id') or task.get('title') or '?'), 80)}: {error}")
        return None


def _make(town: TownClient, calls: Sequence[Operation[Assigned]], problems: list[str]) -> tuple[list[str], int]:
    """Make tasks one after the other, since one may need those before it: the ids of the new, how many were there."""
    made: list[str] = []
    known = 0
    for call in calls:
        try:
            made.append(town.run(call).task.id)
        except TinytownError as error:
            if not isinstance(error, Refused | NotFound | UsageError):
                raise
            if error.code == "exists":
                known += 1
            else:
                problems.append(str(error))
    return made, known
