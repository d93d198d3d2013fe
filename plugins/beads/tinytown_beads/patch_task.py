"""The operations that bring a task to its merged view: the counterpart of `patch_record`. Executes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from tinytown.model.tasks import Task
from tinytown_cli import administration
from tinytown_cli.public import TownClient

from tinytown_beads.bead import Bead
from tinytown_beads.extra_fields import OTHER_FIELDS, edge_key, extra_fields, other_edges, record_of, sorted_comments
from tinytown_beads.json_text import as_object, decode
from tinytown_beads.mapping import task_priority
from tinytown_beads.reconcile import Reconciliation, Update
from tinytown_beads.task_as_bead import TABLE
from tinytown_beads.view import EXTRA_FIELDS, View


def task_operations(
    town: TownClient, update: Update, reconciliation: Reconciliation, task_ids: Mapping[str, str]
) -> list[tuple[frozenset[str], Callable[[], Any]]]:
    """The operations that change one task, in order, each with the fields it covers."""
    wanted, fields, task, calls = update.merge.wanted, update.merge.to_town, update.task, town.operations
    steps: list[tuple[frozenset[str], Callable[[], Any]]] = []
    reopens = "state" in fields and task.finished and not wanted.finished
    if reopens:
        steps.append(
            (
                frozenset({"state"}),
                lambda: administration.reopen_task(calls.keys, task.id, reason="reopened in the bead file"),
            )
        )
    kept = fields & {*EXTRA_FIELDS, "priority", "assignee"}
    if kept and (reopens or not task.finished):
        table = _extra_table(update.bead, task, wanted, kept)
        if table != extra_fields(task):
            steps.append(
                (
                    kept & frozenset(EXTRA_FIELDS),
                    lambda: administration.set_task_meta(calls.keys, task.id, TABLE, table or None),
                )
            )
    texts = fields & {"title", "description", "priority", "tags", "needs", "parent"}
    if texts and (reopens or not task.finished):
        # A finished task is history, here as there: what changes in its bead is kept in the file.
        new = _new_fields(wanted, texts, task_ids)
        steps.append((frozenset(texts), lambda: administration.update_task(calls, task.id, **new)))
    if "assignee" in fields and not task.finished:
        agent = reconciliation.town.agent_for(wanted.assignee) if wanted.assignee else None
        if agent is not None and agent.id != task.agent_id:
            steps.append((frozenset({"assignee"}), lambda: calls.assign_task(task.id, agent.id)))
        elif not wanted.assignee and task.assigned_to:
            steps.append(
                (
                    frozenset({"assignee"}),
                    lambda: administration.requeue_task(calls.keys, task.id, reason="unassigned in the bead file"),
                )
            )
    if "held" in fields and not wanted.finished:
        if wanted.held:
            steps.append(
                (
                    frozenset({"held"}),
                    lambda: administration.hold_task(calls.keys, task.id, reason=wanted.held, until=wanted.held_until),
                )
            )
        elif task.held:
            steps.append((frozenset({"held"}), lambda: administration.release_task(calls.keys, task.id)))
    if "state" in fields and wanted.finished and not task.finished:
        verb: Any = {"completed": "complete", "failed": "fail", "cancelled": "cancel"}[wanted.state]
        steps.append((frozenset({"state"}), lambda: calls.settle_task(verb, task.id, text=wanted.outcome)))
    return steps


def _new_fields(wanted: View, fields: frozenset[str], task_ids: Mapping[str, str]) -> dict[str, Any]:
    new: dict[str, Any] = {name: getattr(wanted, name) for name in fields}
    if "priority" in new:
        new["priority"] = task_priority(wanted)
    if "needs" in new:
        new["needs"] = [task_ids[need] for need in wanted.needs if need in task_ids]
    if "parent" in new:
        new["parent"] = task_ids.get(wanted.parent, "")
    return new


def _extra_table(bead: Bead, task: Task, wanted: View, fields: Collection[str]) -> dict[str, Any]:
    """The table of extra fields of a task after `fields` take the values of the view `wanted`."""
    table = dict(extra_fields(task))
    for name in fields:
        match name:
            case "metadata":
                table["metadata"] = decode(wanted.metadata or "{}")
            case "other":
                # An empty value takes the place of the one in the record of the bead.
                table |= dict.fromkeys(OTHER_FIELDS, "") | (as_object(decode(wanted.other or "{}")) or {})
            case "comments":
                table["comments"] = sorted_comments(wanted.comments)
            case "odd_labels":
                table["labels"] = list(wanted.odd_labels)
            case "edges":
                known = [
                    *other_edges(bead.record.get("dependencies"), bead.id),
                    *other_edges(table.get("dependencies"), bead.id),
                ]
                by_word = {edge_key(edge): edge for edge in known}
                table["dependencies"] = [by_word[word] for word in wanted.edges if word in by_word]
            case "priority":
                table.pop("priority", None)
                if wanted.priority == "lowest" or (wanted.priority == "low" and record_of(task).get("priority") == 4):
                    table["priority"] = 4 if wanted.priority == "lowest" else 3
            case "assignee":
                table.pop("assignee", None)
            case _:
                table[name] = getattr(wanted, name)
    return table
