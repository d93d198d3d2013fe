"""The fields that beads and tasks share: a `View`, in which the two are compared. Pure.

A view of a task is compared with an earlier view of the same task, a view of a bead with one of the same bead, so what the
mapping loses is lost on both and is not a change.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from tinytown.model.tasks import Task, TaskState

from tinytown_beads.bead import moment, stamp
from tinytown_beads.extra_fields import extra_fields, extra_view_fields, record_of
from tinytown_beads.json_text import as_list

ViewState = Literal["open", "in_progress", "completed", "failed", "cancelled"]
#: Beads have one more than tasks.
ViewPriority = Literal["urgent", "high", "normal", "low", "lowest"]

#: What a task keeps in a table beside it.
EXTRA_FIELDS: tuple[str, ...] = (
    "issue_type", "design", "acceptance_criteria", "notes", "external_ref", "metadata", "comments", "edges", "odd_labels",
    "other",
)  # fmt: skip

#: The fields of a view that are merged one by one; `outcome` goes with the state, `held_until` with the hold.
COMPARED: tuple[str, ...] = (
    "title", "description", "priority", "state", "tags", "needs", "parent", "assignee", "held", *EXTRA_FIELDS,
)  # fmt: skip

#: Fields that hold a set: what one side adds or takes away never contradicts the other.
SETS = frozenset({"tags", "needs", "comments", "edges", "odd_labels"})

_STATES: dict[TaskState, ViewState] = {
    "pending": "open",
    "blocked": "open",
    "assigned": "open",
    "running": "in_progress",
    "verifying": "in_progress",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}

#: Control characters, what turns the direction of text, and halves of surrogate pairs.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9 ._-]+")


class View(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of work. `needs` and `parent` are bead ids; `outcome` is the result or the reason.

    `held` is why it must not start although its needs are done; empty if it is not held. `held_until`, in whole seconds of UTC,
    belongs to it. The fields after it have no task field: `metadata` and each of the `comments` are JSON, `edges` are types and
    targets of edges that are not needs, `odd_labels` labels that differ from their tags, `other` a JSON object of the fields in
    `extra_fields.OTHER_FIELDS`.
    """

    title: str = ""
    description: str = ""
    priority: ViewPriority = "normal"
    state: ViewState = "open"
    outcome: str = ""
    tags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    parent: str = ""
    assignee: str = ""
    held: str = ""
    held_until: str = ""
    issue_type: str = ""
    design: str = ""
    acceptance_criteria: str = ""
    notes: str = ""
    external_ref: str = ""
    metadata: str = ""
    comments: tuple[str, ...] = ()
    edges: tuple[str, ...] = ()
    odd_labels: tuple[str, ...] = ()
    other: str = ""

    @property
    def finished(self) -> bool:
        return self.state in ("completed", "failed", "cancelled")


def view_of_task(task: Task, bead_id: Callable[[str], str]) -> View:
    """The view of a task; `bead_id` gives the bead for a task's id."""
    state = _STATES[task.state]
    record = record_of(task) if task.origin or task.meta else {}
    return View(
        title=task.title,
        description=task.description,
        priority="lowest" if task.priority == "low" and record.get("priority") == 4 else task.priority,
        state=state,
        outcome=(task.result if state == "completed" else task.reason) or "" if task.finished else "",
        tags=tuple(sorted(task.tags)),
        needs=tuple(sorted(map(bead_id, task.needs))),
        parent=bead_id(task.parent) if task.parent else "",
        assignee=task.assigned_to or str(extra_fields(task).get("assignee") or ""),
        held=task.held or "",
        held_until=stamp(until) if (until := moment(task.held_until or "")) else "",
        odd_labels=tuple(label for label in odd_labels(record) if tag_of(label) in task.tags or not tag_of(label)),
        **extra_view_fields(record, bead_id(task.id)),
    )


def odd_labels(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels of a record that differ from their tags, or have none."""
    labels = as_list(record.get("labels"))
    if not labels:
        return ()
    return tuple(sorted({label for label in labels if isinstance(label, str) and tag_of(label) != label}))


def changed_fields(before: View, after: View) -> frozenset[str]:
    """The names of the fields in which two views differ."""
    if before == after:
        return frozenset()
    return frozenset(name for name in COMPARED if getattr(before, name) != getattr(after, name))


def clean_text(text: str, limit_bytes: int) -> str:
    """`text` as a town accepts it: no control characters, no half surrogate pairs, at most `limit_bytes` of UTF-8."""
    cleaned = text if text.isprintable() else _UNFIT.sub("\ufffd", text)
    if len(cleaned.encode()) <= limit_bytes:
        return cleaned
    return cleaned.encode()[: limit_bytes - 3].decode("utf-8", "ignore") + "…"


@functools.lru_cache(maxsize=4096)  # a file has few labels, on many beads
def tag_of(label: str) -> str:
    """The tag for a label, which allows fewer characters: `gt:agent` becomes `gt.agent`. Empty if nothing is left."""
    return _NOT_IN_TAGS.sub(".", label).lstrip(" ._-")[:63]
