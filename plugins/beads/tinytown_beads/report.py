"""The report of an import, export or sync: an outcome per bead, counts, and what is not supported. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import msgspec

from tinytown_beads.fields import DROPPED_KEYS, ISSUE_KEYS
from tinytown_beads.json_text import as_list, as_object

Outcome = Literal[
    "created", "updated", "unchanged", "skipped", "unmapped", "conflict", "missing", "written", "appended", "forgotten"
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

_ROWS_SHOWN = 20
_IDS_SHOWN = 5
_KEPT_KEYS = frozenset(ISSUE_KEYS) - frozenset(DROPPED_KEYS)


class Row(msgspec.Struct, frozen=True):
    """One bead: its outcome, the fields, and the reason."""

    id: str
    outcome: Outcome
    fields: tuple[str, ...] = ()
    reason: str = ""


@dataclass(slots=True)
class Report:
    """What a command did with one bead file. `notes` list, by bead, what the other side does not support."""

    command: str
    file: str
    dry_run: bool = False
    rows: list[Row] = field(default_factory=list[Row])
    problems: list[str] = field(default_factory=list[str])
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    unmapped: Mapping[str, str] = field(default_factory=dict[str, str])
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    file_changed: bool = False
    bd_skipped: tuple[str, ...] = ()
    #: Beads of the file that the database does not have and does not get: deleted there, or of an unknown past.
    bd_lacks: tuple[str, ...] = ()

    def add(self, id_: str, outcome: Outcome, fields: Iterable[str] = (), reason: str = "") -> None:
        """Add one bead."""
        self.rows.append(Row(id_, outcome, tuple(fields), reason))

    @property
    def counts(self) -> dict[str, int]:
        """The number of beads per outcome; `unmapped` are kept in the file and not tasks."""
        counts_by_outcome = Counter(row.outcome for row in self.rows)
        return {outcome: counts_by_outcome[outcome] for outcome in OUTCOMES}

    @property
    def is_complete(self) -> bool:
        """Whether nothing was left out: no invalid line, no bead that the town or `bd` refused, no conflict."""
        left_out = self.counts["skipped"] + self.counts["conflict"]
        return not (self.problems or self.bd_skipped or left_out)

    @property
    def shape(self) -> dict[str, Any]:
        """The report as ``--json`` prints it. Unchanged beads are counted, not listed."""
        return {
            "command": self.command,
            "file": self.file.encode("utf-8", "replace").decode(),  # a name need not be UTF-8
            "dry_run": self.dry_run,
            "file_changed": self.file_changed,
            **self.counts,
            "beads": [
                {"id": row.id, "outcome": row.outcome, "fields": row.fields, "reason": row.reason}
                for row in self.rows
                if row.outcome != "unchanged"
            ],
            "problems": self.problems,
            "notes": [{"id": id_, "note": note} for id_, notes in self.notes.items() for note in notes],
            "kept_kinds": dict(Counter(self.unmapped.values())),
            "bd_drops": dict(self.dropped),
            "bd_skipped": self.bd_skipped,
            "bd_lacks": self.bd_lacks,
        }

    def lines(self) -> list[str]:
        """The report for people."""
        shown = [
            row for row in self.rows if row.outcome in ("skipped", "conflict", "missing") or (row.reason and row.fields)
        ]
        lines = [f"{row.outcome} {row.id}{_fields(row)}{': ' + row.reason if row.reason else ''}" for row in shown]
        lines += [f"note {id_}: {note}" for id_, notes in self.notes.items() for note in notes]
        if len(lines) > _ROWS_SHOWN:
            lines = [*lines[:_ROWS_SHOWN], f"and {len(lines) - _ROWS_SHOWN} more: --json lists them"]
        lines = [f"problem: {problem}" for problem in self.problems[:_ROWS_SHOWN]] + lines
        if self.unmapped:
            kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(self.unmapped.values()).most_common())
            lines.append(f"kept in the file, not imported as tasks: {kinds}")
        if self.dropped:
            fields = ", ".join(f"{name} of {count}" for name, count in self.dropped.items())
            lines.append(f"bd import will drop: {fields}")
        lines += [f"bd skipped {skipped}" for skipped in self.bd_skipped]
        if self.bd_lacks:
            ids, more = ", ".join(self.bd_lacks[:_IDS_SHOWN]), len(self.bd_lacks) - _IDS_SHOWN
            named = f"{ids} and {more} more" if more > 0 else ids
            lines.append(f"not in the database: {named} (bd import {self.file} adds what is only in the file)")
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items() if count)
        lines.append(f"{self.command} of {self.file}: {counts or 'nothing'}" + self._dry)
        return lines

    @property
    def _dry(self) -> str:
        return " (dry run: nothing changed)" if self.dry_run else ""


def _fields(row: Row) -> str:
    return f" ({', '.join(row.fields)})" if row.fields else ""


def dropped_by_bd(records: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The number of records per field, of their own or of an edge, that `bd import` accepts and does not store."""
    counts: Counter[str] = Counter()
    for record in records:
        if lost := record.keys() - _KEPT_KEYS:
            counts.update(lost)
        if not record.get("dependencies"):
            continue
        edges = [as_object(edge) or {} for edge in as_list(record["dependencies"]) or []]
        for key in ("metadata", "thread_id", "created_by"):
            counts[f"dependencies.{key}"] += any(edge.get(key) not in (None, "", "{}") for edge in edges)
    return {key: count for key, count in sorted(counts.items()) if count}
