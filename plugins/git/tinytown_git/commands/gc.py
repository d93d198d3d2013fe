"""``tt gc``: removes worktrees of finished tasks. Works without a server, too."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from functools import partial

import click
import msgspec
from tinytown.errors import NotFound, Refused, TinytownError
from tinytown_cli.public import CliContext, TownCommand, pass_cli_context, table

from tinytown_git.commands.place import Place, refuse_in_round, run_in_place
from tinytown_git.git import GitFailed
from tinytown_git.worktrees import MAIL, Worktree


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a worktree: it was removed, would be removed, or stays for the `reasons`."""

    task: str
    agent: str
    path: str
    removed: bool
    reasons: list[str]


@click.command(cls=TownCommand, examples=["tt gc --dry-run", "tt gc", "tt gc --force"])
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option(
    "--force",
    is_flag=True,
    help="Also those of finished tasks with uncommitted or unmerged work, which is kept under rescue refs.",
)
@pass_cli_context
def gc(context: CliContext, dry_run: bool, force: bool) -> None:
    """Remove the worktrees of finished tasks and of mail, and directories of worktrees that could not be used.

    The town does this by itself, once their time is over. Worktrees of open tasks stay in any case.
    """
    refuse_in_round(context, "may not remove worktrees")
    finished = _finished_tasks(context)
    with context.progress("looking through the worktrees"):
        outcomes = run_in_place(context, partial(_collect, finished=finished, dry_run=dry_run, force=force))
    verb = {True: "would remove" if dry_run else "removed", False: "kept"}
    rows = [(verb[each.removed], each.agent, each.task[:8], "; ".join(each.reasons) or each.path) for each in outcomes]
    context.emit(
        {"worktrees": outcomes, "dry_run": dry_run},
        table(("", "agent", "task", "notes"), rows) if rows else ["no worktrees"],
    )


def _finished_tasks(context: CliContext) -> frozenset[str]:
    """Tasks whose worktrees do not know yet that they are finished: no kernel may have noted it in their records."""
    finished: set[str] = set()
    if unsettled := run_in_place(context, _unsettled):
        with suppress(TinytownError), context.open_town() as town:
            for task in unsettled:
                with suppress(NotFound):
                    if town.run(town.operations.task(task)).finished:
                        finished.add(task)
    return frozenset(finished)


async def _unsettled(place: Place) -> list[str]:
    return [each.record.task for each in place.worktrees.all() if not each.record.settled and each.record.task != MAIL]


async def _collect(place: Place, *, finished: Collection[str], dry_run: bool, force: bool) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for worktree in list(place.worktrees.all()):
        record = worktree.record
        is_over = bool(record.settled) or record.task == MAIL or record.task in finished
        outcomes.append(await _remove(place, worktree, is_over=is_over, dry_run=dry_run, force=force))
    for aside in place.worktrees.asides():
        if force and not dry_run:
            await place.worktrees.delete_aside(aside)
        outcomes.append(
            Outcome(
                task=aside.name.partition(".")[0],
                agent=aside.parent.name,
                path=str(aside),
                removed=force,
                reasons=["could not be used as it was"],
            )
        )
    return outcomes


async def _remove(place: Place, worktree: Worktree, *, is_over: bool, dry_run: bool, force: bool) -> Outcome:
    record, reasons, removed = worktree.record, list[str](), False
    try:
        async with place.worktrees.lock(record.agent, record.task, wait_s=0):
            if not is_over:
                reasons = ["its task is not finished"]
            else:
                reasons = await place.worktrees.obstacles(worktree)
                removed = force or not reasons
                if removed and not dry_run:
                    merged = await place.worktrees.is_merged(record)
                    await place.worktrees.remove(worktree, "tt gc", branch=merged)
    except (Refused, GitFailed, OSError) as error:
        reasons, removed = [str(error)], False
    return Outcome(task=record.task, agent=record.agent, path=str(worktree.path), removed=removed, reasons=reasons)
