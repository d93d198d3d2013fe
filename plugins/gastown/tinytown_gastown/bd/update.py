"""``tt-bd update`` and its short forms. Each change is an operation of the town, which may refuse it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click
from tinytown.errors import UsageError
from tinytown.model.tasks import Task
from tinytown_beads.extra_fields import extra_fields
from tinytown_beads.json_text import as_object
from tinytown_beads.task_as_bead import OURS
from tinytown_cli import administration

from tinytown_gastown.bd.board import Board, Record, cli_context
from tinytown_gastown.bd.inputs import (
    ASSIGNEE,
    BODY_FILE,
    DESCRIPTION,
    DESIGN_FILE,
    PRIORITIES,
    PRIORITY,
    STDIN,
    clean_input,
    find_agent,
    given_description,
    json_object,
    metadata_value,
    split_values,
    tags_for,
    text_of_file,
    valid_type,
)
from tinytown_gastown.bd.output import Output, common_options, pass_output, priority_of
from tinytown_gastown.bd.status import claim_issue, defer_issue, move_to_status
from tinytown_gastown.bd.times import parse_moment

_TEXTS = {
    "design": "design", "acceptance": "acceptance_criteria", "external_ref": "external_ref", "spec_id": "spec_id",
    "await_id": "await_id",
}  # fmt: skip


@click.command("update")
@click.argument("words", nargs=-1, metavar="[ID...]")
@click.option("-s", "--status", help="open, in_progress, blocked, deferred, closed.")
@click.option("--claim", is_flag=True, help="Claim it if it is unassigned.")
@click.option("--title", help="The new title.")
@DESCRIPTION
@BODY_FILE
@STDIN
@PRIORITY
@ASSIGNEE
@click.option("-t", "--type", "issue_type", help="The new type.")
@click.option("--add-label", multiple=True, help="Add a label.")
@click.option("--remove-label", multiple=True, help="Remove a label.")
@click.option("--set-labels", multiple=True, help="Replace all labels.")
@click.option("--parent", help="The new parent; empty for none.")
@click.option("--notes", help="Replace the notes.")
@click.option("--append-notes", help="Append to the notes.")
@click.option("--design", help="The new design notes.")
@DESIGN_FILE
@click.option("--acceptance", "--acceptance-criteria", "acceptance", help="The new acceptance criteria.")
@click.option("--external-ref", help="A reference to another system.")
@click.option("--spec-id", help="The document that specifies it.")
@click.option("--await-id", help="What a gate waits for.")
@click.option("-e", "--estimate", type=click.IntRange(0), help="Minutes.")
@click.option("--due", metavar="TIME", help="When it is due; empty for no date.")
@click.option("--defer", metavar="TIME", help="Not before this time; empty for at once.")
@click.option("--metadata", help="Replace the metadata: a JSON object, or @FILE.")
@click.option("--set-metadata", multiple=True, metavar="KEY=VALUE", help="Set a field of the metadata.")
@click.option("--unset-metadata", multiple=True, metavar="KEY", help="Remove a field of the metadata.")
@click.option("--ephemeral", is_flag=True, help="Make it a wisp.")
@click.option("--persistent", is_flag=True, help="Make a wisp an issue.")
@click.option("--allow-empty-description", is_flag=True, help="Has no effect: an empty text is allowed.")
@click.option("--no-history", is_flag=True, help="Has no effect: a town keeps its own history.")
@click.option("--history", is_flag=True, help="Has no effect.")
@click.option("--session", help="Has no effect: rounds have ids of their own.")
@common_options
@pass_output
def update(out: Output, /, words: tuple[str, ...], **given: Any) -> None:
    """Change issues; without an ID the one that the caller works on."""
    change_issues(out, words, **given)


def change_issues(
    out: Output, words: Sequence[str], *, said: str = "Updated issue", alone: bool = False, **given: Any
) -> None:
    """Change issues by the options of ``update``. The JSON is a list, or the one issue if it is `alone`."""
    out.refuse_readonly()
    if given.get("metadata") and (given.get("set_metadata") or given.get("unset_metadata")):
        raise UsageError("cannot combine --metadata with --set-metadata or --unset-metadata")
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = board.named_or_own(words)
        for id_ in ids:
            _Change(out, board, id_, given).apply()
        board.load()
        shapes = [board.shape(id_) for id_ in ids]
        out.answer(shapes[0] if alone else shapes, [f"✓ {said}: {id_} - {board.beads[id_].title}" for id_ in ids])


class _Change:
    """The change of one issue."""

    def __init__(self, out: Output, board: Board, id_: str, given: dict[str, Any]) -> None:
        self.out, self.board, self.id, self.given = out, board, id_, given
        self.bead, self.record = board.beads[id_], board.records[id_]

    def apply(self) -> None:
        """Carry it out: texts first, then who works on it, then its status."""
        board, given = self.board, self.given
        if self.id in board.wisps:
            board.set_extra_fields(self.id, self._wisp_fields())
        else:
            self._change_task()
        if given.get("claim"):
            claim_issue(self.out, board, self.id)
        if given.get("defer"):
            defer_issue(board, self.id, parse_moment(given["defer"]))
        elif given.get("defer") is not None:
            move_to_status(self.out, board, self.id, "open")
        if given.get("status") is not None:
            move_to_status(self.out, board, self.id, given["status"])

    def _change_task(self) -> None:
        board, town, task = self.board, self.board.town, self.board.task_of(self.id)
        own = self._own_fields()
        if own:
            town.run(administration.update_task(town.operations, task.id, **own))
        board.set_extra_fields(self.id, self._kept_fields())
        if self.given.get("assignee") is not None:
            _assign(board, self.id, task, self.given["assignee"])

    def _wisp_fields(self) -> Record:
        """All fields, as a record has them."""
        given = self.given
        text = given_description(given.get("description"), given.get("body_file"), bool(given.get("stdin")))
        fields = self._kept_fields() | {
            "title": given.get("title"),
            "description": text,
            "assignee": given.get("assignee"),
        }
        if given.get("priority") is not None:
            fields["priority"] = given["priority"]
        return {key: value for key, value in fields.items() if value is not None}

    def _own_fields(self) -> dict[str, Any]:
        """Fields that a task has a place for."""
        given = self.given
        own: dict[str, Any] = {}
        own |= {} if given.get("title") is None else {"title": clean_input(given["title"])}
        text = given_description(given.get("description"), given.get("body_file"), bool(given.get("stdin")))
        own |= {} if text is None else {"description": text}
        own |= {} if given.get("priority") is None else {"priority": PRIORITIES[given["priority"]]}
        if given.get("parent") is not None:
            above = self.board.find(given["parent"]) if given["parent"] else ""
            own["parent"] = self.board.task_of(above).id if above else ""
        if self._changes_labels or given.get("issue_type") is not None:
            own["tags"] = tags_for(self._labels, self._type or self.bead.issue_type)
        return own

    def _kept_fields(self) -> Record:
        """Fields that are kept beside the task."""
        given = self.given
        kept: Record = {key: clean_input(given[name]) for name, key in _TEXTS.items() if given.get(name) is not None}
        if given.get("design_file"):
            kept["design"] = text_of_file(given["design_file"])
        if given.get("priority") is not None:
            kept["priority"] = given["priority"] if given["priority"] > 2 else None  # a town has nothing lower than low
        if given.get("notes") is not None or given.get("append_notes") is not None:
            before = self.record.get("notes") or "" if given.get("notes") is None else clean_input(given["notes"])
            kept["notes"] = "\n".join(part for part in (before, clean_input(given.get("append_notes") or "")) if part)
        if given.get("metadata") or given.get("set_metadata") or given.get("unset_metadata"):
            kept["metadata"] = self._metadata
        kept |= {"labels": self._labels} if self._changes_labels else {}
        kept |= {"issue_type": self._type} if self._type else {}
        kept |= {} if given.get("estimate") is None else {"estimated_minutes": given["estimate"]}
        if given.get("due") is not None:
            kept["due_at"] = parse_moment(given["due"]) if given["due"] else ""
        kept |= (
            {"ephemeral": True} if given.get("ephemeral") else {"ephemeral": False} if given.get("persistent") else {}
        )
        return kept

    @property
    def _type(self) -> str:
        return valid_type(self.board, self.given["issue_type"]) if self.given.get("issue_type") else ""

    @property
    def _changes_labels(self) -> bool:
        return any(self.given.get(name) for name in ("add_label", "remove_label", "set_labels"))

    @property
    def _labels(self) -> list[str]:
        given = self.given
        before = split_values(given["set_labels"]) if given.get("set_labels") else self.bead.labels
        kept = [label for label in before if label not in split_values(given.get("remove_label") or ())]
        return list(dict.fromkeys((*kept, *split_values(given.get("add_label") or ()))))

    @property
    def _metadata(self) -> Record:
        given = self.given
        if given.get("metadata"):
            return json_object(given["metadata"])
        before = as_object(self.record.get("metadata")) or {}
        metadata = {key: value for key, value in before.items() if key != OURS}
        for word in given.get("set_metadata") or ():
            key, equals, value = word.partition("=")
            if not equals or not key:
                raise UsageError(f"invalid metadata {word[:80]!r} (expected key=value)")
            metadata[key] = metadata_value(value)
        return {key: value for key, value in metadata.items() if key not in (given.get("unset_metadata") or ())}


def _assign(board: Board, id_: str, task: Task, assignee: str) -> None:
    town = board.town
    agent = find_agent(town, assignee) if assignee else ""
    if "assignee" in extra_fields(task):
        board.set_extra_fields(id_, {"assignee": None})
    if agent and task.assigned_to != agent:
        town.run(town.operations.assign_task(task.id, agent))
    elif not assignee and task.assigned_to:
        town.run(administration.requeue_task(town.operations.keys, task.id, reason="unassigned"))
    elif not agent and assignee:
        board.set_extra_fields(id_, {"assignee": assignee})


def _short_form(name: str, metavar: str, help_: str, options: Callable[[str], dict[str, Any]]) -> click.Command:
    """A command ``NAME ID VALUE`` that sets one thing."""

    @click.command(name, help=help_)
    @click.argument("word", metavar="ID")
    @click.argument("value", metavar=metavar)
    @common_options
    @pass_output
    def command(out: Output, word: str, value: str) -> None:
        change_issues(out, [word], alone=True, **options(value))

    return command


assign = _short_form("assign", "ASSIGNEE", "Assign an issue.", lambda value: {"assignee": value})
tag = _short_form("tag", "LABEL", "Add a label.", lambda value: {"add_label": [value]})
note = _short_form("note", "TEXT", "Append to the notes of an issue.", lambda value: {"append_notes": value})
priority = _short_form(
    "priority", "0-4", "Set the priority of an issue.", lambda value: {"priority": priority_of(None, None, value)}
)
