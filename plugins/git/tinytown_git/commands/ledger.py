"""``tt ledger``: the town's history in git, shown and restored. Only restoring needs the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec
from tinytown.errors import UsageError
from tinytown.identity import inside_a_round
from tinytown.model.text import counted, shown
from tinytown.state import mark_data
from tinytown_cli.public import TASK, CliContext, TownGroup, pass_cli_context, table

from tinytown_git.commands.place import Place, refuse_in_round, run_in_place
from tinytown_git.ledger.branch import Branch
from tinytown_git.ledger.lines import GapLine, Ledger, RoundLine, VerdictLine, bad_line

if TYPE_CHECKING:
    from tinytown_snapshots.records import Snapshot

_AT = click.option("--at", default="", metavar="COMMIT", help="As of this commit of the ledger.  [default: the newest]")
_SHORT = 8
_RESULT = 100


@dataclass(frozen=True, slots=True)
class _Found:
    """A ledger, and where it was read."""

    ref: str
    commit: str
    enabled: bool
    ledger: Ledger


@click.group(
    cls=TownGroup,
    alone="show",
    examples=["tt ledger", "tt ledger history --task 1f3a", "tt ledger restore --dry-run"],
)
def ledger() -> None:
    """The town's history in git: tasks, outcomes, verdicts and costs on a branch of its own, if [plugins.git] ledger is on."""


@ledger.command(
    "show",
    examples=["tt ledger show", "tt ledger show --at tinytown/ledger~10"],
    scope="town.read",
    local_options=["at"],
)
@_AT
@pass_cli_context
def show(context: CliContext, at: str) -> None:
    """Show what the ledger holds and up to when."""
    found = run_in_place(context, partial(_read, at=at))
    ledger = found.ledger
    counts = _counts(ledger)
    position = ledger.position.at if ledger.position else None
    answer = {
        "ref": found.ref,
        "commit": found.commit,
        "town": ledger.header.town if ledger.header else None,
        "enabled": found.enabled,
        "at": position,
        **counts,
    }
    names = {"agents": "agent", "tasks": "task", "rounds": "round", "verdicts": "verdict"}
    lines = [
        f"{found.ref} at {found.commit[:12]}, up to {position or 'its beginning'}",
        f"  {', '.join(counted(counts[key], name) for key, name in names.items())}",
    ]
    if not found.enabled:
        lines.append("  nothing is added: ledger = true in [plugins.git] changes that")
    context.emit(answer, lines)


@ledger.command(
    "history",
    examples=["tt ledger history", "tt ledger history --task 1f3a --limit 100"],
    scope="town.read",
    local_options=["at"],
)
@click.option("--task", default="", type=TASK, metavar="TASK", help="Only about this task.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="Maximum number of entries."
)
@_AT
@pass_cli_context
def history(context: CliContext, task: str, limit: int, at: str) -> None:
    """List rounds and verdicts, the latest last, also those that the town has forgotten."""
    found = run_in_place(context, partial(_read, at=at))
    entries = [each for each in found.ledger.history if not task or _task_of(each).startswith(task)][-limit:]
    rows = [_row(each, found.ledger) for each in entries]
    context.emit(
        {"ref": found.ref, "commit": found.commit, "entries": [msgspec.to_builtins(each) for each in entries]},
        table(("time", "kind", "task", "by", "outcome", "cost", "result"), rows) if rows else ["nothing yet"],
    )


@ledger.command(
    "restore",
    examples=["tt ledger restore", "tt ledger restore --merge --dry-run", "tt ledger restore --at tinytown/ledger~3"],
)
@_AT
@click.option(
    "--merge", is_flag=True, help="Restore into a town that is not empty: add what is missing, change nothing."
)
@click.option("--dry-run", is_flag=True, help="Show what would be restored, and change nothing.")
@pass_cli_context
def restore(context: CliContext, at: str, merge: bool, dry_run: bool) -> None:
    """Restore agents and tasks from the ledger, as in a fresh clone, into an empty town or, with --merge, into any town.

    Mail is not in the ledger. Agents get their open tasks again, and those that were running start with the next kernel: tt
    start. Everything is checked before anything is written; the restore is atomic.
    """
    from tinytown_snapshots.cli_commands import restored_lines, restored_shape
    from tinytown_snapshots.transfer import Transfer

    refuse_in_round(context, "cannot restore the town")
    found = run_in_place(context, partial(_read, at=at))
    snapshot = _checked(found)
    if not dry_run and not inside_a_round():
        mark_data(context.town_root(), has_data=False)  # data that is gone does not have to be there
    with context.open_town() as town:
        town.caller.refuse_agents("cannot restore the town", "send the supervisor a message")
        with context.progress("restoring"):
            story = "restored from the ledger"
            restored = Transfer(town, town.operations).restore(snapshot, merge=merge, dry_run=dry_run, story=story)
    answer = {"ref": found.ref, "commit": found.commit, "merge": merge, "dry_run": dry_run, **restored_shape(restored)}
    context.emit(answer, restored_lines(answer))


async def _read(place: Place, *, at: str) -> _Found:
    branch = Branch(place.repository, place.settings.ledger_branch)
    ref, commit = await branch.find(at)
    return _Found(ref, commit, place.settings.ledger, await branch.read(commit, whole=True))


def _checked(found: _Found) -> Snapshot:
    """The snapshot that a ledger makes, checked like one from a file. Raises: UsageError with code ``bad_ledger``."""
    from tinytown_snapshots.checks import check
    from tinytown_snapshots.lines import gather, read_lines, to_bytes

    from tinytown_git.ledger.restoring import snapshot_of

    numbered = read_lines(to_bytes(snapshot_of(found.ledger)))
    try:
        check(numbered)
    except UsageError as error:
        raise bad_line(found.commit[:12], error.message) from error
    return gather(numbered)


def _counts(ledger: Ledger) -> dict[str, int]:
    kinds = [type(each) for each in ledger.history]
    return {
        "agents": len(ledger.agents),
        "tasks": len(ledger.tasks),
        "rounds": kinds.count(RoundLine),
        "verdicts": kinds.count(VerdictLine),
    }


def _task_of(entry: RoundLine | VerdictLine | GapLine) -> str:
    return "" if isinstance(entry, GapLine) else entry.task


def _row(entry: RoundLine | VerdictLine | GapLine, ledger: Ledger) -> tuple[str, ...]:
    if isinstance(entry, GapLine):
        return ("", "gap", "", "", "", "", "entries may be missing here")
    task = ledger.tasks.get(entry.task)
    title = task.title or task.description.partition("\n")[0] if task else ""
    if isinstance(entry, RoundLine):
        result = entry.reason or entry.text or title
        return (
            entry.ended_at[:19].replace("T", " "), "round", entry.task[:_SHORT], entry.agent, entry.outcome,
            _cost(entry.usage), shown(result, _RESULT),
        )  # fmt: skip
    outcome = "passed" if entry.passed else "refused"
    result = entry.reason or (entry.commit[:12] if entry.kind == "merge" else title)
    return (
        entry.at[:19].replace("T", " "), entry.kind, entry.task[:_SHORT], entry.by, outcome, "", shown(result, _RESULT)
    )  # fmt: skip


def _cost(usage: Mapping[str, Any]) -> str:
    cost = usage.get("cost_usd")
    return f"${cost:.2f}" if isinstance(cost, int | float) else ""
