"""The whole town as one bead file: the lines of all imported files, with the town's changes, and its own tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tinytown.errors import Refused
from tinytown_cli.text_files import locked

from tinytown_beads.apply import read_town
from tinytown_beads.baseline import Baseline, baseline_path, read_baselines
from tinytown_beads.bead import moment
from tinytown_beads.files import LOCK_TIMEOUT_S, digest, read_file, replace_file
from tinytown_beads.lines import Line, beads_of, extend, join
from tinytown_beads.mapping import map_beads
from tinytown_beads.merge import Base
from tinytown_beads.origins import BeadIds, made_here, recorded_bases, recorded_lines
from tinytown_beads.report import Report, dropped_by_bd
from tinytown_beads.store import BeadStore, save_baseline
from tinytown_beads.view import view_of_task
from tinytown_beads.writing import write_lines


@dataclass(frozen=True, slots=True)
class Exported:
    """The document of a town, its lines and views, the report, and the former baseline of the file."""

    document: bytes
    lines: list[Line]
    bases: dict[str, Base]
    report: Report
    known: Baseline | None


def export_town(store: BeadStore, file: Path | None = None) -> Exported:
    """The whole town as beads: the lines of all imported files, with the town's changes, then its own tasks.

    The lines of the baseline of `file`, the target, come first.
    """
    now = datetime.now(UTC)
    state = read_town(store.town)
    baselines = read_baselines(store.directory)
    own = baselines.pop(baseline_path(store.directory, file), None) if file else None
    lines, bases, newer = _merge_baselines([*([own] if own else []), *baselines.values()])
    in_lines = {line.key for line in lines if line.kind == "bead"}
    unknown = [task for task in state.tasks.values() if (task.origin or {}).get("id") not in in_lines]
    extend(lines, (line for line in recorded_lines(unknown) if line.key not in in_lines))
    beads = beads_of(lines)
    own_records = made_here(state.tasks.values())
    known = map_beads(beads, now, limit_bytes=store.town.config.limits.message_bytes, as_tasks=own_records)
    ids = BeadIds(state.tasks.values(), store.prefix, known.task_ids)
    tasks = {
        ids(task.id): task for task in sorted(state.tasks.values(), key=lambda task: (task.created_at or "", task.id))
    }
    lost = {key: task for key, task in tasks.items() if key in beads and key not in bases}
    bases = {**recorded_bases(beads, lost, ids, now), **bases}
    views = {key: view_of_task(task, ids) for key, task in tasks.items()}
    written = write_lines(lines, tasks, views, bases, ids)
    report = Report("export", str(file or "-"), unmapped=known.unmapped)
    for key in beads:
        if key not in known.unmapped:
            is_written = key in written.changed or (own is not None and key in newer)
            report.add(key, "written" if is_written else "unchanged", written.changed.get(key, ()))
        else:
            report.add(key, "unmapped", (), known.unmapped[key])
    for key in written.added:
        report.add(key, "appended")
    report.dropped = dropped_by_bd(bead.record for bead in beads_of(written.lines).values())
    if written.changed or written.added:
        known = map_beads(
            beads_of(written.lines), now, limit_bytes=store.town.config.limits.message_bytes, as_tasks=own_records
        )
    agreed = {key: Base(view, views[key]) for key, view in known.views.items() if key in views}
    return Exported(join(written.lines), written.lines, agreed, report, own)


def _merge_baselines(baselines: Iterable[Baseline]) -> tuple[list[Line], dict[str, Base], set[str]]:
    """The lines of all baselines, each bead and memory once, with their views at the last sync.

    A bead is where the first baseline has it, and as the one has it in which it is newest; the ids of those that a later one has.
    """
    lines: list[Line] = []
    bases: dict[str, Base] = {}
    places: dict[tuple[str, str], int] = {}
    newer: set[str] = set()
    for number, baseline in enumerate(baselines):
        known, known_bases = baseline.unpack()
        for line in known:
            place = places.get((line.kind, line.key)) if line.key else None
            if number and place is not None and _is_newer(line, lines[place]) and line.key in known_bases:
                lines[place] = line.ended()
                bases[line.key] = known_bases[line.key]
                newer.add(line.key)
            if place is not None or (number and not line.key):
                continue
            extend(lines, [line])
            places[line.kind, line.key] = len(lines) - 1
            if line.key in known_bases:
                bases.setdefault(line.key, known_bases[line.key])
    return lines, bases, newer


def _is_newer(line: Line, other: Line) -> bool:
    moments = [moment(each.bead.text("updated_at")) if each.bead else None for each in (line, other)]
    return moments[0] is not None and moments[1] is not None and moments[0] > moments[1]


def export_file(store: BeadStore, file: Path, *, force: bool = False, dry_run: bool = False) -> Report:
    """Write the town as beads to a file.

    Overwrites a file that it has written or read itself and that is unchanged since; any other only with `force`.
    Raises: Refused with code ``exists`` or ``changed``.
    """
    with locked(store.directory / "lock", timeout_s=LOCK_TIMEOUT_S):
        exported = export_town(store, file)
        before = read_file(file)
        if before is not None and before != exported.document and not force:
            if exported.known is None:
                raise Refused(
                    f"{file} already exists and is not overwritten",
                    hint="name another file, import it first with tt beads import, or use --force",
                    code="exists",
                )
            if exported.known.digest != digest(before):
                raise Refused(
                    f"{file} has changed since the town read or wrote it",
                    hint="merge with tt beads sync, or use --force",
                    code="changed",
                )
        exported.report.file_changed = before != exported.document
        exported.report.dry_run = dry_run
        if not dry_run:
            if before != exported.document:
                replace_file(file, exported.document, was=before)
            save_baseline(store, file, exported.lines, exported.bases, exported.known)
        return exported.report
