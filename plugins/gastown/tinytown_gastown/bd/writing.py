"""The commands of ``tt-bd`` that change issues: create, q, update, close, reopen, comment, label, import.

Each change is a call of the town: what a town refuses (a task that somebody works on, a circle) is refused here too.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.model.messages import Priority
from tinytown.model.tasks import Task
from tinytown_beads.bead import kind_of
from tinytown_beads.extra_fields import kept_fields
from tinytown_beads.json_text import as_object
from tinytown_beads.task_as_bead import OURS
from tinytown_beads.view import tag_of
from tinytown_cli.public import TownClient, read_text

from tinytown_gastown.bd.answering import Answering, answering, common, priority_of
from tinytown_gastown.bd.board import Board, Record, invocation_at, stamp_now

_UNFIT = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_PRIORITIES: tuple[Priority, ...] = ("urgent", "high", "normal", "low", "low")
_PRIORITY = click.option("-p", "--priority", callback=priority_of, help="0 (critical) to 4, or P0 to P4.")
_DESCRIPTION = click.option("-d", "--description", "--body", help="What is to be done; - reads standard input.")
_ASSIGNEE = click.option("-a", "--assignee", help="Who works on it.")


def actor_of(out: Answering, town: TownClient) -> str:
    """Who is said to do something."""
    told = out.actor or os.environ.get("BD_ACTOR") or os.environ.get("BEADS_ACTOR")
    return told or town.caller.agent_name or town.caller.address


def _told(text: str) -> str:
    """A text, or for ``-`` what standard input holds. Raises: UsageError for control characters and what is no UTF-8."""
    words = read_text(text)
    if _UNFIT.search(words):
        raise UsageError("expected UTF-8 text without control characters")
    return words


def _several(values: Sequence[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


@click.command("create")
@click.argument("title", required=False)
@click.option("--title", "named", help="Its title.")
@_DESCRIPTION
@click.option("-t", "--type", "issue_type", default="task", help="task, bug, feature, epic, chore, ...")
@_PRIORITY
@click.option("-l", "--labels", multiple=True, help="Labels, with commas between them.")
@click.option("--parent", default="", help="The issue that it is a part of.")
@click.option("--deps", multiple=True, help="What it has to do with: ID, or TYPE:ID, with commas between them.")
@click.option("--id", "own_id", default="", help="Its id.")
@_ASSIGNEE
@click.option("--design", help="How.")
@click.option("--acceptance", help="When it is done.")
@click.option("--notes", help="What else there is to know.")
@click.option("--external-ref", help="What it is called elsewhere.")
@click.option("-e", "--estimate", type=click.IntRange(0), help="Minutes.")
@click.option("--metadata", help="A JSON object.")
@click.option("--silent", is_flag=True, help="Print its id only.")
@common
@answering
def create(out: Answering, /, title: str | None, named: str | None, silent: bool, **given: Any) -> None:
    """Make an issue."""
    _create(out, title or named or "", silent=silent, **given)


@click.command("q")
@click.argument("title")
@click.option("-t", "--type", "issue_type", default="task", help="task, bug, feature, epic, chore, ...")
@_PRIORITY
@click.option("-l", "--labels", multiple=True, help="Labels, with commas between them.")
@common
@answering
def quick(out: Answering, /, title: str, **given: Any) -> None:
    """Make an issue and print its id only."""
    _create(out, title, silent=True, **given)


def _create(out: Answering, title: str, *, silent: bool, issue_type: str, priority: int | None, labels: Sequence[str],
            parent: str = "", deps: Sequence[str] = (), own_id: str = "", assignee: str | None = None,
            metadata: str | None = None, estimate: int | None = None, **texts: str | None) -> None:  # fmt: skip
    out.refuse_readonly()
    title = _told(title).strip()
    if not title:
        raise UsageError("title required")
    with invocation_at(out.directory).open_town() as town:
        board = Board(town)
        above = board.find(parent) if parent else ""
        id_ = own_id or board.fresh_id(above)
        if id_ in board.records:
            raise Refused(f"issue {id_} already exists")
        now = stamp_now()
        record: Record = {
            "_type": "issue", "id": id_, "title": title, "status": "open",
            "priority": 2 if priority is None else priority, "issue_type": issue_type, "created_at": now,
            "created_by": actor_of(out, town), "updated_at": now,
        }  # fmt: skip
        names = {"acceptance": "acceptance_criteria"}
        record |= {names.get(key, key): _told(value) for key, value in texts.items() if value}
        record |= {"assignee": assignee} if assignee else {}
        record |= {} if estimate is None else {"estimated_minutes": estimate}
        record |= {"metadata": _object(metadata)} if metadata else {}
        record |= {"labels": sorted(set(_several(labels)))} if labels else {}
        edges = [_edge(board, id_, word, now) for word in _several(deps)]
        if above:
            edges.append({"issue_id": id_, "depends_on_id": above, "type": "parent-child", "created_at": now})
        record |= {"dependencies": edges} if edges else {}
        board.add(record, agent=_agent(town, assignee) if assignee else "")
        board.load()
        shape = board.shape(id_)
    if silent and not out.json:
        click.echo(id_)
    else:
        out.answer(shape, f"Created issue: {id_} - {title}")


def _object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(f"invalid metadata: expected a JSON object: {error}") from error


def _edge(board: Board, id_: str, word: str, now: str) -> Record:
    type_, colon, target = word.partition(":")
    if not colon:
        type_, target = "blocks", word
    return {"issue_id": id_, "depends_on_id": board.find(target), "type": type_, "created_at": now}


def _agent(town: TownClient, name: str) -> str:
    """The agent of the town that an assignee means, '' when there is none: then it is only written down."""
    try:
        return town.run(town.operations.agent(name.rpartition("/")[2])).name
    except (NotFound, UsageError, Refused):
        return ""


# -- update ----------------------------------------------------------------------------------------------


@click.command("update")
@click.argument("words", nargs=-1, required=True, metavar="ID...")
@click.option("-s", "--status", help="open, in_progress, blocked, deferred, closed.")
@click.option("--claim", is_flag=True, help="Take it, if nobody has it.")
@click.option("--title", help="Another title.")
@_DESCRIPTION
@_PRIORITY
@_ASSIGNEE
@click.option("-t", "--type", "issue_type", help="Another type.")
@click.option("--add-label", multiple=True, help="One more label.")
@click.option("--remove-label", multiple=True, help="One label less.")
@click.option("--notes", help="Other notes.")
@click.option("--append-notes", help="More notes.")
@click.option("--design", help="Another design.")
@click.option("--acceptance", help="Other criteria.")
@click.option("--external-ref", help="What it is called elsewhere.")
@click.option("--set-metadata", multiple=True, metavar="KEY=VALUE", help="One field of its metadata.")
@common
@answering
def update(out: Answering, /, words: tuple[str, ...], **given: Any) -> None:
    """Change issues."""
    out.refuse_readonly()
    with invocation_at(out.directory).open_town() as town:
        board = Board(town)
        ids = [board.find(word) for word in words]
        for id_ in ids:
            _update(out, board, id_, **given)
        board.load()
        out.answer([board.shape(id_) for id_ in ids], [f"Updated issue: {id_}" for id_ in ids])


def _update(out: Answering, board: Board, id_: str, *, status: str | None, claim: bool, title: str | None,
            description: str | None, priority: int | None, assignee: str | None, issue_type: str | None,
            add_label: Sequence[str], remove_label: Sequence[str], notes: str | None, append_notes: str | None,
            design: str | None, acceptance: str | None, external_ref: str | None,
            set_metadata: Sequence[str]) -> None:  # fmt: skip
    town, task, record = board.town, board.task_of(id_), board.records[id_]
    own: dict[str, Any] = {}
    own |= {} if title is None else {"title": _told(title)}
    own |= {} if description is None else {"description": _told(description)}
    own |= {} if priority is None else {"priority": _PRIORITIES[priority]}
    texts = {
        "issue_type": issue_type, "design": design, "acceptance_criteria": acceptance, "external_ref": external_ref,
    }  # fmt: skip
    kept: dict[str, Any] = {key: _told(value) for key, value in texts.items() if value is not None}
    if priority is not None:
        kept["priority"] = priority if priority > 2 else None  # there is nothing lower than low in a town
    if notes is not None or append_notes is not None:
        before = (record.get("notes") or "") if notes is None else _told(notes)
        kept["notes"] = "\n".join(part for part in (before, _told(append_notes or "")) if part)
    if set_metadata:
        metadata = as_object(record.get("metadata")) or {}
        others = {key: value for key, value in metadata.items() if key != OURS}
        kept["metadata"] = {**others, **dict(map(_pair, set_metadata))}
    if add_label or remove_label or issue_type is not None:
        labels = [each for each in board.beads[id_].labels if each not in _several(remove_label)]
        labels = list(dict.fromkeys((*labels, *_several(add_label))))
        own["tags"] = _tags(labels, issue_type or board.beads[id_].issue_type)
        kept["labels"] = labels
    if own:
        town.run(town.operations.update_task(task.id, **own))
    board.keep(id_, kept)
    if claim:
        _take(out, board, id_, task)
    if assignee is not None:
        _assign(board, id_, task, assignee)
    if status is not None:
        _move(out, board, id_, task, status)


def _tags(labels: Sequence[str], issue_type: str) -> list[str]:
    """The tags of a task whose bead has these labels and this type, as an import would make them."""
    kind = kind_of(labels, issue_type)
    tags = [tag_of(label) for label in labels] + ([tag_of(kind)] if kind != "task" else [])
    return list(dict.fromkeys(tag for tag in tags if tag))


def _pair(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise UsageError(f"invalid metadata {word[:80]!r} (expected key=value)")
    return key, value


def _assign(board: Board, id_: str, task: Task, assignee: str) -> None:
    town = board.town
    agent = _agent(town, assignee) if assignee else ""
    if "assignee" in kept_fields(task):
        board.keep(id_, {"assignee": None})
    if agent and task.assigned_to != agent:
        town.run(town.operations.assign_task(task.id, agent))
    elif not assignee and task.assigned_to:
        town.run(town.operations.requeue_task(task.id, reason="unassigned"))
    elif not agent and assignee:
        board.keep(id_, {"assignee": assignee})


def _take(out: Answering, board: Board, id_: str, task: Task) -> None:
    """Claim a task for whoever calls. Raises: Refused when somebody else has it."""
    town = board.town
    caller = town.caller
    if not caller.is_agent:
        raise UsageError("a task is claimed by an agent", hint="--assignee AGENT gives it to one")
    if task.id == caller.task_id or (
        task.agent_id == town.run(town.operations.agent(caller.agent)).id and not task.finished
    ):
        return
    if task.assigned_to or task.state != "pending":
        raise Refused(
            f"issue already claimed: {id_} is {task.state}{f', {task.assigned_to} has it' if task.assigned_to else ''}"
        )
    town.run(town.operations.claim_from_backlog(task.id, caller.agent))


def claim_first(out: Answering, board: Board, ids: Sequence[str]) -> str:
    """Claim the first of the beads that can be; '' when there is none."""
    out.refuse_readonly()
    for id_ in ids:
        if id_ in board.tasks and board.tasks[id_].state == "pending":
            try:
                _take(out, board, id_, board.tasks[id_])
            except Refused:
                continue  # somebody else was quicker
            board.load()
            return id_
    return ""


def _move(out: Answering, board: Board, id_: str, task: Task, status: str) -> None:
    town = board.town
    if status == "closed":
        _close(board, id_, task, "", force=False)
    elif status in ("in_progress", "hooked"):
        if task.state not in ("running", "verifying") and not (task.assigned_to and not task.finished):
            _take(out, board, id_, task)
    elif status == "open":
        if task.finished:
            town.run(town.operations.reopen_task(task.id, reason="reopened"))
        elif task.held:
            town.run(town.operations.release_task(task.id))
        elif task.assigned_to:
            town.run(town.operations.requeue_task(task.id, reason="opened again"))
    elif status in ("blocked", "deferred", "pinned"):
        town.run(town.operations.hold_task(task.id, reason=f"{status}, says {actor_of(out, town)}"))
    else:
        raise UsageError(f"invalid status {status[:40]!r}", hint="open, in_progress, blocked, deferred or closed")


# -- close, reopen, comment, label -----------------------------------------------------------------------


@click.command("close")
@click.argument("words", nargs=-1, required=True, metavar="ID...")
@click.option("-r", "--reason", default="", help="What came of it.")
@click.option("-f", "--force", is_flag=True, help="Also while others that it waits for are open.")
@common
@answering
def close(out: Answering, words: tuple[str, ...], reason: str, force: bool) -> None:
    """Close issues."""
    out.refuse_readonly()
    with invocation_at(out.directory).open_town() as town:
        board = Board(town)
        ids = [board.find(word) for word in words]
        for id_ in ids:
            _close(board, id_, board.task_of(id_), reason, force=force)
        board.load()
        out.answer([board.shape(id_) for id_ in ids], [f"Closed {id_}{f': {reason}' if reason else ''}" for id_ in ids])


def _close(board: Board, id_: str, task: Task, reason: str, *, force: bool) -> None:
    town, caller = board.town, board.town.caller
    if task.finished:
        return
    if task.open_needs and not force:
        raise Refused(
            f"cannot close {id_}: blocked by open issues [{' '.join(task.open_needs)}]", hint="--force closes it"
        )
    settle = town.operations.settle_task
    if caller.is_agent:
        # An agent says that it is done; whether it is, the town's gates decide.
        town.run(settle("submit", task.id, text=reason, by=caller.agent, token=caller.task_token))
    else:
        town.run(settle("complete", task.id, text=reason))


@click.command("reopen")
@click.argument("words", nargs=-1, required=True, metavar="ID...")
@click.option("-r", "--reason", default="reopened", help="Why.")
@common
@answering
def reopen(out: Answering, words: tuple[str, ...], reason: str) -> None:
    """Open closed issues again."""
    out.refuse_readonly()
    with invocation_at(out.directory).open_town() as town:
        board = Board(town)
        ids = [board.find(word) for word in words]
        for id_ in ids:
            town.run(town.operations.reopen_task(board.task_of(id_).id, reason=reason))
        board.load()
        out.answer([board.shape(id_) for id_ in ids], [f"Reopened {id_}" for id_ in ids])


def add_comment(out: Answering, word: str, text: str) -> None:
    """Write a comment, for two spellings of the command."""
    out.refuse_readonly()
    with invocation_at(out.directory).open_town() as town:
        board = Board(town)
        id_ = board.find(word)
        words = _told(text)
        if not words.strip():
            raise UsageError("comment text required")
        before = board.comments(id_)
        comment = {
            "id": f"{time.time_ns():016x}-{os.urandom(4).hex()}",  # of two in one second the earlier comes first
            "issue_id": id_, "author": actor_of(out, town), "text": words, "created_at": stamp_now(),
        }  # fmt: skip
        board.keep(id_, {"comments": [*before, comment]})
    out.answer(comment, f"Comment added to {id_}")


@click.command("comment")
@click.argument("word", metavar="ID")
@click.argument("text")
@common
@answering
def comment_(out: Answering, word: str, text: str) -> None:
    """Write a comment."""
    add_comment(out, word, text)


@click.command("label")
@click.argument("verb", type=click.Choice(["add", "remove", "list"]))
@click.argument("word", metavar="ID")
@click.argument("labels", nargs=-1, metavar="[LABEL...]")
@common
@answering
def label(out: Answering, verb: str, word: str, labels: tuple[str, ...]) -> None:
    """Put labels on an issue, take them off, or show them."""
    if verb != "list" and not labels:
        raise UsageError("label required")
    with invocation_at(out.directory).open_town() as town:
        board = Board(town)
        id_ = board.find(word)
        if verb != "list":
            out.refuse_readonly()
            before = board.beads[id_].labels
            after = [each for each in before if each not in labels] if verb == "remove" else [*before, *labels]
            after = list(dict.fromkeys(after))
            task = board.task_of(id_)
            town.run(town.operations.update_task(task.id, tags=_tags(after, board.beads[id_].issue_type)))
            board.keep(id_, {"labels": after})
            board.load()
        found = list(board.beads[id_].labels)
    out.answer({"issue_id": id_, "labels": found}, ", ".join(found) or "No labels.")


@click.command("import")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("-i", "--input", "given", type=click.Path(path_type=Path), help="The file.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@common
@answering
def import_(out: Answering, file: Path | None, given: Path | None, dry_run: bool) -> None:
    """Bring the issues of a file in."""
    from tinytown_beads.syncing import import_file

    out.refuse_readonly()
    path = given or file
    if path is None:
        raise UsageError("file required")
    with invocation_at(out.directory).open_town() as town:
        report = import_file(Board(town).place, path, dry_run=dry_run)
    out.answer(report.shape, report.lines())


COMMANDS: dict[str, click.Command] = {
    "create": create, "new": create, "q": quick, "update": update, "close": close, "done": close, "reopen": reopen,
    "comment": comment_, "label": label, "import": import_,
}  # fmt: skip
