"""What a task remembers of the bead that it was: its record, whole, in ``Task.origin``. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from tinytown.model.tasks import Task

from tinytown_beads.bead import Bead
from tinytown_beads.lines import Line, beads_of, read_lines
from tinytown_beads.mapping import map_beads
from tinytown_beads.merge import Base, last_part
from tinytown_beads.ready import sorted_beads
from tinytown_beads.task_as_bead import FORMAT, bead_id_for
from tinytown_beads.view import View, view_of_task


def origin_of(line: Line, *, made_here: bool = False) -> dict[str, Any]:
    """The origin of a task made of the bead on `line`: the record as it is spelled there.

    One that was `made_here` has come from no file, so that it belongs into every one.
    """
    origin: dict[str, Any] = {"format": FORMAT, "id": line.key, "record": line.text}
    return origin | ({"made_here": True} if made_here else {})


def is_from_file(task: Task) -> bool:
    """Whether a task was brought in with a bead file."""
    origin = task.origin or {}
    return origin.get("format") == FORMAT and not origin.get("made_here")


def recorded_line(task: Task) -> Line | None:
    """The line that a task was made of; None for one that was no bead."""
    origin = task.origin or {}
    record = origin.get("record")
    if origin.get("format") != FORMAT or not isinstance(record, str) or "\n" in record:
        return None
    lines = read_lines(record.encode("utf-8", "replace") + b"\n")
    return lines[0] if len(lines) == 1 and lines[0].kind == "bead" else None


class BeadIds:
    """The bead of each task: the one it was made of, the one its id stands for in a file, or the one it becomes."""

    def __init__(self, tasks: Iterable[Task], prefix: str, known: Mapping[str, str]) -> None:
        self._known = {task_id: bead_id for bead_id, task_id in known.items()}
        self._prefix = prefix
        for task in tasks:
            origin = task.origin or {}
            id_ = origin.get("id")
            if origin.get("format") == FORMAT and isinstance(id_, str) and id_:
                self._known.setdefault(task.id, id_)

    def __call__(self, task_id: str) -> str:
        return self._known.get(task_id) or bead_id_for(task_id, self._prefix)


def recorded_lines(tasks: Iterable[Task]) -> list[Line]:
    """The lines that tasks were made of, in the order of bead files."""
    lines = {line.key: line for task in tasks if (line := recorded_line(task)) is not None}
    return [lines[bead.id] for bead in sorted_beads(beads_of(lines.values()).values())]


def recorded_bases(
    beads: Mapping[str, Bead], tasks: Mapping[str, Task], ids: BeadIds, now: datetime
) -> dict[str, Base]:
    """What both sides may be thought to have said when `tasks`, by the ids of their `beads`, were made of those."""
    if not tasks:
        return {}
    mapped = map_beads(beads, now)
    return {
        key: Base(view, expected(view, view_of_task(tasks[key], ids), tasks))
        for key, view in mapped.views.items()
        if key in tasks
    }


def expected(file: View, now: View, present: Container[str]) -> View:
    """The view of a task right after it was made of a bead that says `file`, judged by what it says `now`.

    Where a town may have had reasons of its own (an agent that it does not have, a need that was gone), it is given the
    benefit of the doubt: nothing has changed there. `present` are the beads whose tasks it has.
    """
    missing = {need for need in file.needs if need not in now.needs and need not in present}
    assignee = now.assignee if file.assignee and last_part(now.assignee) != last_part(file.assignee) else file.assignee
    return msgspec.structs.replace(
        file,
        state="open" if file.state == "in_progress" else file.state,
        needs=tuple(need for need in file.needs if need not in missing),
        assignee=assignee,
        held=now.held if file.held else "",
        held_until=now.held_until,
    )
