"""The town as beads, for one command: the lines of an export, each with its task.

Bead fields without a task field (design, notes, comments, a type) are kept beside the task; see `tinytown_beads.extra_fields`.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
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
from tinytown_beads.merge import last_part
from tinytown_beads.origins import BeadIds, made_here, origin_of
from tinytown_beads.settings import read_settings
from tinytown_beads.store import BeadStore, open_store
from tinytown_beads.task_as_bead import TABLE
from tinytown_cli import administration
from tinytown_cli.public import CliContext, TownClient

from tinytown_gastown.bd.wisps import DATA, read_wisps, write_wisps

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
#: Letters and digits of a new id.
_SHORTEST, _LONGEST = 4, 8

#: What begins the fields of the plugin's data that hold configuration.
CONFIG = "config."

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
        self.wisps = read_wisps(self.town)
        beads = {**beads_of(exported.lines), **beads_of(map(new_line, self.wisps.values()))}
        state = read_town(self.town)
        self.as_tasks = made_here(state.tasks.values())
        known = map_beads(beads, self.now, limit_bytes=self.town.config.limits.message_bytes, as_tasks=self.as_tasks)
        ids = BeadIds(state.tasks.values(), self.store.prefix, known.task_ids)
        self.tasks: dict[str, Task] = {ids(task.id): task for task in state.tasks.values()}
        self.beads: dict[str, Bead] = beads
        self.records: dict[str, Record] = {id_: dict(bead.record) for id_, bead in beads.items()}
        self._dependents: dict[str, list[tuple[str, str]]] = {}
        for bead in beads.values():
            for edge in bead.edges:
                if edge.source == bead.id:
                    self._dependents.setdefault(edge.target, []).append((bead.id, edge.type))

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

    def named_or_own(self, words: Sequence[str]) -> list[str]:
        """The ids that `words` mean; without any, the one that the caller works on.

        Raises: NotFound; UsageError if it works on none.
        """
        own = [id_ for id_, task in self.tasks.items() if task.id == self.town.caller.task_id]
        if ids := [self.find(word) for word in words] or own:
            return ids
        raise UsageError("no issue ID provided and no last touched issue")

    def is_known(self, word: str) -> bool:
        """Whether `find` finds exactly one bead."""
        try:
            return bool(self.find(word))
        except (NotFound, UsageError):
            return False

    def task_of(self, id_: str) -> Task:
        """The task of a bead. Raises: UsageError for a record without one, such as a message or an agent, and for a wisp."""
        if id_ in self.wisps:
            raise UsageError(f"{id_} is a wisp; a task cannot depend on it or be part of it")
        if id_ not in self.tasks:
            raise UsageError(
                f"{id_} is a {self.beads[id_].issue_type} that was imported as a record; it cannot be changed here"
            )
        return self.tasks[id_]

    def shape(self, id_: str) -> Record:
        """A bead as `bd --json` lists it: its record with counts and its parent."""
        bead = self.beads[id_]
        record = self.brief(id_)
        if edges := as_list(self.records[id_].get("dependencies")):
            usual = {"created_by": str(record.get("created_by") or ""), "metadata": "{}"}
            record["dependencies"] = [usual | (as_object(edge) or {}) for edge in edges]
        outgoing = [edge for edge in bead.edges if edge.source == id_]
        record |= {
            "dependency_count": len(outgoing),
            "dependent_count": len(self.dependents(id_)),
            "comment_count": len(self.comments(id_)),
        }
        parent = next((edge.target for edge in outgoing if edge.type == PARENT_EDGE), "")
        return record | ({"parent": parent} if parent else {})

    def brief(self, id_: str) -> Record:
        """The record of a bead without its edges and comments."""
        hidden = ("_type", "comments", "dependencies", "labels")
        record = {key: value for key, value in self.records[id_].items() if key not in hidden}
        return record | ({"labels": sorted(self.beads[id_].labels)} if self.beads[id_].labels else {})

    def neighbour(self, id_: str, type_: str) -> Record:
        """A bead at the other end of an edge."""
        return self.brief(id_) | {"dependency_type": type_}

    def detail(self, id_: str, *, dependents: bool = False) -> Record:
        """A bead as `bd show --json` shows it: with the issues that it depends on, and its comments."""
        shape = self.shape(id_)
        edges = [edge for edge in self.beads[id_].edges if edge.source == id_ and edge.target in self.beads]
        shape.pop("dependencies", None)
        shape |= {"dependencies": [self.neighbour(edge.target, edge.type) for edge in edges]} if edges else {}
        if dependents:
            shape["dependents"] = [self.neighbour(other, type_) for other, type_ in self.dependents(id_)]
            shape |= self._progress(id_) if self.beads[id_].issue_type == "epic" else {}
        comments = self.comments(id_)
        return shape | ({"comments": comments} if comments else {})

    def _progress(self, id_: str) -> Record:
        children = self.children(id_)
        closed = sum(self.beads[child].closed for child in children)
        is_closeable = 0 < closed == len(children)
        return {"epic_total_children": len(children), "epic_closed_children": closed, "epic_closeable": is_closeable}

    def dependents(self, id_: str) -> list[tuple[str, str]]:
        """The beads with an edge to this one, and its type."""
        return self._dependents.get(id_, [])

    def children(self, id_: str) -> list[str]:
        """The children of a bead, in their order."""
        return [other for other, type_ in self.dependents(id_) if type_ == PARENT_EDGE]

    def below(self, id_: str) -> list[str]:
        """All descendants of a bead."""
        below: list[str] = []
        pending = [id_]
        while pending:
            children = [child for child in self.children(pending.pop(0)) if child not in below and child != id_]
            below += children
            pending += children
        return below

    @staticmethod
    def is_same_person(one: str, other: str) -> bool:
        """Whether two assignees are one: paths such as ``shop/polecats/nux`` by their last part."""
        return one == other or bool(one and other and last_part(one) == last_part(other))

    def comments(self, id_: str) -> list[Record]:
        """The comments of a bead, oldest first."""
        items = as_list(self.records[id_].get("comments")) or []
        return [item for item in map(as_object, items) if item is not None]

    def words(self, key: str) -> list[str]:
        """The words of a list in the configuration that ``tt-bd config set`` keeps."""
        value = self.town.run(self.town.operations.plugin_field(DATA, CONFIG + key))
        return [word.partition(":")[0].strip() for word in str(value or "").split(",") if word.strip()]

    def set_extra_fields(self, id_: str, changes: Mapping[str, Any]) -> None:
        """Set bead fields that a task has no place for, or any field of a wisp; None removes one."""
        if id_ in self.wisps:
            self._change_wisp(id_, changes)
        elif changes:
            before = self.task_of(id_)
            table = {**extra_fields(before), **changes}
            table = {key: value for key, value in table.items() if value is not None}
            self.tasks[id_] = self.town.run(
                administration.set_task_meta(self.town.operations.keys, before.id, TABLE, table or None)
            )

    def add(self, record: Record, *, agent: str = "") -> str:
        """Create a task for a new record, or for an ephemeral one a wisp; returns the bead's id."""
        if record.get("ephemeral"):
            write_wisps(self.town, [record], self.wisps)
            return str(record["id"])
        line = new_line(record)
        bead = line.bead
        if bead is None:
            raise UsageError(f"the issue cannot be created: {line.problem}")
        as_tasks = {*self.as_tasks, bead.id}
        mapped = map_beads({**self.beads, bead.id: bead}, self.now, as_tasks=as_tasks)
        arguments = task_arguments(bead, mapped)
        # What it needs may go by another id in the town.
        to_task = {id_: task.id for id_, task in self.tasks.items()}
        back = {mapped.task_ids[id_]: task_id for id_, task_id in to_task.items() if id_ in mapped.task_ids}
        arguments["needs"] = [back.get(need, need) for need in arguments["needs"]]
        if arguments.get("parent"):
            arguments["parent"] = back.get(arguments["parent"], arguments["parent"])
        self.town.run(self.town.operations.add_task(**arguments, agent=agent, origin=origin_of(line, made_here=True)))
        return bead.id

    def _change_wisp(self, id_: str, changes: Mapping[str, Any]) -> None:
        record = {**self.wisps[id_], **changes, "updated_at": stamp_now()}
        record = {key: value for key, value in record.items() if value is not None}
        if record.get("ephemeral") is False:  # it stays from now on
            self.add({key: value for key, value in record.items() if key not in ("ephemeral", "wisp_type")})
            write_wisps(self.town, [], self.wisps, gone=[id_])
        else:
            write_wisps(self.town, [record], self.wisps)
            self.wisps[id_] = record

    def add_wisps(self, records: Sequence[Record]) -> None:
        """Create wisps, all at once."""
        write_wisps(self.town, records, self.wisps)

    def remove_wisps(self, ids: Collection[str]) -> None:
        """Remove wisps without a trace."""
        write_wisps(self.town, [], self.wisps, gone=ids)

    def fresh_id(self, parent: str = "", infix: str = "") -> str:
        """An unused id: the next child of a parent, else the prefix, an infix, and four or more letters or digits."""
        if parent:
            return next(id_ for number in range(1, 100_000) if (id_ := f"{parent}.{number}") not in self.records)
        for length in range(_SHORTEST, _LONGEST + 1):
            for _ in range(8):
                word = "".join(secrets.choice(_DIGITS) for _ in range(length))
                if (id_ := f"{self.store.prefix}-{infix}{word}") not in self.records:
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
