"""``tt beads``: bringing beads in, writing them out, keeping both in step. The work is done in `syncing`."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tinytown.errors import UsageError
from tinytown_cli.context import output
from tinytown_cli.public import CliContext, TownClient, TownGroup, pass_cli_context, table

from tinytown_beads.settings import read_settings

if TYPE_CHECKING:
    from tinytown_beads.bead import Bead
    from tinytown_beads.merge import Side
    from tinytown_beads.report import Report
    from tinytown_beads.store import BeadStore

_PATH = click.Path(path_type=Path)
_strict = click.option("--strict", is_flag=True, help="Change nothing if any line of the file is invalid.")
_dry_run = click.option("-n", "--dry-run", is_flag=True, help="Show what would be done, and change nothing.")


@click.group(
    cls=TownGroup,
    examples=["tt beads import ../shop --dry-run", "tt beads export beads.jsonl", "tt beads sync --watch"],
)
def beads() -> None:
    """Import, export and sync beads."""
    # Whole towns are read, hundreds of thousands of values and no garbage among them: looking for it took a fifth of the time.
    gc.disable()


@beads.command(
    "import",
    examples=[
        "tt beads import .beads/issues.jsonl --dry-run",
        "tt beads import ../shop --into backlog",
        "tt beads import issues.jsonl --into agent=rita --strict --json",
    ],
)
@click.argument("path", type=_PATH, metavar="FILE|DIR")
@click.option(
    "--into",
    metavar="agent=NAME|backlog",
    help="Assign all to this agent or to the backlog.  [default: the assignee, if it exists]",
)
@_strict
@_dry_run
@pass_cli_context
def import_(context: CliContext, path: Path, into: str | None, strict: bool, dry_run: bool) -> None:
    """Import the beads of FILE, or of the directory DIR, as tasks. The file is not changed.

    The whole file is read before anything changes. A second run imports what is new: changes of the file go into the
    tasks, changes of the town stay, and conflicts are reported and left alone. Exits with 1 if a line is invalid, the town
    refuses a bead, or there is a conflict; the rest is imported.
    """
    from tinytown_beads.files import find_bead_file
    from tinytown_beads.syncing import import_file

    with context.open_town() as town:
        town.caller.refuse_agents("cannot import beads", "send the supervisor a message")
        agent = _recipient(town, into)
        with context.progress("importing"):
            report = import_file(_store(town), find_bead_file(path), into=agent, strict=strict, dry_run=dry_run)
    _answer(context, report)


@beads.command("export", examples=["tt beads export", "tt beads export beads.jsonl", "tt beads export - | head"])
@click.argument("path", type=_PATH, metavar="[FILE]", required=False)
@click.option("--force", is_flag=True, help="Overwrite a file that the town has neither read nor written.")
@_dry_run
@pass_cli_context
def export(context: CliContext, path: Path | None, force: bool, dry_run: bool) -> None:
    """Write the town as beads to FILE, or with - to standard output: imported beads with their changes, and all other tasks.

    The default is the file of the setting `file`. A file that another program has written or changed is not overwritten.
    """
    from tinytown_beads.exporting import export_file, export_town

    with context.open_town() as town:
        store = _store(town)
        if str(path) == "-":
            output().buffer.write(export_town(store).document)
            output().flush()
            return
        if path is None and not dry_run:
            _default_file(store).parent.mkdir(parents=True, exist_ok=True)
        with context.progress("exporting"):
            report = export_file(store, path or _default_file(store), force=force, dry_run=dry_run)
    _answer(context, report)


@beads.command(
    "sync",
    examples=["tt beads sync", "tt beads sync --dry-run", "tt beads sync --prefer file", "tt beads sync --watch"],
)
@click.argument("path", type=_PATH, metavar="[FILE]", required=False)
@click.option("--prefer", type=click.Choice(["file", "town"]), help="Which side wins a conflict.")
@click.option("--watch", is_flag=True, help="Keep running, and sync after every change.")
@_strict
@_dry_run
@pass_cli_context
def sync(context: CliContext, path: Path | None, prefer: Side | None, watch: bool, strict: bool, dry_run: bool) -> None:
    """Sync a bead file and the town, in both directions, field by field.

    A change of one side since the last sync goes to the other. A field changed on both sides is reported and left alone on
    both, unless --prefer names a winner. Nothing is deleted because it is missing on the other side. Exits with 1 if there is a
    conflict, a line is invalid, or the town or bd refuses a bead; the rest is synced.
    """
    from tinytown_beads.syncing import sync_file
    from tinytown_beads.watch import watch_sync

    if watch and dry_run:
        raise UsageError("--watch and --dry-run exclude each other")
    with context.open_town() as town:
        town.caller.refuse_agents("cannot sync beads", "send the supervisor a message")
        store = _store(town)
        file = path or _default_file(store)
        if not watch:
            with context.progress("syncing"):
                report = sync_file(store, file, strict=strict, dry_run=dry_run, prefer=prefer)
            _answer(context, report)
            return
        gc.enable()  # this continues for ever
        reports = watch_sync(
            store,
            file,
            lambda: sync_file(store, file, strict=strict, prefer=prefer),
            lambda error: context.warn(f"{error.message}; the sync is repeated"),
        )
        for report in reports:
            context.emit(report.shape, report.lines())


@beads.command(
    "ready", examples=["tt beads ready", "tt beads ready .beads/issues.jsonl --explain", "tt beads ready --json"]
)
@click.argument("path", type=_PATH, metavar="[FILE|DIR]", required=False)
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="TYPE",
    help="Only beads of this type, even one that is excluded by default.",
)
@click.option("--include-deferred", "deferred", is_flag=True, help="Include deferred beads.")
@click.option("--include-ephemeral", "ephemeral", is_flag=True, help="Include ephemeral beads.")
@click.option("--explain", is_flag=True, help="Also show the open beads that are not ready, with the reason.")
@pass_cli_context
def ready(
    context: CliContext, path: Path | None, types: tuple[str, ...], deferred: bool, ephemeral: bool, explain: bool
) -> None:
    """Show the beads that are ready, as bd ready does: of a file, or of the whole town."""
    from datetime import UTC, datetime

    from tinytown_beads.exporting import export_town
    from tinytown_beads.files import find_bead_file, read_file
    from tinytown_beads.lines import beads_of, read_lines
    from tinytown_beads.ready import blockers, sorted_beads

    if path is None:
        with context.open_town() as town:
            lines = export_town(_store(town)).lines
    else:
        file = find_bead_file(path)
        content = read_file(file)
        if content is None:
            raise UsageError(f"no bead file at {file}", hint="omit the path for the town's own beads")
        lines = read_lines(content)
    beads_by_id = beads_of(lines)
    reasons = blockers(beads_by_id, datetime.now(UTC), types=types, deferred=deferred, ephemeral=ephemeral)
    ordered = sorted_beads(beads_by_id.values())
    rows = [bead for bead in ordered if bead.id not in reasons]
    waiting = [bead for bead in ordered if bead.id in reasons and not bead.closed] if explain else []
    answer = {
        "ready": [_ready_shape(row) for row in rows],
        "waiting": [{"id": bead.id, "title": bead.title, "reason": reasons[bead.id]} for bead in waiting],
    }
    cells = [(row.id, f"P{row.priority}", row.issue_type, row.title) for row in rows]
    lines_shown = table(("bead", "priority", "type", "title"), cells) if cells else ["no beads are ready"]
    context.emit(answer, [*lines_shown, *(f"{bead.id}: {reasons[bead.id]}" for bead in waiting)])


def _ready_shape(bead: Bead) -> dict[str, object]:
    assignee = bead.text("assignee") or None
    return {
        "id": bead.id,
        "title": bead.title,
        "priority": bead.priority,
        "type": bead.issue_type,
        "assignee": assignee,
    }


def _recipient(town: TownClient, into: str | None) -> str | None:
    """The agent that `--into` names, '' for the backlog, None if it was not given. Raises: UsageError; NotFound."""
    if into is None or into == "backlog":
        return None if into is None else ""
    word, _, name = into.partition("=")
    if word != "agent" or not name:
        raise UsageError(f"expected --into agent=NAME or --into backlog, got {into[:80]!r}")
    return town.run(town.operations.agent(name)).name


def _store(town: TownClient) -> BeadStore:
    from tinytown_beads.store import open_store

    return open_store(town, read_settings(town.config))


def _default_file(store: BeadStore) -> Path:
    return store.town.root / store.settings.file


def _answer(context: CliContext, report: Report) -> None:
    """Print a report; the exit code is 1 if something was left out."""
    context.emit(report.shape, report.lines())
    if not report.is_complete:
        click.get_current_context().exit(1)
