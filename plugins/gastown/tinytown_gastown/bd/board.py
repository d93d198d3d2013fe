"""The town as beads, for one command: the lines of an export, each with its task.

Bead fields without a task field (design, notes, comments, a type) are kept beside the task; see `tinytown_beads.extra_fields`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tinytown.errors import NotFound, UsageError
from tinytown.model.tasks import Task
from tinytown_beads.apply import read_town
from tinytown_beads.bead import Bead, stamp
from tinytown_beads.exporting import export_town
from tinytown_beads.extra_fields import extra_fields
from tinytown_beads.fields import PARENT_EDGE
from tinytown_beads.json_text import as_list, as_object
from tinytown_beads.lines import beads_of, new_line
from tinytown_beads.mapping import map_beads, task_arguments
from tinytown_beads.origins import BeadIds, origin_of
from tinytown_beads.settings import read_settings
from tinytown_beads.store import BeadStore, open_store
from tinytown_beads.task_as_bead import TABLE
from tinytown_cli.public import CliContext, TownClient

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
#: Letters and digits of a new id.
_SHORTEST, _LONGEST = 4, 8

Record = dict[str, Any]


class Board:
    """The beads of a town by their ids, and the task of each."""

    def __init__(self, town: TownClient) -> None:
        self.town = town
        self.store: BeadStore = open_store(town, read_settings(town.config))
        self.load()

    def load(self) -> None:
        """Read the town (again)."""
        exported = export_town(self.store)
        self.document = exported.document
        beads = beads_of(exported.lines)
        known = map_beads(beads, self.now, limit_bytes=self.town.config.limits.message_bytes)
        state = read_town(self.town)
        ids = BeadIds(state.tasks.values(), self.store.prefix, known.task_ids)
        self.tasks: dict[str, Task] = {ids(task.id): task for task in state.tasks.values()}
        self.beads: dict[str, Bead] = beads
        self.records: dict[str, Record] = {id_: dict(bead.record) for id_, bead in beads.items()}

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def find(self, word: str) -> str:
        """The id of the bead that `word` means: an id, its beginning, or its part after the prefix. Raises: NotFound."""
        if word in self.records:
            return word
        near = [id_ for id_ in self.records if id_.startswith(word) or id_.partition("-")[2] == word] if word else []
        by_task = [id_ for id_, task in self.tasks.items() if word and task.id.startswith(word)]
        candidates = list(dict.fromkeys((*near, *by_task)))
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise UsageError(f"ambiguous id {word[:80]!r}: {', '.join(candidates[:8])}")
        raise NotFound(f"no issue found matching {word[:80]!r}")

    def task_of(self, id_: str) -> Task:
        """The task of a bead. Raises: UsageError for a record without one, such as a message or an agent."""
        if id_ not in self.tasks:
            raise UsageError(
                f"{id_} is a {self.beads[id_].issue_type} that was imported as a record; it cannot be changed here"
            )
        return self.tasks[id_]

    def shape(self, id_: str) -> Record:
        """A bead as `bd --json` shows it: its record with counts and its parent."""
        bead = self.beads[id_]
        record = {key: value for key, value in self.records[id_].items() if key not in ("_type", "comments")}
        outgoing = [edge for edge in bead.edges if edge.source == id_]
        record |= {
            "dependency_count": len(outgoing),
            "dependent_count": sum(edge.target == id_ for other in self.beads.values() for edge in other.edges),
            "comment_count": len(self.comments(id_)),
        }
        parent = next((edge.target for edge in outgoing if edge.type == PARENT_EDGE), "")
        return record | ({"parent": parent} if parent else {})

    def detail(self, id_: str) -> Record:
        """The same with its comments."""
        comments = self.comments(id_)
        return self.shape(id_) | ({"comments": comments} if comments else {})

    def comments(self, id_: str) -> list[Record]:
        """The comments of a bead, oldest first."""
        items = as_list(self.records[id_].get("comments")) or []
        return [item for item in map(as_object, items) if item is not None]

    def set_extra_fields(self, id_: str, changes: Mapping[str, Any]) -> None:
        """Set bead fields that a task has no place for; None removes one."""
        if changes:
            before = self.task_of(id_)
            table = {**extra_fields(before), **changes}
            table = {key: value for key, value in table.items() if value is not None}
            self.tasks[id_] = self.town.run(self.town.operations.set_task_meta(before.id, TABLE, table or None))

    def add(self, record: Record, *, agent: str = "") -> str:
        """Create a task for a new record; returns the bead's id."""
        line = new_line(record)
        bead = line.bead
        if bead is None:
            raise UsageError(f"the issue cannot be created: {line.problem}")
        mapped = map_beads({**self.beads, bead.id: bead}, self.now)
        if bead.id in mapped.unmapped:
            raise UsageError(f"a {bead.issue_type} cannot be created here: {mapped.unmapped[bead.id]}")
        arguments = task_arguments(bead, mapped)
        # What it needs may go by another id in the town.
        to_task = {id_: task.id for id_, task in self.tasks.items()}
        back = {mapped.task_ids[id_]: task_id for id_, task_id in to_task.items() if id_ in mapped.task_ids}
        arguments["needs"] = [back.get(need, need) for need in arguments["needs"]]
        if arguments.get("parent"):
            arguments["parent"] = back.get(arguments["parent"], arguments["parent"])
        self.town.run(self.town.operations.add_task(**arguments, agent=agent, origin=origin_of(line, made_here=True)))
        return bead.id

    def fresh_id(self, parent: str = "") -> str:
        """An unused id: the next child of a parent, else the prefix and four or more letters or digits."""
        if parent:
            return next(id_ for number in range(1, 100_000) if (id_ := f"{parent}.{number}") not in self.records)
        for length in range(_SHORTEST, _LONGEST + 1):
            for _ in range(8):
                word = "".join(secrets.choice(_DIGITS) for _ in range(length))
                if (id_ := f"{self.store.prefix}-{word}") not in self.records:
                    return id_
        raise UsageError("no free id")


def stamp_now() -> str:
    """Now, as beads write it."""
    return stamp(datetime.now(UTC))


def cli_context(directory: str | None) -> CliContext:
    """The context of a command that is typed in `directory`."""
    context = CliContext()
    context.town = str(Path(directory)) if directory else None
    return context


def matching(board: Board, ids: Sequence[str], **wanted: Any) -> list[str]:
    """The ids of the beads that match all conditions; None and empty match everything."""

    def fits(id_: str) -> bool:
        bead, record = board.beads[id_], board.records[id_]
        return (
            (not wanted.get("status") or bead.status in wanted["status"])
            and (not wanted.get("type") or bead.issue_type in wanted["type"])
            and (wanted.get("priority") is None or bead.priority == wanted["priority"])
            and (not wanted.get("assignee") or record.get("assignee") == wanted["assignee"])
            and (not wanted.get("unassigned") or not record.get("assignee"))
            and all(label in bead.labels for label in wanted.get("labels") or ())
            and (not wanted.get("parent") or bead.parent == wanted["parent"])
        )

    return [id_ for id_ in ids if fits(id_)]


__all__ = ["Board", "Record", "cli_context", "matching", "stamp_now"]
