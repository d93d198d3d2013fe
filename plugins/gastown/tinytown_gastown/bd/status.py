"""``tt-bd close``, ``reopen``, ``defer`` and ``delete``, and changes of status. The town decides which are legal."""

from __future__ import annotations

from collections.abc import Sequence

import click
from tinytown.errors import Refused, UsageError
from tinytown.model.tasks import Task
from tinytown_beads.fields import STATUSES
from tinytown_beads.ready import ready
from tinytown_cli import administration

from tinytown_gastown.bd.board import Board, cli_context, stamp_now
from tinytown_gastown.bd.inputs import actor_of, text_of_file
from tinytown_gastown.bd.output import Output, common_options, pass_output
from tinytown_gastown.bd.texts import line_of
from tinytown_gastown.bd.times import parse_moment


def claim_issue(out: Output, board: Board, id_: str) -> None:
    """Claim an issue for the caller. Raises: Refused if another has it."""
    actor = actor_of(out, board.town)
    if id_ not in board.wisps:
        _claim_task(board, id_, board.task_of(id_))
    elif board.wisps[id_].get("assignee", actor) != actor:
        raise Refused(f"issue already claimed: {board.wisps[id_]['assignee']} has it")
    else:
        board.set_extra_fields(id_, {"assignee": actor, "status": "in_progress"})


def _claim_task(board: Board, id_: str, task: Task) -> None:
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
        if id_ in board.wisps or (id_ in board.tasks and board.tasks[id_].state == "pending"):
            try:
                claim_issue(out, board, id_)
            except Refused:
                continue  # another caller was quicker
            board.load()
            return id_
    return ""


def move_to_status(out: Output, board: Board, id_: str, status: str) -> None:
    """Move an issue to a status. Raises: UsageError for one that does not exist; Refused where the town says no."""
    if status not in STATUSES and status not in board.words("status.custom"):
        raise UsageError(
            f"invalid status {status[:40]!r} (built-in: open, in_progress, blocked, deferred, closed, pinned, hooked; "
            "or configure custom statuses via 'tt-bd config set status.custom')"
        )
    if status == "closed":
        close_issue(board, id_, "")
    elif id_ in board.wisps:
        board.set_extra_fields(id_, {"status": status, "closed_at": None, "close_reason": None})
    else:
        _move_task(out, board, id_, board.task_of(id_), status)


def _move_task(out: Output, board: Board, id_: str, task: Task, status: str) -> None:
    town = board.town
    if status in ("in_progress", "hooked"):
        if task.state not in ("running", "verifying") and not (task.assigned_to and not task.finished):
            claim_issue(out, board, id_)
    elif status == "open":
        if task.finished:
            town.run(administration.reopen_task(town.operations.keys, task.id, reason="reopened"))
        elif task.held:
            town.run(administration.release_task(town.operations.keys, task.id))
        elif task.assigned_to:
            town.run(administration.requeue_task(town.operations.keys, task.id, reason="reopened"))
    else:
        town.run(
            administration.hold_task(town.operations.keys, task.id, reason=f"{status}, says {actor_of(out, town)}")
        )


def defer_issue(board: Board, id_: str, until: str) -> None:
    """Hold an issue until a moment, or without one until it is released."""
    if id_ in board.wisps:
        board.set_extra_fields(id_, {"status": "deferred", "defer_until": until or None})
        return
    task = board.task_of(id_)
    reason = f"deferred until {until}" if until else "deferred"
    board.tasks[id_] = board.town.run(
        administration.hold_task(board.town.operations.keys, task.id, reason=reason, until=until)
    )


@click.command("close")
@click.argument("words", nargs=-1, metavar="ID...")
@click.option("-r", "--reason", "-m", "--message", "reason", default="", help="The reason.")
@click.option("--reason-file", metavar="FILE", help="Read the reason from a file; - is standard input.")
@click.option("-f", "--force", is_flag=True, help="Close it even if its dependencies are open.")
@click.option("--continue", "advance", is_flag=True, help="Then claim the next step of its molecule.")
@click.option("--no-auto", is_flag=True, help="With --continue: show the next step, and do not claim it.")
@click.option("--claim-next", is_flag=True, help="Then claim the first ready issue.")
@click.option("--suggest-next", is_flag=True, help="Show what it has unblocked.")
@click.option("--session", help="Has no effect: rounds have ids of their own.")
@common_options
@pass_output
def close(
    out: Output, /, words: tuple[str, ...], reason: str, reason_file: str | None, force: bool, advance: bool, no_auto: bool,
    claim_next: bool, suggest_next: bool, session: str | None,
) -> None:  # fmt: skip
    """Close issues; without an ID the one that the caller works on."""
    out.refuse_readonly()
    reason = text_of_file(reason_file).strip() if reason_file else reason
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = board.named_or_own(words)
        before = {bead.id for bead in ready(board.beads, board.now)}
        for id_ in ids:
            close_issue(board, id_, reason, force=force)
        board.load()
        lines = [f"✓ Closed {id_} - {board.beads[id_].title}{f': {reason}' if reason else ''}" for id_ in ids]
        unblocked = [bead.id for bead in ready(board.beads, board.now) if bead.id not in before]
        closed = [board.shape(id_) for id_ in ids]
        answer: object = closed
        if suggest_next:
            answer = {"closed": closed, "unblocked": [board.brief(id_) for id_ in unblocked]}
            lines += ["Newly unblocked:", *(f"  {line_of(board, id_)}" for id_ in unblocked)] if unblocked else []
        if advance or claim_next:
            following = _next_after(out, board, ids[-1], in_molecule=advance, may_claim=not no_auto)
            answer = {
                "closed": closed,
                "continue" if advance else "claimed": board.brief(following) if following else None,
            }
            lines.append(f"Next: {line_of(board, following)}" if following else "No further step is ready.")
        out.answer(answer, lines)


