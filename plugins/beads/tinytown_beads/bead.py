"""A bead: the checked fields that matter here, beside the complete record.

Pure. Knows no file and no task; `ready` and `mapping` interpret the fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from tinytown_beads.fields import PARENT_EDGE, STATUSES, TYPE_LABELS, Category
from tinytown_beads.json_text import as_list, as_object, decode

#: What a waits-for edge waits for.
ALL_CHILDREN, ANY_CHILDREN = "all-children", "any-children"


class InvalidBead(ValueError):
    """A record that is not a bead; the message is the reason."""


class Edge(msgspec.Struct, frozen=True):
    """One dependency: `source` waits for, is a child of, or otherwise points at `target`. `gate` is of a waits-for edge."""

    source: str
    target: str
    type: str
    gate: str = ALL_CHILDREN


class Bead(msgspec.Struct, frozen=True):
    """A bead's fields. Absent texts are empty; a priority is 0 (critical) to 4; `timeout_ns` is nanoseconds."""

    record: Mapping[str, Any]
    id: str
    title: str
    status: str
    priority: int
    issue_type: str
    labels: tuple[str, ...]
    edges: tuple[Edge, ...]
    timeout_ns: int

    def text(self, key: str) -> str:
        """A field that holds text; empty if it holds none."""
        value = self.record.get(key)
        return value if isinstance(value, str) else ""

    def flag(self, key: str) -> bool:
        """A field that holds true or false."""
        return self.record.get(key) is True

    @property
    def kind(self) -> str:
        """The type, from either of its two places: a label of Gastown's, or the field."""
        return kind_of(self.labels, self.issue_type)

    @property
    def category(self) -> Category:
        """The meaning of the status; a custom one is frozen."""
        return STATUSES.get(self.status, "frozen")

    @property
    def closed(self) -> bool:
        return self.category == "done"

    @property
    def ephemeral(self) -> bool:
        return self.flag("ephemeral") or self.flag("wisp")

    @property
    def pinned(self) -> bool:
        return self.status == "pinned" or self.flag("pinned")

    @property
    def parent(self) -> str:
        """The id of the parent by its edge; a dotted id alone has no parent."""
        return next((edge.target for edge in self.edges if edge.type == PARENT_EDGE), "")

    @property
    def defer_until(self) -> datetime | None:
        return moment(self.text("defer_until"))


def kind_of(labels: Sequence[str], issue_type: str) -> str:
    """The type that labels and type field give together; see `Bead.kind`."""
    return next((TYPE_LABELS[label] for label in labels if label in TYPE_LABELS), issue_type)


def moment(text: str) -> datetime | None:
    """The moment that a timestamp of any offset and any number of decimals names, to the second; None for anything else."""
    head, dot, tail = text.partition(".")
    if dot:
        head += tail.lstrip("0123456789")
    try:
        parsed = datetime.fromisoformat(head)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def stamp(when: datetime) -> str:
    """A moment as beads have it: whole seconds of UTC."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


#: The fields that are times.
MOMENT_KEYS = ("created_at", "updated_at", "started_at", "closed_at", "due_at", "defer_until", "compacted_at")


def read_bead(record: Mapping[str, Any]) -> Bead:
    """The bead in a decoded record. Raises: NoBead."""
    title = _text(record, "title")
    if not title.strip():
        raise InvalidBead("it has no title")
    identity = _text(record, "id")
    if not identity:
        raise InvalidBead("it has no id")
    if len(identity) > 255:
        raise InvalidBead("its id is longer than 255 characters")
    priority = record.get("priority", 0)
    if not isinstance(priority, int) or isinstance(priority, bool) or not 0 <= priority <= 4:
        raise InvalidBead(f"expected a priority from 0 to 4, got {priority!r:.60}")
    timeout = record.get("timeout", 0)
    if not isinstance(timeout, int) or isinstance(timeout, bool):
        raise InvalidBead(f"expected a whole number as timeout, got {timeout!r:.60}")
    minutes = record.get("estimated_minutes")
    if minutes is not None and (not isinstance(minutes, int) or isinstance(minutes, bool) or not 0 <= minutes < 2**63):
        raise InvalidBead(f"expected a whole number of minutes as estimated_minutes, got {minutes!r:.60}")
    for key in MOMENT_KEYS:
        if not isinstance(record.get(key), str | None):
            raise InvalidBead(f"expected a time such as 2026-01-14T09:30:00Z as {key}, got {record[key]!r:.60}")
    labels = as_list(record.get("labels") or [])
    if labels is None or not all(isinstance(label, str) for label in labels):
        raise InvalidBead("expected labels to be a list of strings")
    return Bead(
        record=record,
        id=identity,
        title=title,
        status=_text(record, "status") or "open",
        priority=priority,
        issue_type=_text(record, "issue_type") or "task",
        labels=tuple(labels),
        edges=_edges(record, identity),
        timeout_ns=timeout,
    )


def _edges(record: Mapping[str, Any], owner: str) -> tuple[Edge, ...]:
    if not record.get("dependencies"):
        return ()
    items = as_list(record["dependencies"])
    if items is None:
        raise InvalidBead("expected dependencies to be a list")
    edges: list[Edge] = []
    for item in map(as_object, items):
        if item is None:
            raise InvalidBead("expected every dependency to be an object")
        target = _text(item, "depends_on_id")
        if not target:
            raise InvalidBead("a dependency has no depends_on_id")
        edges.append(Edge(_text(item, "issue_id") or owner, target, _text(item, "type") or "blocks", gate_of(item)))
    return tuple(edges)


def gate_of(edge: Mapping[str, Any]) -> str:
    """Which children a waits-for edge waits for: its metadata is a text that holds JSON."""
    metadata = edge.get("metadata")
    try:
        table = as_object(decode(metadata) if isinstance(metadata, str) else metadata)
    except ValueError:
        table = None
    return ANY_CHILDREN if table and table.get("gate") == ANY_CHILDREN else ALL_CHILDREN


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidBead(f"expected {key} to be a string")
    return value
