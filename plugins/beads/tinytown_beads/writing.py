"""The town's changes in the lines of a bead file, and lines for new tasks. Pure: others write the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tinytown.model.tasks import Task

from tinytown_beads.bead import moment
from tinytown_beads.lines import Line, extend, new_line, with_changes
from tinytown_beads.merge import Base
from tinytown_beads.patch_record import changes_to, new_record, refreshed_metadata
from tinytown_beads.view import View, changed_fields

_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(slots=True)
class Written:
    """The lines, the changed fields by bead id, and the ids of new lines."""

    lines: list[Line]
    changed: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    added: list[str] = field(default_factory=list[str])


def write_lines(
    lines: Sequence[Line],
    tasks: Mapping[str, Task],
    views: Mapping[str, View],
    bases: Mapping[str, Base],
    ids: Callable[[str], str],
    *,
    fields: Mapping[str, frozenset[str]] | None = None,
) -> Written:
    """`lines` with the changes of `tasks` since their base, by the ids of their beads; `views` are their current views.

    `fields` limits, for some beads, the fields to write. Tasks without a line get one at the end, in their order.
    """
    in_lines = {line.key for line in lines if line.kind == "bead"}
    written = Written([])
    for line in lines:
        task = tasks.get(line.key) if line.bead else None
        if line.bead is None or task is None:
            written.lines.append(line)
            continue
        now, base = views[line.key], bases.get(line.key)
        was = base.town if base else now
        chosen = changed_fields(was, now)
        if fields is not None and line.key in fields:
            chosen = fields[line.key]
        changes = changes_to(line.bead, was, now, sorted(chosen), _last_change(task)) if chosen else {}
        if changes or base is not None:
            changes |= refreshed_metadata(line.bead, task, changes)
        if changes:
            written.changed[line.key] = sorted(changes)
        written.lines.append(with_changes(line, changes))
    new = [(id_, task) for id_, task in tasks.items() if id_ not in in_lines]
    append(written, (new_line(new_record(task, id_, ids, _last_change(task))) for id_, task in new))
    return written


def append(written: Written, lines: Iterable[Line]) -> None:
    """Append lines."""
    new = list(lines)
    extend(written.lines, new)
    written.added += [line.key for line in new]


def _last_change(task: Task) -> datetime:
    return moment(task.updated_at or "") or moment(task.created_at or "") or _EPOCH
