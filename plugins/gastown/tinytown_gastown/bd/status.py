"""``tt-bd close`` and ``reopen``, and the changes of status that ``update`` makes. The town decides which are legal."""

from __future__ import annotations

from collections.abc import Sequence

import click
from tinytown.errors import Refused, UsageError
from tinytown.model.tasks import Task

from tinytown_gastown.bd.board import Board, cli_context
from tinytown_gastown.bd.inputs import (
    actor_of,
)
from tinytown_gastown.bd.output import Output, common_options, pass_output


def claim_task(out: Output, board: Board, id_: str, task: Task) -> None:
    """Claim a task for the caller. Raises: Refused if another agent has it."""
    town = board.town
    caller = town.caller
    if not caller.is_agent:
        raise UsageError("only an agent can claim a task", hint="assign it with --assignee AGENT")
    if task.id == caller.task_id or (
        task.agent_id == town.run(town.operations.agent(caller.agent)).id and not task.finished
    ):
        return
    if task.assigned_to or task.state != "pending":
        raise Refused(
            f"issue already claimed: {id_} is {task.state}{f', {task.assigned_to} has it' if task.assigned_to else ''}"
        )
    town.run(town.operations.claim_from_backlog(task.id, caller.agent))


def claim_first(out: Output, board: Board, ids: Sequence[str]) -> str:
    """Claim the first claimable bead; '' if there is none."""
    out.refuse_readonly()
    for id_ in ids:
        if id_ in board.tasks and board.tasks[id_].state == "pending":
            try:
                claim_task(out, board, id_, board.tasks[id_])
            except Refused:
                continue  # somebody else was quicker
            board.load()
            return id_
    return ""


def move_to_status(out: Output, board: Board, id_: str, task: Task, status: str) -> None:
    town = board.town
    if status == "closed":
        _close(board, id_, task, "", force=False)
    elif status in ("in_progress", "hooked"):
        if task.state not in ("running", "verifying") and not (task.assigned_to and not task.finished):
            claim_task(out, board, id_, task)
    elif status == "open":
        if task.finished:
            town.run(town.operations.reopen_task(task.id, reason="reopened"))
        elif task.held:
            town.run(town.operations.release_task(task.id))
        elif task.assigned_to:
            town.run(town.operations.requeue_task(task.id, reason="reopened"))
    elif status in ("blocked", "deferred", "pinned"):
        town.run(town.operations.hold_task(task.id, reason=f"{status}, says {actor_of(out, town)}"))
    else:
        raise UsageError(f"invalid status {status[:40]!r}", hint="open, in_progress, blocked, deferred or closed")


@click.command("close")
@click.argument("words", nargs=-1, required=True, metavar="ID...")
@click.option("-r", "--reason", default="", help="The reason.")
@click.option("-f", "--force", is_flag=True, help="Close it even if its dependencies are open.")
@common_options
@pass_output
def close(out: Output, words: tuple[str, ...], reason: str, force: bool) -> None:
    """Close issues."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
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
@common_options
@pass_output
def reopen(out: Output, words: tuple[str, ...], reason: str) -> None:
    """Reopen closed issues."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [board.find(word) for word in words]
        for id_ in ids:
            town.run(town.operations.reopen_task(board.task_of(id_).id, reason=reason))
        board.load()
        out.answer([board.shape(id_) for id_ in ids], [f"Reopened {id_}" for id_ in ids])
