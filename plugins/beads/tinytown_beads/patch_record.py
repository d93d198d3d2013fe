"""The changes of a bead's record that follow from its task, and the record of a new bead. Pure.

Only changed fields are touched; the rest of a record stays as it is spelled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tinytown.model.tasks import Task

from tinytown_beads.bead import ALL_CHILDREN, Bead, moment, stamp
from tinytown_beads.extra_fields import OTHER_FIELDS, edge_key, other_edges, sorted_comments
from tinytown_beads.fields import BLOCKING_EDGES, CHILDREN_EDGE, PARENT_EDGE
from tinytown_beads.json_text import ABSENT, as_object, decode, encode
from tinytown_beads.task_as_bead import OURS, PRIORITIES, REFERENCE, bead_title, close_reason, extras_for, extras_of
from tinytown_beads.view import View, tag_of, view_of_task


def changes_to(bead: Bead, was: View, now: View, fields: Collection[str], when: datetime) -> dict[str, Any]:
    """New values for the record of `bead`, after its task's view changed in `fields` from `was` to `now`.

    Sets apply additions and removals, and keep members that only the bead has.
    """
    changes: dict[str, Any] = {}
    for name in fields:
        match name:
            case "title":
                changes["title"] = now.title or bead.title
                if not bead.text("description").strip() and not _has_the_title_for_text(bead, now):
                    changes["description"] = now.description  # without one it would be the new title
            case "description":
                if not _has_the_title_for_text(bead, now):
                    changes["description"] = now.description
            case "priority":
                changes["priority"] = PRIORITIES[now.priority]
            case "design" | "acceptance_criteria" | "notes" | "external_ref":
                changes[name] = getattr(now, name) or ABSENT
            case "issue_type":
                changes["issue_type"] = now.issue_type or "task"
            case "metadata":
                changes["metadata"] = _metadata(bead, now) or ABSENT
            case "other":
                changes |= dict.fromkeys(OTHER_FIELDS, ABSENT) | _object(now.other)
            case "comments":
                changes["comments"] = sorted_comments(now.comments) or ABSENT
            case "state":
                changes |= _status(bead, now, when)
            case "tags" | "odd_labels":
                changes["labels"] = _labels(bead, was, now) or ABSENT
            case "needs" | "parent" | "edges":
                changes["dependencies"] = _dependencies(bead, was, now, fields, when) or ABSENT
            case "assignee":
                changes["assignee"] = now.assignee or ABSENT
            case "held":
                changes |= _deferral(bead, now)
            case _:
                raise AssertionError(name)
    changes = {key: value for key, value in changes.items() if bead.record.get(key, ABSENT) != value}
    if changes:
        changes["updated_at"] = _later(bead, when)
    return changes


def _has_the_title_for_text(bead: Bead, now: View) -> bool:
    """Whether a bead without a description is still what its task says, whose text is then the title."""
    return not bead.text("description").strip() and now.description == (now.title or bead.title)


def _later(bead: Bead, when: datetime) -> str:
    """A time that `bd import` does not consider stale."""
    before = moment(bead.text("updated_at"))
    return stamp(max(when, before + timedelta(seconds=1)) if before else when)


def _status(bead: Bead, now: View, when: datetime) -> dict[str, Any]:
    if now.finished:
        closed = {"status": "closed", "closed_at": bead.text("closed_at") or stamp(when)}
        return {**closed, "close_reason": close_reason(now.state, now.outcome) or ABSENT}
    changes: dict[str, Any] = {"status": now.state, "closed_at": ABSENT, "close_reason": ABSENT}
    if now.state == "in_progress":
        changes["started_at"] = bead.text("started_at") or stamp(when)
    return changes


def _labels(bead: Bead, was: View, now: View) -> list[str]:
    gone, added = set(was.tags) - set(now.tags), set(now.tags) - set(was.tags)
    odd_gone, odd_added = set(was.odd_labels) - set(now.odd_labels), set(now.odd_labels) - set(was.odd_labels)
    kept = [label for label in bead.labels if tag_of(label) not in gone and label not in odd_gone]
    kept += sorted(odd_added.difference(kept))
    known = {tag_of(label) for label in kept} | {tag_of(now.issue_type)}
    return kept + sorted(tag for tag in added if tag not in known)


def _dependencies(bead: Bead, was: View, now: View, fields: Collection[str], when: datetime) -> list[dict[str, Any]]:
    gone = set(was.needs) - set(now.needs) if "needs" in fields else set[str]()
    added = sorted(set(now.needs) - set(was.needs)) if "needs" in fields else []
    loose_gone = set(was.edges) - set(now.edges) if "edges" in fields else set[str]()
    loose = {edge_key(edge) for edge in other_edges(bead.record.get("dependencies"), bead.id)}
    kept: list[dict[str, Any]] = []
    for item in bead.record.get("dependencies") or ():
        edge = as_object(item) or {}
        type_ = edge.get("type") or "blocks"
        if type_ in BLOCKING_EDGES and edge.get("depends_on_id") in gone:
            continue
        if type_ == PARENT_EDGE and "parent" in fields:
            continue
        if edge_key(edge) in loose & loose_gone:
            continue
        kept.append(edge)
    targets = {edge.get("depends_on_id") for edge in kept}
    wanted = [(need, "blocks") for need in added]
    if "edges" in fields:
        wanted += [_loose(word) for word in now.edges if word not in loose]
    if "parent" in fields and now.parent:
        wanted.append((now.parent, PARENT_EDGE))
    return kept + [edge_record(bead.id, target, type_, when) for target, type_ in wanted if target not in targets]


def _loose(word: str) -> tuple[str, str]:
    type_, _, target = word.partition(" ")
    return target, type_


def _metadata(bead: Bead, now: View) -> dict[str, Any]:
    """The metadata that the town wants, with our own entry unchanged."""
    ours = (as_object(bead.record.get("metadata")) or {}).get(OURS)
    wanted = as_object(decode(now.metadata)) if now.metadata else None
    return {**(wanted or {}), **({} if ours is None else {OURS: ours})}


def _object(text: str) -> dict[str, Any]:
    return as_object(decode(text or "{}")) or {}


def edge_record(source: str, target: str, type_: str, when: datetime) -> dict[str, Any]:
    """An edge on the line of `source`. The type of one that waits for any child has that behind a colon."""
    name, _, gate = type_.partition(":") if type_.startswith(f"{CHILDREN_EDGE}:") else (type_, "", "")
    edge = {"issue_id": source, "depends_on_id": target, "type": name, "created_at": stamp(when)}
    if name == CHILDREN_EDGE:
        edge["metadata"] = encode({"gate": gate or ALL_CHILDREN})
    return edge


def _deferral(bead: Bead, now: View) -> dict[str, Any]:
    if now.finished:
        return {}
    if now.held:
        return {"status": "deferred", "defer_until": now.held_until or ABSENT}
    freed: dict[str, Any] = {"defer_until": ABSENT}
    if bead.category == "frozen" or bead.status == "blocked":
        freed["status"] = now.state
    return freed


def new_record(task: Task, id_: str, bead_id: Callable[[str], str], when: datetime) -> dict[str, Any]:
    """The record of a task that has no bead yet, with the id `id_`; `bead_id` gives the beads of other tasks."""
    view = view_of_task(task, bead_id)
    begun = moment(task.created_at or "") or when
    blank = Bead(
        record={}, id=id_, title="", status="open", priority=2, issue_type="task", labels=(), edges=(), timeout_ns=0
    )
    record: dict[str, Any] = {
        "_type": "issue",
        "id": id_,
        "title": bead_title(task),
        "description": task.description,
        "design": view.design,
        "acceptance_criteria": view.acceptance_criteria,
        "notes": view.notes,
        "status": "open",
        "priority": PRIORITIES[view.priority],
        "issue_type": view.issue_type or "task",
        "assignee": view.assignee,
        "created_at": stamp(begun),
        "created_by": OURS,
        "updated_at": stamp(moment(task.updated_at or "") or begun),
        "started_at": stamp(moment(task.started_at or "") or begun) if task.started_at else "",
        "external_ref": view.external_ref or REFERENCE + task.id,
        "source_system": OURS,
        "metadata": {**(_object(view.metadata)), OURS: extras_for(task)},
        "labels": _own_labels(task, view),
        "comments": sorted_comments(view.comments),
        **_object(view.other),
    }
    edges = list(_edges(id_, view, begun))
    if edges:
        record["dependencies"] = edges
    if view.state != "open":
        record |= _status(blank, view, moment(task.completed_at or "") or when)
    if view.held and not view.finished:
        record |= _deferral(blank, view)
    return {key: value for key, value in record.items() if value not in ("", [], ABSENT)}


def _own_labels(task: Task, view: View) -> list[str]:
    spelled = {tag_of(label): label for label in view.odd_labels}
    tags = [spelled.get(tag, tag) for tag in task.tags if tag != tag_of(view.issue_type)]
    return [*tags, *(label for label in view.odd_labels if label not in tags)]


def _edges(id_: str, view: View, when: datetime) -> Iterable[dict[str, Any]]:
    if view.parent:
        yield edge_record(id_, view.parent, PARENT_EDGE, when)
    for need in view.needs:
        if need != view.parent:
            yield edge_record(id_, need, "blocks", when)
    tied = {view.parent, *view.needs}
    for target, type_ in map(_loose, view.edges):
        if target not in tied:
            yield edge_record(id_, target, type_, when)


def refreshed_metadata(bead: Bead, task: Task, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a bead of ours after its task and the fields in `changes` changed; entries of others are preserved.

    Empty if it is up to date.
    """
    before = extras_of(bead)
    if not before:
        return {}
    extras = extras_for(task)
    if extras.get("state") == before.get("state"):
        # A task that was made in its final state has no words for how it came there.
        extras |= {name: before[name] for name in ("result", "reason") if name in before and name not in extras}
    if before.get("needs") == [task.parent]:
        extras.setdefault("needs", [task.parent])  # dropped when it was read, because it was closed undone
    metadata = as_object(changes.get("metadata", bead.record.get("metadata"))) or {}
    return {} if before == extras else {"metadata": {**metadata, OURS: extras}}
