"""A bead file and the town brought together: `import`, `export` and `sync`, each with a report.

Everything is read and decided before anything is written; the town is changed first, then the file, then the ledger. A
command that is killed in between leaves sides that differ from the ledger in the same way, which is no conflict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from tinytown.command_line import TownLink
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.tasks import Task

from tinytown_beads.bd_program import bd_for
from tinytown_beads.carrying import Carried, carry, read_town
from tinytown_beads.convoys import convoys_in, make_groups
from tinytown_beads.files import digest, locked, read_file, replace_file
from tinytown_beads.ledger import Ledger, entries_of, ledger_path, read_ledger, read_ledgers, write_ledger
from tinytown_beads.lines import Line, beads_of, join, problems_of, read_lines, with_changes
from tinytown_beads.mapping import map_beads
from tinytown_beads.meeting import Changing, Meeting, TownState
from tinytown_beads.merging import Base, Side, next_base
from tinytown_beads.origins import BeadIds, recorded_bases, recorded_lines
from tinytown_beads.overlaying import changes_to
from tinytown_beads.own_beads import FORMAT
from tinytown_beads.report import Report, dropped_by_bd
from tinytown_beads.settings import Settings
from tinytown_beads.views import SETS, changed_fields, view_of_task
from tinytown_beads.writing import Written, append, write_lines

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Place:
    """A town, the settings of the plugin, and the directory where ledgers lie."""

    town: TownLink
    settings: Settings
    directory: Path

    @property
    def prefix(self) -> str:
        return self.settings.prefix or self.town.config.name


def place_of(town: TownLink, settings: Settings) -> Place:
    """Where the plugin keeps its ledgers: below the town's runtime directory, for their owner alone."""
    directory = town.root / ".tt" / "beads"
    directory.parent.mkdir(mode=0o700, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    return Place(town, settings, directory)


def import_file(
    place: Place, file: Path, *, into: str | None = None, strict: bool = False, dry_run: bool = False
) -> Report:
    """Bring the beads of a file into the town. The file stays as it is.

    Raises: NotFound; UsageError with code ``bad_beads`` when `strict` and a line is bad; errors of the server.
    """
    with locked(place.directory / "lock"):
        content = read_file(file)
        if content is None:
            raise NotFound(f"no bead file at {file}", hint="bd export -o .beads/issues.jsonl writes one")
        visit = _Visit(place, file, content, into=into, strict=strict)
        report = visit.report("import", dry_run=dry_run)
        if not dry_run:
            carried = carry(place.town, visit.meeting)
            make_groups(place.town, convoys_in(visit.meeting))
            visit.remember(visit.lines, carried, told=False)
            visit.tell_town(report, carried)
        return report


def sync_file(
    place: Place, file: Path, *, strict: bool = False, dry_run: bool = False, prefer: Side | None = None
) -> Report:
    """Bring a file and the town in step, both ways. Raises: as `import_file`; Refused when the file does not keep still."""
    with locked(place.directory / "lock"):
        for attempt in range(_TRIES):
            content = read_file(file)
            program = bd_for(file, place.settings)
            known = content or b""
            if program is not None:
                known = join(program.pull(read_lines(known)))
            visit = _Visit(place, file, known, strict=strict, prefer=prefer)
            report = visit.report("sync", dry_run=dry_run)
            carried = Carried(tasks={each.bead.id: each.task for each in visit.meeting.changings})
            if not dry_run:
                carried = carry(place.town, visit.meeting)
            written = visit.write(carried, report)
            after = join(written.lines)
            report.file_changed = after != (content or b"")
            if dry_run:
                return report
            try:
                if report.file_changed:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    replace_file(file, after, was=content)
            except Refused:
                if attempt == _TRIES - 1:
                    raise
                continue
            make_groups(place.town, convoys_in(visit.meeting))
            visit.remember(written.lines, carried, told=True)
            visit.tell_town(report, carried)
            if program is not None:
                report.bd_skipped = program.push()
            return report
        raise AssertionError("it returns or raises")


class _Visit:
    """One look at a file and the town, and what follows from it."""

    def __init__(
        self,
        place: Place,
        file: Path,
        content: bytes,
        *,
        into: str | None = None,
        strict: bool = False,
        prefer: Side | None = None,
    ) -> None:
        self.place, self.file = place, file
        self.now = datetime.now(UTC)
        self.lines = read_lines(content)
        self.problems = problems_of(self.lines)
        if strict and self.problems:
            raise UsageError(
                f"{file} has {len(self.problems)} bad lines, first {self.problems[0]}",
                hint="mend it, or leave out --strict",
                code="bad_beads",
                problems=self.problems,
            )
        self.path = ledger_path(place.directory, file)
        self.ledger = read_ledger(self.path)
        self.state: TownState = read_town(place.town)
        self.limit_bytes = place.town.config.limits.message_bytes
        self.meeting = Meeting(
            self.lines,
            self.ledger,
            self.state,
            now=self.now,
            prefix=place.prefix,
            limit_bytes=self.limit_bytes,
            into=into,
            prefer=prefer,
        )

    def report(self, command: str, *, dry_run: bool) -> Report:
        """What is to be done, as decided; `tell_town` puts in what became of it."""
        meeting = self.meeting
        report = Report(command, str(self.file), dry_run, problems=self.problems)
        report.notes, report.carried = meeting.mapped.notes, meeting.mapped.carried
        for making in meeting.makings:
            report.add(making.bead.id, "created")
        for each in meeting.changings:
            if each.merge.conflicts:
                report.add(each.bead.id, "conflict", sorted(each.merge.conflicts), "both sides changed it")
            elif each.merge.to_town:
                report.add(each.bead.id, "updated", sorted(each.merge.to_town))
            else:
                report.add(each.bead.id, "unchanged")
        for key, reason in meeting.refused.items():
            report.add(key, "skipped", (), reason)
        for key in meeting.forgotten:
            report.add(key, "forgotten", (), "it is finished, and the town has forgotten it")
        for key, kind in meeting.mapped.carried.items():
            report.add(key, "unmapped", (), kind)
        return report

    def tell_town(self, report: Report, carried: Carried) -> None:
        """What the town refused, and what it had no use for, in place of what was to be done."""
        for number, row in enumerate(report.rows):
            if row.id in carried.refused and row.outcome in ("created", "updated"):
                report.rows[number] = type(row)(row.id, "skipped", row.fields, carried.refused[row.id])
            elif row.outcome == "updated":
                fields = tuple(sorted(set(carried.changed.get(row.id, ()))))
                report.rows[number] = type(row)(row.id, "updated" if fields else "unchanged", fields)

    def write(self, carried: Carried, report: Report) -> Written:
        """The lines of the file with the town's news."""
        meeting, ids = self.meeting, self.meeting.ids
        fields = {each.bead.id: each.merge.to_file for each in meeting.changings}
        bases = {each.bead.id: self._base(each, ids) for each in meeting.changings}
        for key in carried.made:
            fields[key] = frozenset()
        written = write_lines(self.lines, {**carried.tasks, **self._own()}, bases, ids, fields=fields)
        for key, names in written.changed.items():
            report.add(key, "written", names)
        self._write_back(written, report)
        for key in written.added:
            report.add(key, "appended")
        return written

    def _base(self, each: Changing, ids: BeadIds) -> Base:
        """What was agreed; where nothing was, what both say now, so that sets are united."""
        known = self.meeting.bases.get(each.bead.id)
        if known is not None:
            return known
        view, now = self.meeting.mapped.views[each.bead.id], view_of_task(each.task, ids)
        shared = {name: tuple(sorted(set(getattr(view, name)) & set(getattr(now, name)))) for name in SETS}
        return Base(view, msgspec.structs.replace(now, **shared))

    def _own(self) -> dict[str, Task]:
        """The tasks that are no beads yet, the oldest first. One whose line was taken out of the file stays out."""
        ids, known = self.meeting.ids, self.meeting.known_lines
        found: dict[str, Task] = {}
        for task in sorted(self.state.tasks.values(), key=lambda task: (task.created_at or "", task.id)):
            key = ids(task.id)
            is_bead = (task.origin or {}).get("format") == FORMAT
            if not is_bead and key not in self.meeting.beads and key not in known:
                found[key] = task
        return found

    def _write_back(self, written: Written, report: Report) -> None:
        """Lines that were taken out of the file: only those whose tasks have news come back."""
        ids = self.meeting.ids
        by_bead = {ids(task.id): task for task in self.state.tasks.values()}
        for key, line in self.meeting.known_lines.items():
            if key in self.meeting.beads or line.bead is None:
                continue
            task, base = by_bead.get(key), self.meeting.bases.get(key)
            news = changed_fields(base.town, view_of_task(task, ids)) if task and base else frozenset[str]()
            if task is None or base is None or not news:
                report.add(key, "missing", (), "it is not in the file any more; the town's task stays as it is")
                continue
            changes = changes_to(line.bead, base.town, view_of_task(task, ids), sorted(news), self.now)
            append(written, [with_changes(line, changes)])

    def remember(self, lines: Sequence[Line], carried: Carried, *, told: bool) -> None:
        """Write the ledger: what both sides say now, where they agree."""
        ids = self.meeting.ids
        mapped = self.meeting.mapped
        if lines is not self.lines:
            mapped = map_beads(beads_of(lines), self.now, limit_bytes=self.limit_bytes)
        merges = {each.bead.id: each.merge for each in self.meeting.changings}
        tasks = {ids(task.id): task for task in self.state.tasks.values()} | carried.tasks
        bases: dict[str, Base] = {}
        for key, view in mapped.views.items():
            task, before = tasks.get(key), self.meeting.bases.get(key)
            if task is None:
                if before is not None:
                    bases[key] = before
                continue
            if key in self.meeting.refused:
                continue
            merged = merges.get(key)
            kept_back = (merged.conflicts if merged else frozenset[str]()) | carried.pending.get(key, frozenset())
            untold = merged.to_file if merged and not told else frozenset[str]()
            base = next_base(before, view, view_of_task(task, ids), kept_back, untold)
            if base is not None:
                bases[key] = base
        save_ledger(self.place, self.file, lines, bases, self.ledger)


def save_ledger(
    place: Place, file: Path, lines: Sequence[Line], bases: Mapping[str, Base], before: Ledger | None
) -> None:
    """Keep what is known of a bead file now."""
    order = before.order if before else 1 + max((each.order for each in read_ledgers(place.directory)), default=0)
    path = str(file.absolute()).encode("utf-8", "replace").decode()
    entries = entries_of(lines, dict(bases))
    ledger = Ledger(path=path, digest=digest(join(lines)), order=order, entries=entries)
    write_ledger(ledger_path(place.directory, file), ledger)


@dataclass(frozen=True, slots=True)
class Exported:
    """The document of a town, its lines and what both sides say, and the report."""

    document: bytes
    lines: list[Line]
    bases: dict[str, Base]
    report: Report


def export_town(place: Place, name: str) -> Exported:
    """The whole town as beads: the lines of all files that were brought in, with the town's changes, and its own tasks."""
    now = datetime.now(UTC)
    state = read_town(place.town)
    lines, bases = _remembered(place, name)
    there = {line.key for line in lines if line.kind == "bead"}
    strange = [task for task in state.tasks.values() if (task.origin or {}).get("id") not in there]
    lines += [line for line in recorded_lines(strange) if line.key not in there]
    beads = beads_of(lines)
    known = map_beads(beads, now, limit_bytes=place.town.config.limits.message_bytes)
    ids = BeadIds(state.tasks.values(), place.prefix, known.task_ids)
    tasks = {
        ids(task.id): task for task in sorted(state.tasks.values(), key=lambda task: (task.created_at or "", task.id))
    }
    lost = {key: task for key, task in tasks.items() if key in beads and key not in bases}
    bases = {**recorded_bases(beads, lost, ids, now), **bases}
    written = write_lines(lines, tasks, bases, ids)
    report = Report("export", name, notes={}, carried=known.carried)
    for key in beads:
        if key not in known.carried:
            report.add(key, "written" if key in written.changed else "unchanged", written.changed.get(key, ()))
        else:
            report.add(key, "unmapped", (), known.carried[key])
    for key in written.added:
        report.add(key, "appended")
    report.dropped = dropped_by_bd(bead.record for bead in beads_of(written.lines).values())
    if written.changed or written.added:
        known = map_beads(beads_of(written.lines), now, limit_bytes=place.town.config.limits.message_bytes)
    told = {key: Base(view, view_of_task(tasks[key], ids)) for key, view in known.views.items() if key in tasks}
    return Exported(join(written.lines), written.lines, told, report)


def _remembered(place: Place, name: str) -> tuple[list[Line], dict[str, Base]]:
    """The lines of all ledgers, that of the file itself first, each bead and memory once, with what was agreed on them."""
    own = str(Path(name).absolute())
    ledgers = sorted(read_ledgers(place.directory), key=lambda ledger: ledger.path != own)
    lines: list[Line] = []
    bases: dict[str, Base] = {}
    seen: set[tuple[str, str]] = set()
    for number, ledger in enumerate(ledgers):
        known, found = ledger.unpack()
        for line in known:
            mark = (line.kind, line.key)
            if (line.key and mark in seen) or (number and not line.key):
                continue
            seen.add(mark)
            lines.append(line)
            if line.key in found:
                bases.setdefault(line.key, found[line.key])
    return lines, bases


def export_file(place: Place, file: Path, *, force: bool = False, dry_run: bool = False) -> Report:
    """Write the town as beads to a file.

    In place of one that it has written or read itself and nobody has changed since; of another only with `force`.
    Raises: Refused with code ``exists`` or ``changed``.
    """
    with locked(place.directory / "lock"):
        exported = export_town(place, str(file))
        before = read_file(file)
        ledger = read_ledger(ledger_path(place.directory, file))
        if before is not None and before != exported.document and not force:
            if ledger is None:
                raise Refused(
                    f"{file} is there already, and nothing is overwritten",
                    hint="name another file, or bring it in first with tt beads import; --force replaces it",
                    code="exists",
                )
            if ledger.digest != digest(before):
                raise Refused(
                    f"{file} was changed since the town read or wrote it",
                    hint="tt beads sync brings both together; --force replaces the file",
                    code="changed",
                )
        exported.report.file_changed = before != exported.document
        exported.report.dry_run = dry_run
        if not dry_run:
            if before != exported.document:
                replace_file(file, exported.document, was=before)
            save_ledger(place, file, exported.lines, exported.bases, ledger)
        return exported.report