def _next_after(out: Output, board: Board, id_: str, *, in_molecule: bool, may_claim: bool) -> str:
    """The next ready issue, of the same molecule or any; claimed for an agent. '' if there is none."""
    found = [bead.id for bead in ready(board.beads, board.now, ephemeral=in_molecule)]
    if in_molecule:
        steps = board.children(board.beads[id_].parent)
        found = [step for step in steps if step in found]
    if may_claim and (board.town.caller.is_agent or (found and found[0] in board.wisps)):
        return claim_first(out, board, found) or (found[0] if found else "")
    return found[0] if found else ""


def close_issue(board: Board, id_: str, reason: str, *, force: bool = False) -> None:
    """Close an issue. Raises: Refused while it waits for others, unless `force` is given."""
    if id_ in board.wisps:
        closed = {"status": "closed", "closed_at": stamp_now(), "close_reason": reason or "Closed"}
        board.set_extra_fields(id_, closed)
        return
    task, town, caller = board.task_of(id_), board.town, board.town.caller
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
@click.option("-r", "--reason", "-m", "reason", default="reopened", help="Why.")
@common_options
@pass_output
def reopen(out: Output, words: tuple[str, ...], reason: str) -> None:
    """Reopen closed issues."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [board.find(word) for word in words]
        for id_ in ids:
            if id_ in board.wisps:
                move_to_status(out, board, id_, "open")
            else:
                town.run(administration.reopen_task(town.operations.keys, board.task_of(id_).id, reason=reason))
        board.load()
        out.answer([board.shape(id_) for id_ in ids], [f"Reopened {id_}" for id_ in ids])


@click.command("defer")
@click.argument("words", nargs=-1, required=True, metavar="ID...")
@click.option("--until", default="", metavar="TIME", help="Until this time: +1h, tomorrow, 2025-01-15.")
@click.option("--reason", default="", help="Has no effect.")
@common_options
@pass_output
def defer(out: Output, words: tuple[str, ...], until: str, reason: str) -> None:
    """Defer issues, until a time or until they are undeferred."""
    out.refuse_readonly()
    moment = parse_moment(until) if until else ""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [board.find(word) for word in words]
        for id_ in ids:
            defer_issue(board, id_, moment)
        board.load()
        out.answer([board.shape(id_) for id_ in ids], [f"* Deferred {id_}" for id_ in ids])


@click.command("undefer")
@click.argument("words", nargs=-1, required=True, metavar="ID...")
@common_options
@pass_output
def undefer(out: Output, words: tuple[str, ...]) -> None:
    """Undefer issues."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [board.find(word) for word in words]
        for id_ in ids:
            if id_ in board.wisps:
                board.set_extra_fields(id_, {"status": "open", "defer_until": None})
            elif board.task_of(id_).held:
                town.run(administration.release_task(town.operations.keys, board.task_of(id_).id))
        board.load()
        out.answer(
            [board.shape(id_) for id_ in ids], [f"* Undeferred {id_} (now {board.beads[id_].status})" for id_ in ids]
        )


@click.command("delete")
@click.argument("words", nargs=-1, metavar="ID...")
@click.option("-f", "--force", is_flag=True, help="Delete them; without it they are only shown.")
@click.option("--cascade", is_flag=True, help="Also what depends on them.")
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.option("--from-file", metavar="FILE", help="A file with one id on each line.")
@click.option("--hard", is_flag=True, help="Has no effect.")
@common_options
@pass_output
def delete(
    out: Output, words: tuple[str, ...], force: bool, cascade: bool, dry_run: bool, from_file: str | None, hard: bool
) -> None:
    """Delete issues. Close work that may still be needed instead."""
    out.refuse_readonly()
    wanted = [*words, *(text_of_file(from_file).split() if from_file else ())]
    if not wanted:
        raise UsageError("no issue IDs provided")
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = list(dict.fromkeys(board.find(word) for word in wanted))
        if cascade:
            for id_ in ids:  # grows while it is read
                ids += [other for other, _ in board.dependents(id_) if other not in ids]
        if dry_run or not force:
            lines = ["Would delete:", *(f"  {line_of(board, id_)}" for id_ in ids), "To proceed, add --force."]
            out.answer({"would_delete": ids}, lines)
            return
        remove_issues(board, ids[::-1])
        edges = sum(len(board.dependents(id_)) for id_ in ids)
    answer = {"deleted": ids[0] if len(ids) == 1 else ids, "dependencies_removed": edges, "references_updated": 0}
    out.answer(answer, [f"✓ Deleted {id_}" for id_ in ids])


def remove_issues(board: Board, ids: Sequence[str]) -> None:
    """Delete wisps and the tasks of issues; open tasks are cancelled first. Raises: Refused where the town does not allow it."""
    town = board.town
    board.remove_wisps([id_ for id_ in ids if id_ in board.wisps])
    for id_ in (id_ for id_ in ids if id_ not in board.wisps):
        task = board.task_of(id_)
        if not task.finished:
            town.run(town.operations.settle_task("cancel", task.id, text="deleted"))
        town.run(administration.delete_task(town.operations.keys, task.id))
