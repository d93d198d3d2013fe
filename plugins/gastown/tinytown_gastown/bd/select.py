"""Which issues a command lists, and in which order: the flags that `list`, `ready`, `search` and `count` share."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from tinytown.errors import UsageError
from tinytown_beads.bead import moment
from tinytown_beads.fields import INFRA_TYPES, normal_type
from tinytown_beads.json_text import as_object
from tinytown_beads.ready import ready

from tinytown_gastown.bd.board import Board
from tinytown_gastown.bd.inputs import split_values
from tinytown_gastown.bd.output import priority_of
from tinytown_gastown.bd.times import parse_moment

F = TypeVar("F", bound=Callable[..., Any])

SORTS = ("priority", "created", "updated", "closed", "status", "id", "title", "type", "assignee", "hybrid", "oldest")

_MANY = {"multiple": True}
_FLAG = {"is_flag": True}
_PRIORITY = {"callback": priority_of}
#: Names, settings, and help of the flags.
_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any], str], ...] = (
    (("-s", "--status", "statuses"), _MANY, "Only with this status."),
    (("-t", "--type", "types"), _MANY, "Only this type."),
    (("--exclude-type", "exclude_types"), _MANY, "Not this type."),
    (("-p", "--priority"), _PRIORITY, "Only this priority."),
    (("--priority-min",), _PRIORITY, "This priority or a less urgent one."),
    (("--priority-max",), _PRIORITY, "This priority or a more urgent one."),
    (("-a", "--assignee"), {}, "Only this assignee."),
    (("-u", "--no-assignee", "--unassigned", "unassigned"), _FLAG, "Only without an assignee."),
    (("-l", "--label", "labels"), _MANY, "Only with all of these labels."),
    (("--label-any", "any_labels"), _MANY, "Only with one of these labels."),
    (("--label-pattern",), {}, "Only with a label of this pattern, such as tech-*."),
    (("--label-regex",), {}, "Only with a label that matches this expression."),
    (("--exclude-label", "exclude_labels"), _MANY, "Not with one of these labels."),
    (("--no-labels",), _FLAG, "Only without labels."),
    (("--parent",), {}, "Only children of this issue."),
    (("--no-parent",), _FLAG, "Only without a parent."),
    (("--id", "own_ids"), _MANY, "Only these ids."),
    (("--title", "--title-contains", "title"), {}, "Only with this text in the title."),
    (("--desc-contains", "description"), {}, "Only with this text in the description."),
    (("--notes-contains", "notes"), {}, "Only with this text in the notes."),
    (("--external-contains", "external_ref"), {}, "Only with this text in the reference."),
    (("--empty-description",), _FLAG, "Only without a description."),
    (("--metadata-field", "metadata_fields"), _MANY, "Only with this KEY=VALUE in the metadata."),
    (("--has-metadata-key", "metadata_key"), {}, "Only with this key in the metadata."),
    (("--created-after",), {}, "Only created after this."),
    (("--created-before",), {}, "Only created before this."),
    (("--updated-after",), {}, "Only changed after this."),
    (("--updated-before",), {}, "Only changed before this."),
    (("--closed-after",), {}, "Only closed after this."),
    (("--closed-before",), {}, "Only closed before this."),
    (("--due-after",), {}, "Only due after this."),
    (("--due-before",), {}, "Only due before this."),
    (("--defer-after",), {}, "Only deferred until after this."),
    (("--defer-before",), {}, "Only deferred until before this."),
    (("--deferred",), _FLAG, "Only deferred ones."),
    (("--overdue",), _FLAG, "Only those whose due date has passed."),
    (("--pinned",), _FLAG, "Only pinned ones."),
    (("--no-pinned",), _FLAG, "No pinned ones."),
    (("--spec",), {}, "Only with a specification that begins so."),
    (("--wisp-type",), {}, "Only wisps of this type."),
    (("--mol-type",), {}, "Only molecules of this type."),
    (("--mol",), {}, "Only steps of this molecule."),
    (("--ready", "only_ready"), _FLAG, "Only what is ready."),
    (("-S", "--sort"), {"type": click.Choice(SORTS)}, "Sort by this."),
    (("-r", "--reverse"), _FLAG, "The other way round."),
)  # fmt: skip
_MOMENTS = {
    "created": "created_at",
    "updated": "updated_at",
    "closed": "closed_at",
    "due": "due_at",
    "defer": "defer_until",
}
_TEXTS = ("title", "description", "notes", "external_ref")


def filter_options(command: F) -> F:
    """The flags that choose issues."""
    for names, settings, help_ in reversed(_OPTIONS):
        command = click.option(*names, help=help_, **settings)(command)
    return command


def chosen(board: Board, ids: Sequence[str], **given: Any) -> list[str]:
    """The ids among `ids` that fit all flags, in their order. Raises: UsageError; NotFound for an unknown parent."""
    filters = _Filters(board, given)
    fitting = [id_ for id_ in ids if filters.fits(id_)]
    return in_order(board, fitting, given.get("sort"), reverse=bool(given.get("reverse")))


def shown_by_default(board: Board, id_: str, statuses: Sequence[str], types: Sequence[str]) -> bool:
    """Whether a list without --all has this issue."""
    bead = board.beads[id_]
    if not statuses and (bead.closed or bead.status == "pinned"):
        return False
    return bool(types) or not (bead.flag("is_template") or bead.issue_type in INFRA_TYPES | {"gate"})


def in_order(board: Board, ids: Sequence[str], sort: str | None, *, reverse: bool) -> list[str]:
    """The ids sorted by a field; without one they keep their order."""
    keys: dict[str, Callable[[str], Any]] = {
        "priority": lambda id_: board.beads[id_].priority,
        "status": lambda id_: board.beads[id_].status,
        "id": str,
        "title": lambda id_: board.beads[id_].title.lower(),
        "type": lambda id_: board.beads[id_].issue_type,
        "assignee": lambda id_: board.beads[id_].text("assignee"),
        "oldest": lambda id_: board.beads[id_].text("created_at"),
    }
    if sort in ("created", "updated", "closed"):  # the newest first
        return sorted(ids, key=lambda id_: board.beads[id_].text(_MOMENTS[sort]), reverse=not reverse)
    ordered = sorted(ids, key=keys[sort]) if sort in keys else list(ids)
    return ordered[::-1] if reverse else ordered


class _Filters:
    """The flags of one command, checked once."""

    def __init__(self, board: Board, given: dict[str, Any]) -> None:
        self.board, self.given = board, given
        self.statuses = [status for status in split_values(given.get("statuses") or ()) if status != "all"]
        self.types = [normal_type(word) for word in split_values(given.get("types") or ())]
        self.excluded = [normal_type(word) for word in split_values(given.get("exclude_types") or ())]
        self.labels, self.any_labels, self.exclude_labels = (
            split_values(given.get(name) or ()) for name in ("labels", "any_labels", "exclude_labels")
        )
        self.ids = [board.find(word) for word in split_values(given.get("own_ids") or ())]
        self.parent = board.find(given["parent"]) if given.get("parent") else ""
        self.molecule = board.below(board.find(given["mol"])) if given.get("mol") else None
        self.moments = {
            (key, side): moment(parse_moment(given[f"{word}_{side}"]))
            for word, key in _MOMENTS.items()
            for side in ("after", "before")
            if given.get(f"{word}_{side}")
        }
        self.pairs = [_pair(word) for word in given.get("metadata_fields") or ()]
        self.ready = {bead.id for bead in ready(board.beads, board.now)} if given.get("only_ready") else None
        try:
            self.expression = re.compile(given["label_regex"]) if given.get("label_regex") else None
        except re.error as error:
            raise UsageError(f"invalid expression {given['label_regex'][:60]!r}: {error}") from error

    def fits(self, id_: str) -> bool:
        bead, given = self.board.beads[id_], self.given
        record = self.board.records[id_]
        assignee = record.get("assignee") or ""
        return (
            (not self.statuses or bead.status in self.statuses)
            and (not self.types or bead.issue_type in self.types)
            and bead.issue_type not in self.excluded
            and (given.get("priority") is None or bead.priority == given["priority"])
            and (given.get("priority_min") is None or bead.priority >= given["priority_min"])
            and (given.get("priority_max") is None or bead.priority <= given["priority_max"])
            and (not given.get("assignee") or self.board.is_same_person(assignee, given["assignee"]))
            and (not given.get("unassigned") or not assignee)
            and (not self.ids or id_ in self.ids)
            and (not self.parent or bead.parent == self.parent)
            and (not given.get("no_parent") or not bead.parent)
            and (self.molecule is None or id_ in self.molecule)
            and (self.ready is None or id_ in self.ready)
            and (not given.get("pinned") or bead.pinned)
            and (not given.get("no_pinned") or not bead.pinned)
            and self._labels_fit(bead.labels)
            and self._texts_fit(record)
            and self._moments_fit(record)
        )  # fmt: skip

    def _labels_fit(self, labels: Sequence[str]) -> bool:
        pattern = self.given.get("label_pattern")
        return (
            all(label in labels for label in self.labels)
            and (not self.any_labels or any(label in labels for label in self.any_labels))
            and not any(label in labels for label in self.exclude_labels)
            and (not self.given.get("no_labels") or not labels)
            and (not pattern or any(fnmatch.fnmatchcase(label, pattern) for label in labels))
            and (self.expression is None or any(self.expression.search(label) for label in labels))
        )

    def _texts_fit(self, record: dict[str, Any]) -> bool:
        metadata = as_object(record.get("metadata")) or {}
        return (
            all(self.given[key].lower() in str(record.get(key) or "").lower() for key in _TEXTS if self.given.get(key))
            and (not self.given.get("empty_description") or not record.get("description"))
            and all(str(metadata.get(key)) == value for key, value in self.pairs)
            and (not self.given.get("metadata_key") or self.given["metadata_key"] in metadata)
            and str(record.get("spec_id") or "").startswith(self.given.get("spec") or "")
            and all(not self.given.get(key) or record.get(key) == self.given[key] for key in ("wisp_type", "mol_type"))
        )

    def _moments_fit(self, record: dict[str, Any]) -> bool:
        for (key, side), limit in self.moments.items():
            when = moment(str(record.get(key) or ""))
            if when is None or limit is None or (when <= limit if side == "after" else when >= limit):
                return False
        due = moment(str(record.get("due_at") or ""))
        if self.given.get("overdue") and not (due and due < self.board.now and record.get("status") != "closed"):
            return False
        return not self.given.get("deferred") or record.get("status") == "deferred" or bool(record.get("defer_until"))


def _pair(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise UsageError(f"invalid metadata field {word[:80]!r} (expected key=value)")
    return key, value
