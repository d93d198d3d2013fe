"""What a bead can say and a task cannot: from the bead that a task was made of, and what was said since. Pure.

A task keeps the record of its bead as it was, and beside it, in the table ``bd``, the fields in which it says something
else by now: because `tt-bd` was told so, or because they were changed in a bead file. Of the record nothing else counts here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tinytown.model.tasks import Task

from tinytown_beads.bead import moment, stamp
from tinytown_beads.fields import BLOCKING_EDGES, PARENT_EDGE
from tinytown_beads.json_text import as_list, as_object, decode, encode
from tinytown_beads.task_as_bead import FORMAT, OURS, REFERENCE, TABLE

if TYPE_CHECKING:
    from tinytown_beads.bead import Bead
    from tinytown_beads.view import View

TEXTS = ("design", "acceptance_criteria", "notes", "external_ref")


def kept_fields(task: Task) -> Mapping[str, Any]:
    """The fields in which a task says something else than the bead that it was made of."""
    return as_object(task.meta.get(TABLE)) or {}


def said_by(task: Task) -> dict[str, Any]:
    """The record of the bead that a task was made of, empty for one that was none, with what has been said since."""
    origin = task.origin or {}
    record = origin.get("record")
    found: dict[str, Any] | None = None
    if origin.get("format") == FORMAT and isinstance(record, str):
        try:
            found = as_object(decode(record))
        except ValueError:
            found = None
    return {**(found or {}), **kept_fields(task)}


def beyond(record: Mapping[str, Any], id_: str) -> dict[str, Any]:
    """What the record of the bead `id_` says beyond a task, as the fields of a `View` that it fills."""
    found: dict[str, Any] = {}
    for key in TEXTS:
        text = record.get(key)
        if text and isinstance(text, str) and not (key == "external_ref" and text.startswith(REFERENCE)):
            found[key] = text
    type_ = record.get("issue_type")
    if isinstance(type_, str) and type_ not in ("", "task"):
        found["issue_type"] = type_
    if table := as_object(record.get("metadata")):
        others = {key: table[key] for key in sorted(table) if key != OURS}
        if others:
            found["metadata"] = encode(others)
    if comments := as_list(record.get("comments")):
        found["comments"] = tuple(sorted({encode(each) for each in comments if as_object(each)}))
    if edges := record.get("dependencies"):
        loose = {edge_word(edge) for edge in loose_edges(edges, id_)}
        if loose:
            found["edges"] = tuple(sorted(loose))
    return found


def loose_edges(edges: object, id_: str) -> list[dict[str, Any]]:
    """Of the edges of the bead `id_`, those that are neither needs nor its parent."""
    tied = {*BLOCKING_EDGES, PARENT_EDGE, "", None}
    return [
        edge
        for edge in map(as_object, as_list(edges) or ())
        if edge is not None and edge.get("type") not in tied and edge.get("issue_id") in (id_, "", None)
    ]


def edge_word(edge: Mapping[str, Any]) -> str:
    """An edge as a member of a set: its type and its target."""
    return f"{edge.get('type')} {edge.get('depends_on_id')}"


def in_order_of_time(comments: Iterable[str]) -> list[Any]:
    """Comments as a record has them: by their time, then by their ids."""

    def place(comment: Mapping[str, Any]) -> tuple[str, str]:
        told = str(comment.get("created_at", ""))
        when = moment(told)
        return stamp(when) if when else told, str(comment.get("id", ""))

    return sorted(map(decode, comments), key=place)


def kept_table(bead: Bead, task: Task, wanted: View, fields: Collection[str]) -> dict[str, Any]:
    """The table of a task that is to say in `fields` what is `wanted`, as its `bead` does by now."""
    table = dict(kept_fields(task))
    for name in fields:
        match name:
            case "metadata":
                table["metadata"] = decode(wanted.metadata or "{}")
            case "comments":
                table["comments"] = in_order_of_time(wanted.comments)
            case "odd_labels":
                table["labels"] = list(wanted.odd_labels)
            case "edges":
                known = [
                    *loose_edges(bead.record.get("dependencies"), bead.id),
                    *loose_edges(table.get("dependencies"), bead.id),
                ]
                by_word = {edge_word(edge): edge for edge in known}
                table["dependencies"] = [by_word[word] for word in wanted.edges if word in by_word]
            case "priority":
                table.pop("priority", None)
                if wanted.priority == "lowest" or (wanted.priority == "low" and said_by(task).get("priority") == 4):
                    table["priority"] = 4 if wanted.priority == "lowest" else 3
            case "assignee":
                table.pop("assignee", None)
            case _:
                table[name] = getattr(wanted, name)
    return table
