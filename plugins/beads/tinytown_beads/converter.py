"""The converter `beads`: bead JSONL to tasks and back, for programs, by the contract of `tinytown.contracts`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from tinytown.model.tasks import Task
from tinytown_cli.contracts import Converted

from tinytown_beads.cycles import in_dependency_order
from tinytown_beads.lines import Line, beads_of, join, problems_of, read_lines
from tinytown_beads.mapping import map_beads, task_arguments
from tinytown_beads.origins import BeadIds, origin_of, recorded_bases, recorded_lines
from tinytown_beads.view import view_of_task
from tinytown_beads.writing import write_lines


class BeadConverter:
    """Bead JSONL. Records of a document that are not tasks are preserved by `rewrite`, byte for byte."""

    format = "beads"
    keeps: Sequence[str] = (
        "id",
        "description",
        "title",
        "priority",
        "tags",
        "role",
        "needs",
        "parent",
        "meta",
        "the outcome of a finished task",
        "every field, line and byte of a bead file, known or not",
    )
    loses: Sequence[str] = (
        "who a task is assigned to, when it is read: an agent is the town's to choose",
        "runs, attempts, tokens and times of rounds",
    )

    def __init__(self, prefix: str = "tt") -> None:
        self.prefix = prefix

    def read(self, document: bytes) -> Converted:
        """The tasks of the beads in a document, in dependency order."""
        lines = read_lines(document)
        beads = beads_of(lines)
        mapped = map_beads(beads, datetime.now(UTC))
        by_key = {line.key: line for line in lines if line.bead}
        tasks = [
            {**task_arguments(beads[key], mapped), "origin": origin_of(by_key[key])}
            for key in in_dependency_order(mapped.views, {key: view.needs for key, view in mapped.views.items()})
        ]
        return Converted(tasks=tuple(tasks), problems=tuple(problems_of(lines)))

    def write(self, tasks: Sequence[Task]) -> bytes:
        """The beads of `tasks`: those that they were read from, with what has changed, and new ones."""
        return self._written(recorded_lines(tasks), tasks)

    def rewrite(self, document: bytes, tasks: Sequence[Task]) -> bytes:
        """`document` with what has changed of `tasks` since they were read from it, and with new ones at its end."""
        return self._written(read_lines(document), tasks)

    def _written(self, lines: Sequence[Line], tasks: Sequence[Task]) -> bytes:
        beads, now = beads_of(lines), datetime.now(UTC)
        ids = BeadIds(tasks, self.prefix, map_beads(beads, now).task_ids)
        by_bead = {ids(task.id): task for task in tasks}
        views = {key: view_of_task(task, ids) for key, task in by_bead.items()}
        return join(write_lines(lines, by_bead, views, recorded_bases(beads, by_bead, ids, now), ids).lines)
