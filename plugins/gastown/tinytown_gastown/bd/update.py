"""``tt-bd update`` and ``tt-bd label``. Each change is an operation of the town, which may refuse it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from tinytown.errors import UsageError
from tinytown.model.tasks import Task
from tinytown_beads.extra_fields import extra_fields
from tinytown_beads.json_text import as_object
from tinytown_beads.task_as_bead import OURS

from tinytown_gastown.bd.board import Board, cli_context
from tinytown_gastown.bd.inputs import (
    ASSIGNEE,
    DESCRIPTION,
    PRIORITIES,
    PRIORITY,
    clean_input,
    find_agent,
    split_values,
    tags_for,
)
from tinytown_gastown.bd.output import Output, common_options, pass_output
from tinytown_gastown.bd.status import claim_task, move_to_status


@click.command("update")
@click.argument("words", nargs=-1, required=True, metavar="ID...")
@click.option("-s", "--status", help="open, in_progress, blocked, deferred, closed.")
@click.option("--claim", is_flag=True, help="Claim it if it is unassigned.")
@click.option("--title", help="The new title.")
@DESCRIPTION
@PRIORITY
@ASSIGNEE
@click.option("-t", "--type", "issue_type", help="The new type.")
@click.option("--add-label", multiple=True, help="Add a label.")
@click.option("--remove-label", multiple=True, help="Remove a label.")
@click.option("--notes", help="Replace the notes.")
@click.option("--append-notes", help="Append to the notes.")
@click.option("--design", help="The new design notes.")
@click.option("--acceptance", help="The new acceptance criteria.")
@click.option("--external-ref", help="A reference to another system.")
@click.option("--set-metadata", multiple=True, metavar="KEY=VALUE", help="Set a field of the metadata.")
@common_options
@pass_output
def update(out: Output, /, words: tuple[str, ...], **given: Any) -> None:
    """Change issues."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [board.find(word) for word in words]
        for id_ in ids:
            _update(out, board, id_, **given)
        board.load()
        out.answer([board.shape(id_) for id_ in ids], [f"Updated issue: {id_}" for id_ in ids])


def _update(out: Output, board: Board, id_: str, *, status: str | None, claim: bool, title: str | None,
            description: str | None, priority: int | None, assignee: str | None, issue_type: str | None,
            add_label: Sequence[str], remove_label: Sequence[str], notes: str | None, append_notes: str | None,
            design: str | None, acceptance: str | None, external_ref: str | None,
            set_metadata: Sequence[str]) -> None:  # fmt: skip
    town, task, record = board.town, board.task_of(id_), board.records[id_]
    own: dict[str, Any] = {}
    own |= {} if title is None else {"title": clean_input(title)}
    own |= {} if description is None else {"description": clean_input(description)}
    own |= {} if priority is None else {"priority": PRIORITIES[priority]}
    texts = {
        "issue_type": issue_type, "design": design, "acceptance_criteria": acceptance, "external_ref": external_ref,
    }  # fmt: skip
    kept: dict[str, Any] = {key: clean_input(value) for key, value in texts.items() if value is not None}
    if priority is not None:
        kept["priority"] = priority if priority > 2 else None  # there is nothing lower than low in a town
    if notes is not None or append_notes is not None:
        before = (record.get("notes") or "") if notes is None else clean_input(notes)
        kept["notes"] = "\n".join(part for part in (before, clean_input(append_notes or "")) if part)
    if set_metadata:
        metadata = as_object(record.get("metadata")) or {}
        others = {key: value for key, value in metadata.items() if key != OURS}
        kept["metadata"] = {**others, **dict(map(_pair, set_metadata))}
    if add_label or remove_label or issue_type is not None:
        labels = [label_ for label_ in board.beads[id_].labels if label_ not in split_values(remove_label)]
        labels = list(dict.fromkeys((*labels, *split_values(add_label))))
        own["tags"] = tags_for(labels, issue_type or board.beads[id_].issue_type)
        kept["labels"] = labels
    if own:
        town.run(town.operations.update_task(task.id, **own))
    board.set_extra_fields(id_, kept)
    if claim:
        claim_task(out, board, id_, task)
    if assignee is not None:
        _assign(board, id_, task, assignee)
    if status is not None:
        move_to_status(out, board, id_, task, status)


def _pair(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise UsageError(f"invalid metadata {word[:80]!r} (expected key=value)")
    return key, value


def _assign(board: Board, id_: str, task: Task, assignee: str) -> None:
    town = board.town
    agent = find_agent(town, assignee) if assignee else ""
    if "assignee" in extra_fields(task):
        board.set_extra_fields(id_, {"assignee": None})
    if agent and task.assigned_to != agent:
        town.run(town.operations.assign_task(task.id, agent))
    elif not assignee and task.assigned_to:
        town.run(town.operations.requeue_task(task.id, reason="unassigned"))
    elif not agent and assignee:
        board.set_extra_fields(id_, {"assignee": assignee})


@click.command("label")
@click.argument("verb", type=click.Choice(["add", "remove", "list"]))
@click.argument("word", metavar="ID")
@click.argument("labels", nargs=-1, metavar="[LABEL...]")
@common_options
@pass_output
def label(out: Output, verb: str, word: str, labels: tuple[str, ...]) -> None:
    """Add, remove or list the labels of an issue."""
    if verb != "list" and not labels:
        raise UsageError("label required")
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        id_ = board.find(word)
        if verb != "list":
            out.refuse_readonly()
            before = board.beads[id_].labels
            after = [label_ for label_ in before if label_ not in labels] if verb == "remove" else [*before, *labels]
            after = list(dict.fromkeys(after))
            task = board.task_of(id_)
            town.run(town.operations.update_task(task.id, tags=tags_for(after, board.beads[id_].issue_type)))
            board.set_extra_fields(id_, {"labels": after})
            board.load()
        current = list(board.beads[id_].labels)
    out.answer({"issue_id": id_, "labels": current}, ", ".join(current) or "No labels.")
