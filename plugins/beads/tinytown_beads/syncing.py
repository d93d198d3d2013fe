"""`import_file`, one way, and `sync_file`, both ways, between a bead file and the town, each with a report.

Everything is read and decided before anything is written; the town changes first, then the file, then the baseline. After a
kill in between, both sides differ from the baseline in the same way, which is not a conflict.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.model.tasks import Task
from tinytown_cli.text_files import locked

from tinytown_beads.apply import Applied, apply, read_town
from tinytown_beads.baseline import baseline_path, read_baseline
from tinytown_beads.bd_cli import find_bd
from tinytown_beads.convoys import convoy_groups, create_groups
from tinytown_beads.database_sync import DatabaseSync
from tinytown_beads.extra_fields import record_of
from tinytown_beads.files import LOCK_TIMEOUT_S, read_file, replace_file
from tinytown_beads.lines import Line, beads_of, extend, join, problems_of, read_lines, with_changes
from tinytown_beads.mapping import map_beads
from tinytown_beads.merge import Base, Side, next_base
from tinytown_beads.origins import BeadIds, is_from_file, made_here, recorded_bases, recorded_lines
from tinytown_beads.patch_record import changes_to
from tinytown_beads.reconcile import Reconciliation, TownState, Update
from tinytown_beads.report import Report
from tinytown_beads.store import BeadStore, save_baseline
from tinytown_beads.view import SETS, changed_fields, view_of_task
from tinytown_beads.writing import Written, append, write_lines

_TRIES = 3
_DATABASE_CHANGED = "database_changed"
#: Refusals after which a sync is repeated: one side changed while it ran.
_AGAIN = frozenset({"changed", _DATABASE_CHANGED})


def import_file(
    store: BeadStore, file: Path, *, into: str | None = None, strict: bool = False, dry_run: bool = False
) -> Report:
    """Import the beads of a file. The file is not changed.

    Raises: NotFound; UsageError with code ``bad_beads`` if `strict` and a line is invalid; errors of the server.
    """
    with locked(store.directory / "lock", timeout_s=LOCK_TIMEOUT_S):
        content = read_file(file)
        if content is None:
            raise NotFound(f"no bead file at {file}", hint="bd export -o .beads/issues.jsonl writes one")
        session = _Session(store, file, content, into=into, strict=strict)
        report = session.report("import", dry_run=dry_run)
        if not dry_run:
            applied = apply(store.town, session.reconciliation)
            create_groups(store.town, convoy_groups(session.reconciliation))
            session.remember(session.lines, applied, file_written=False)
            session.record_results(report, applied)
        return report


def sync_file(
    store: BeadStore, file: Path, *, strict: bool = False, dry_run: bool = False, prefer: Side | None = None
) -> Report:
    """Sync a file, with the database of `bd` beside it, and the town.

    Raises: as `import_file`; Refused if the file keeps changing or cannot be written.
    """
    with locked(store.directory / "lock", timeout_s=LOCK_TIMEOUT_S):
        for attempt in range(_TRIES):
            try:
                return _sync_once(store, file, strict=strict, dry_run=dry_run, prefer=prefer)
            except Refused as error:
                if error.code not in _AGAIN or attempt == _TRIES - 1:
                    raise
        raise AssertionError("it returns or raises")


def _sync_once(store: BeadStore, file: Path, *, strict: bool, dry_run: bool, prefer: Side | None) -> Report:
    content = read_file(file)
    document, database, pulled = content or b"", None, None
    program = find_bd(file, store.settings)
    if program is not None:
        database = DatabaseSync(program, store, read_baseline(baseline_path(store.directory, file)))
        pulled = database.pull(read_lines(document))
        document = join(pulled.lines)
    prefix = database.prefix if database and not store.settings.prefix else ""
    deleted = pulled.lacking if pulled else frozenset[str]()
    session = _Session(store, file, document, strict=strict, prefer=prefer, deleted=deleted, prefix=prefix)
    report = session.report("sync", dry_run=dry_run)
    if not dry_run:
        _check_writable(file)
        applied = apply(store.town, session.reconciliation)
    else:
        applied = Applied(tasks={update.bead.id: update.task for update in session.reconciliation.updates})
    written = session.write(applied, report)
    after = join(written.lines)
    report.file_changed = after != (content or b"")
    if dry_run:
        return report
    if database is not None and database.has_changed:
        raise Refused("the database changed during the sync", hint="repeat the command", code=_DATABASE_CHANGED)
    if report.file_changed:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, after, was=content)
    create_groups(store.town, convoy_groups(session.reconciliation))
    if database is not None:
        report.bd_skipped = database.push(written.lines, session.now)
        report.bd_lacks = database.lacks(written.lines)
        rewritten = read_file(file)
        if database.program.dialect.rewrites_file and rewritten != after:
            replace_file(file, after, was=rewritten)
    session.remember(written.lines, applied, file_written=True)
    session.record_results(report, applied)
    return report


def _check_writable(file: Path) -> None:
    """Raises: Refused before anything is changed, if the file could not be."""
    directory = next(parent for parent in file.absolute().parents if parent.exists())
    if not os.access(directory, os.W_OK):
        raise Refused(f"{directory} is not writable", hint="allow it, or name another file", code="read_only")


class _Session:
    """One pass over a file and the town."""

    def __init__(
        self,
        store: BeadStore,
        file: Path,
        content: bytes,
        *,
        into: str | None = None,
        strict: bool = False,
        prefer: Side | None = None,
        deleted: frozenset[str] = frozenset(),
        prefix: str = "",
    ) -> None:
        self.store, self.file = store, file
        self.now = datetime.now(UTC)
        self.lines = read_lines(content)
        self.deleted = deleted | {line.key for line in self.lines if line.kind == "tombstone"}
        self.problems = problems_of(self.lines)
        if strict and self.problems:
            raise UsageError(
                f"{file} has bad lines ({len(self.problems)}), first {self.problems[0]}",
                hint="fix it, or omit --strict",
                code="bad_beads",
                problems=self.problems,
            )
        self.path = baseline_path(store.directory, file)
        self.baseline = read_baseline(self.path)
        self.state: TownState = read_town(store.town)
        self.limit_bytes = store.town.config.limits.message_bytes
        self.reconciliation = Reconciliation(
            self.lines,
            self.baseline,
            self.state,
            now=self.now,
            prefix=prefix or store.prefix,
            limit_bytes=self.limit_bytes,
            into=into,
            prefer=prefer,
        )

    def report(self, command: str, *, dry_run: bool) -> Report:
        """The report of what is to be done; `record_results` completes it."""
        reconciliation = self.reconciliation
        report = Report(command, str(self.file), dry_run, problems=self.problems)
        report.notes, report.unmapped = reconciliation.mapped.notes, reconciliation.mapped.unmapped
        for create in reconciliation.creates:
            report.add(create.bead.id, "created")
        for update in reconciliation.updates:
            if update.merge.conflicts:
                report.add(update.bead.id, "conflict", sorted(update.merge.conflicts), "changed on both sides")
            elif update.merge.to_town:
                report.add(update.bead.id, "updated", sorted(update.merge.to_town))
            else:
                report.add(update.bead.id, "unchanged")
        for key, reason in reconciliation.refused.items():
            report.add(key, "skipped", (), reason)
        for key in reconciliation.forgotten:
            report.add(key, "forgotten", (), "it is finished and no longer in the town")
        for key, kind in reconciliation.mapped.unmapped.items():
            report.add(key, "unmapped", (), kind)
        return report

    def record_results(self, report: Report, applied: Applied) -> None:
        """Replace planned outcomes by actual ones: refusals, and fields that did not change."""
        for number, row in enumerate(report.rows):
            if row.id in applied.refused and row.outcome in ("created", "updated"):
                report.rows[number] = type(row)(row.id, "skipped", row.fields, applied.refused[row.id])
            elif row.outcome == "updated":
                fields = tuple(sorted(set(applied.changed.get(row.id, ()))))
                report.rows[number] = type(row)(row.id, "updated" if fields else "unchanged", fields)

    def write(self, applied: Applied, report: Report) -> Written:
        """The lines of the file with the town's changes."""
        reconciliation, ids = self.reconciliation, self.reconciliation.ids
        fields = {update.bead.id: update.merge.to_file for update in reconciliation.updates}
        bases = {update.bead.id: self._base(update, ids) for update in reconciliation.updates}
        for key in applied.made:
            fields[key] = frozenset()
        own = self._own()
        tasks = {**applied.tasks, **own}
        views = {key: view_of_task(task, ids) for key, task in tasks.items()}
        lines, made = list(self.lines), recorded_lines(own.values())
        extend(lines, made)
        beads = beads_of([*self.lines, *made])
        bases |= recorded_bases(beads, {line.key: own[line.key] for line in made}, ids, self.now)
        written = write_lines(lines, tasks, views, bases, ids, fields=fields)
        written.added += [line.key for line in made]
        for key, names in written.changed.items():
            if key not in written.added:
                report.add(key, "written", names)
        self._write_back(written, report)
        for key in written.added:
            report.add(key, "appended")
        return written

    def _base(self, update: Update, ids: BeadIds) -> Base:
        """The base of an update; without one, the current views with sets reduced to shared members, so that they unite."""
        known = self.reconciliation.bases.get(update.bead.id)
        if known is not None:
            return known
        view, now = self.reconciliation.mapped.views[update.bead.id], view_of_task(update.task, ids)
        shared = {name: tuple(sorted(set(getattr(view, name)) & set(getattr(now, name)))) for name in SETS}
        return Base(view, msgspec.structs.replace(now, **shared))

    def _own(self) -> dict[str, Task]:
        """The tasks that have no bead yet, oldest first, without wisps. One whose line was removed from the file stays out."""
        ids, known = self.reconciliation.ids, self.reconciliation.known_lines
        new_tasks: dict[str, Task] = {}
        for task in sorted(self.state.tasks.values(), key=lambda task: (task.created_at or "", task.id)):
            key = ids(task.id)
            elsewhere = key in self.reconciliation.beads or key in known or key in self.deleted
            if not is_from_file(task) and not elsewhere and not record_of(task).get("ephemeral"):
                new_tasks[key] = task
        return new_tasks

    def _write_back(self, written: Written, report: Report) -> None:
        """Restore removed lines whose tasks have changed since."""
        ids = self.reconciliation.ids
        by_bead = {ids(task.id): task for task in self.state.tasks.values()}
        for key, line in self.reconciliation.known_lines.items():
            if key in self.reconciliation.beads or line.bead is None:
                continue
            if key in self.deleted:
                report.add(key, "missing", (), "deleted in bd; the town's task stays")
                continue
            task, base = by_bead.get(key), self.reconciliation.bases.get(key)
            changed = changed_fields(base.town, view_of_task(task, ids)) if task and base else frozenset[str]()
            if task is None or base is None or not changed:
                report.add(key, "missing", (), "no longer in the file; the town's task is unchanged")
                continue
            changes = changes_to(line.bead, base.town, view_of_task(task, ids), sorted(changed), self.now)
            append(written, [with_changes(line, changes)])

    def remember(self, lines: Sequence[Line], applied: Applied, *, file_written: bool) -> None:
        """Write the baseline: the views of both sides where they agree."""
        ids = self.reconciliation.ids
        mapped = self.reconciliation.mapped
        if lines is not self.lines:
            own = made_here(self.state.tasks.values())
            mapped = map_beads(beads_of(lines), self.now, limit_bytes=self.limit_bytes, as_tasks=own)
        merges = {update.bead.id: update.merge for update in self.reconciliation.updates}
        tasks = {ids(task.id): task for task in self.state.tasks.values()} | applied.tasks
        bases: dict[str, Base] = {}
        for key, view in mapped.views.items():
            task, before = tasks.get(key), self.reconciliation.bases.get(key)
            if task is None:
                if before is not None:
                    bases[key] = before
                continue
            if key in self.reconciliation.refused:
                continue
            merged = merges.get(key)
            withheld = (merged.conflicts if merged else frozenset[str]()) | applied.pending.get(key, frozenset())
            unwritten = merged.to_file if merged and not file_written else frozenset[str]()
            base = next_base(before, view, view_of_task(task, ids), withheld, unwritten)
            if base is not None:
                bases[key] = base
        in_file = {line.key for line in lines if line.kind == "bead"}
        gone = [line for key, line in self.reconciliation.known_lines.items() if key not in in_file and key in tasks]
        bases |= {
            line.key: self.reconciliation.bases[line.key] for line in gone if line.key in self.reconciliation.bases
        }
        save_baseline(self.store, self.file, lines, bases, self.baseline, gone)
