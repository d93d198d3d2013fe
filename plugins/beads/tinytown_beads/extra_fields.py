"""Bead fields that a task has no place for: from the record of its bead, and their later values. Pure.

A task keeps the record of its bead unchanged, and beside it, in the table ``bd``, the fields that have changed since, by
`tt-bd` or in a bead file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tinytown.model.tasks import Task

from tinytown_beads.bead import ANY_CHILDREN, gate_of, moment, stamp
from tinytown_beads.fields import BLOCKING_EDGES, CHILDREN_EDGE, PARENT_EDGE
from tinytown_beads.json_text import as_list, as_object, decode, encode
from tinytown_beads.task_as_bead import FORMAT, OURS, REFERENCE, TABLE

#: Fields that are compared together, because they change seldom.
OTHER_FIELDS = ("due_at", "estimated_minutes", "spec_id", "await_id", "waiters")
TEXTS = ("design", "acceptance_criteria", "notes", "external_ref")


def extra_fields(task: Task) -> Mapping[str, Any]:
    """The fields of a task's bead that differ from its imported record."""
    return as_object(task.meta.get(TABLE)) or {}


def record_of(task: Task) -> dict[str, Any]:
    """The imported record of a task's bead, empty for a task of our own, with the fields that changed since."""
    origin = task.origin or {}
    record = origin.get("record")
    record_fields: dict[str, Any] | None = None
    if origin.get("format") == FORMAT and isinstance(record, str):
        try:
            record_fields = as_object(decode(record))
        except ValueError:
            record_fields = None
    return {**(record_fields or {}), **extra_fields(task)}


def extra_view_fields(record: Mapping[str, Any], id_: str) -> dict[str, Any]:
    """The fields of a `View` that the record of the bead `id_` fills beyond a task."""
    fields: dict[str, Any] = {}
    for key in TEXTS:
        text = record.get(key)
        if text and isinstance(text, str) and not (key == "external_ref" and text.startswith(REFERENCE)):
            fields[key] = text
    type_ = record.get("issue_type")
    if isinstance(type_, str) and type_ not in ("", "task"):
        fields["issue_type"] = type_
    if table := as_object(record.get("metadata")):
        others = {key: table[key] for key in sorted(table) if key != OURS}
        if others:
            fields["metadata"] = encode(others)
    other = {key: record[key] for key in OTHER_FIELDS if _is_plain(record.get(key))}
    if other:
        fields["other"] = encode(other)
    if comments := as_list(record.get("comments")):
        fields["comments"] = tuple(sorted({encode(comment) for comment in comments if as_object(comment)}))
    if edges := record.get("dependencies"):
        loose = {edge_key(edge) for edge in other_edges(edges, id_)}
        if loose:
            fields["edges"] = tuple(sorted(loose))
    return fields


def _is_plain(value: object) -> bool:
    """Whether a value is one that such a field can have, and not empty."""
    if (items := as_list(value)) is not None:
        return bool(items) and all(isinstance(item, str) for item in items)
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, str) and bool(value))


def other_edges(edges: object, id_: str) -> list[dict[str, Any]]:
    """The edges of the bead `id_` that are neither needs nor its parent."""
    tied = {*BLOCKING_EDGES, PARENT_EDGE, "", None}
    return [
        edge
        for edge in map(as_object, as_list(edges) or ())
        if edge is not None and edge.get("type") not in tied and edge.get("issue_id") in (id_, "", None)
    ]


def edge_key(edge: Mapping[str, Any]) -> str:
    """An edge as a member of a set: type, what else than all children it waits for, and target."""
    gate = f":{ANY_CHILDREN}" if edge.get("type") == CHILDREN_EDGE and gate_of(edge) == ANY_CHILDREN else ""
    return f"{edge.get('type')}{gate} {edge.get('depends_on_id')}"


def sorted_comments(comments: Iterable[str]) -> list[Any]:
    """Comments in the order of a record: by time, then by id."""

    def sort_key(comment: Mapping[str, Any]) -> tuple[str, str]:
        created_at = str(comment.get("created_at", ""))
        when = moment(created_at)
        return stamp(when) if when else created_at, str(comment.get("id", ""))

    return sorted(map(decode, comments), key=sort_key)
