"""The bead record that a task keeps in ``Task.origin``. Pure."""

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
    """The origin of a task created from the bead on `line`: its record, spelled as there.

    A task that was `made_here` came from no file, so it is written to every one.
    """
    origin: dict[str, Any] = {"format": FORMAT, "id": line.key, "record": line.text}
    return origin | ({"made_here": True} if made_here else {})


def is_from_file(task: Task) -> bool:
    """Whether a task was imported from a bead file."""
    origin = task.origin or {}
    return origin.get("format") == FORMAT and not origin.get("made_here")


def made_here(tasks: Iterable[Task]) -> frozenset[str]:
    """The beads of tasks that were made in the town with a record, whatever kind of bead that is."""
    origins = (task.origin or {} for task in tasks)
    return frozenset(str(origin["id"]) for origin in origins if origin.get("made_here") and "id" in origin)


def recorded_line(task: Task) -> Line | None:
    """The line that a task was imported from; None for a task of our own."""
    origin = task.origin or {}
    record = origin.get("record")
    if origin.get("format") != FORMAT or not isinstance(record, str) or "\n" in record:
        return None
    lines = read_lines(record.encode("utf-8", "replace") + b"\n")
    return lines[0] if len(lines) == 1 and lines[0].kind == "bead" else None


class BeadIds:
    """The bead id of each task: the one it was imported from, the one its id maps to in a file, or the one it is exported as."""

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
    """The lines that tasks were imported from, in the order of bead files."""
    lines = {line.key: line for task in tasks if (line := recorded_line(task)) is not None}
    return [lines[bead.id] for bead in sorted_beads(beads_of(lines.values()).values())]


def recorded_bases(
    beads: Mapping[str, Bead], tasks: Mapping[str, Task], ids: BeadIds, now: datetime
) -> dict[str, Base]:
    """The assumed views at the import of `tasks`, which are given by the ids of their `beads`."""
    if not tasks:
        return {}
    mapped = map_beads(beads, now, as_tasks=made_here(tasks.values()))
    return {
        key: Base(view, expected(view, view_of_task(tasks[key], ids), tasks))
        for key, view in mapped.views.items()
        if key in tasks
    }


def expected(file: View, now: View, present: Container[str]) -> View:
    """The view of a task right after its import from a bead with the view `file`, estimated from its view `now`.

    Where the town may have had reasons of its own (a missing agent, a missing need), nothing is taken as changed. `present` are
    the beads that have tasks.
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
