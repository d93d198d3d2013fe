"""``tt-bd gate``: issues that others wait for until a person, a time, a pull request or a CI run opens them."""

from __future__ import annotations

from typing import Any

import click
from tinytown.errors import UsageError
from tinytown_beads.mapping import opens_at
from tinytown_cli import administration

from tinytown_gastown.bd.board import Board, Record, cli_context, stamp_now
from tinytown_gastown.bd.dependencies import add_edge
from tinytown_gastown.bd.inputs import actor_of, clean_input
from tinytown_gastown.bd.output import Output, common_options, pass_output
from tinytown_gastown.bd.status import close_issue
from tinytown_gastown.bd.texts import line_of, page
from tinytown_gastown.formulas.run import TABLE, duration_s

_LIMIT = click.option("-n", "-l", "--limit", type=click.IntRange(0), default=50, help="The maximum number; 0 for all.")


def _is_gate(board: Board, id_: str) -> bool:
    """Whether this is a gate, or the step of a formula that has one."""
    task = board.tasks.get(id_)
    table: Any = task.meta.get(TABLE) if task else None
    return board.beads[id_].issue_type == "gate" or bool(task and task.held and table and table.get("gate"))


@click.group("gate")
@common_options
def gate() -> None:
    """Gates: what work waits for besides other work."""


@gate.command("list")
@click.option("-a", "--all", "everything", is_flag=True, help="Include closed ones.")
@_LIMIT
@common_options
@pass_output
def list_(out: Output, everything: bool, limit: int) -> None:
    """List the gates."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        ids = [id_ for id_, bead in board.beads.items() if _is_gate(board, id_) and (everything or not bead.closed)]
        ids = ids[: limit or None]
        out.answer([board.shape(id_) for id_ in ids], [line_of(board, id_) for id_ in ids] or "No gates found.")


@gate.command("show")
@click.argument("word", metavar="ID")
@common_options
@pass_output
def show(out: Output, word: str) -> None:
    """Show a gate."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        id_ = board.find(word)
        out.answer(board.detail(id_), list(page(board, id_, long=True)))


@gate.command("create")
@click.option("-t", "--type", "await_type", default="human", help="human, timer, gh:run, gh:pr, mail.")
@click.option("--await", "awaited", default="", metavar="TYPE[:ID]", help="Type and what it waits for in one word.")
@click.option("--await-id", default="", help="What it waits for: a run, a pull request.")
@click.option("--timeout", default="", help="How long a timer waits: 30m, 2h.")
@click.option("-r", "--reason", default="", help="Why.")
@click.option("--title", default="", help="Its title.")
@click.option("--blocks", default="", metavar="ID", help="The issue that waits for it.")
@common_options
@pass_output
def create(
    out: Output, await_type: str, awaited: str, await_id: str, timeout: str, reason: str, title: str, blocks: str
) -> None:
    """Create a gate."""
    out.refuse_readonly()
    if awaited:
        await_type, await_id = _split_awaited(awaited)
    if await_type == "timer" and not timeout:
        raise UsageError("--timeout is required for a timer")
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        waiting = board.find(blocks) if blocks else ""
        now = stamp_now()
        parts = [
            f"Ad-hoc gate blocking {waiting}" if waiting else "",
            f"Reason: {clean_input(reason)}" if reason else "",
        ]
        record: Record = {
            "_type": "issue", "id": board.fresh_id(), "title": title or f"Gate: {await_type}", "status": "open", "priority": 2,
            "issue_type": "gate", "description": "\n\n".join(part for part in parts if part), "await_type": await_type,
            "created_at": now, "updated_at": now, "created_by": actor_of(out, town),
        }  # fmt: skip
        record |= {"await_id": await_id} if await_id else {}
        record |= {"timeout": int(duration_s(timeout) * 1e9)} if timeout else {}
        id_ = board.add({key: value for key, value in record.items() if value != ""})
        board.load()
        if waiting:
            add_edge(board, waiting, id_, "blocks")
        out.answer(board.brief(id_), f"✓ Created gate: {id_}")


def _split_awaited(text: str) -> tuple[str, str]:
    """The type of a gate and what it waits for, written as one word: ``human:deploy``, ``gh:run:123``, ``timer``."""
    parts = text.split(":", 2) if text.startswith("gh:") else text.split(":", 1)
    type_ = ":".join(parts[:2]) if text.startswith("gh:") else parts[0]
    return type_, text.removeprefix(type_).removeprefix(":")


@gate.command("resolve")
@click.argument("word", metavar="ID")
@click.option("-r", "--reason", "--comment", default="", help="Why.")
@common_options
@pass_output
def resolve(out: Output, word: str, reason: str) -> None:
    """Open a gate: what waits for it continues."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        id_ = board.find(word)
        if not _is_gate(board, id_):
            raise UsageError(f"{id_} is not a gate")
        if board.beads[id_].issue_type == "gate":
            close_issue(board, id_, reason, force=True)
        else:  # the gate is the hold of a formula's step
            town.run(administration.release_task(town.operations.keys, board.task_of(id_).id))
    out.answer({"id": id_, "status": "closed", "reason": reason}, f"✓ Gate resolved: {id_}")


@gate.command("check")
@click.option("-t", "--type", "type_", default="", help="Only gates of this kind.")
@click.option("-e", "--escalate", is_flag=True, help="Has no effect: a person is asked anyway.")
@click.option("--dry-run", is_flag=True, help="Only show what would be opened.")
@_LIMIT
@common_options
@pass_output
def check(out: Output, type_: str, escalate: bool, dry_run: bool, limit: int) -> None:
    """Open the timers whose time is over. A running kernel does that by itself, and looks up the others."""
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        gates = [bead for bead in board.beads.values() if bead.issue_type == "gate" and not bead.closed]
        gates = [bead for bead in gates if type_ in ("", "all") or bead.text("await_type").startswith(type_)][
            : limit or None
        ]
        over = [bead.id for bead in gates if (end := opens_at(bead)) and end <= board.now]
        if over and not dry_run:
            out.refuse_readonly()
            for id_ in over:
                close_issue(board, id_, "timer expired", force=True)
    counts = {"checked": len(gates), "resolved": len(over), "escalated": 0, "errors": 0, "dry_run": dry_run}
    out.answer(counts, f"Checked {len(gates)} gates: {len(over)} resolved, 0 escalated, 0 errors")


@gate.command("discover", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@common_options
@pass_output
def discover(out: Output, words: tuple[str, ...]) -> None:
    """Has no effect: a running kernel finds CI runs by the names of their workflows."""
    out.answer({"discovered": 0}, "Nothing to discover: a running kernel looks up CI runs itself.")


@gate.command("add-waiter")
@click.argument("word", metavar="ID")
@click.argument("address")
@common_options
@pass_output
def add_waiter(out: Output, word: str, address: str) -> None:
    """Record whom to notify when a gate opens; the tasks that wait for it are released anyway."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        board = Board(town)
        id_ = board.find(word)
        waiters = [*(board.records[id_].get("waiters") or ()), address]
        board.set_extra_fields(id_, {"waiters": list(dict.fromkeys(waiters))})
    out.answer({"id": id_, "waiters": waiters}, f"✓ Added waiter to {id_}")


gate.add_command(resolve, "close")
gate.add_command(resolve, "approve")
gate.add_command(check, "eval")
gate.add_command(add_waiter, "wait")
