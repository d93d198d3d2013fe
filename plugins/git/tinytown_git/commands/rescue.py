"""``tt rescue``: the work that was kept before anything could happen to it. Needs no server."""

from __future__ import annotations

from functools import partial
from typing import Any

import click
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.model.text import counted, shown
from tinytown_cli.public import TASK, CliContext, TownGroup, pass_cli_context, table

from tinytown_git.commands.place import Place, age, refuse_in_round, run_in_place
from tinytown_git.git import GitFailed
from tinytown_git.housekeeping import old_rescues
from tinytown_git.rescue import Rescue, find_rescue, list_rescues, prune_rescues, restore_files

_NAME = click.argument("name", type=TASK)


@click.group(
    cls=TownGroup,
    alone="list",
    examples=[
        "tt rescue",
        "tt rescue show 1f3a",
        "tt rescue restore 1f3a --branch saved",
        "tt rescue prune --older-than 30",
    ],
)
def rescue() -> None:
    """Work that was kept: what rounds left uncommitted, and commits that no branch has any more.

    Each is a commit under refs/tinytown/rescue/TASK/TIME, so that git show, diff and cherry-pick work on it, too. NAME is
    TASK/TIME, or a task or the beginning of one for its newest.
    """


@rescue.command("list", examples=["tt rescue list", "tt rescue list --task 1f3a"], scope="town.read")
@click.option("--task", default="", type=TASK, metavar="TASK", help="Only of this task.")
@pass_cli_context
def list_(context: CliContext, task: str) -> None:
    """List what was kept, the newest first."""

    async def work(place: Place) -> list[Rescue]:
        return [each for each in await list_rescues(place.repository) if each.task.startswith(task)]

    rescues = run_in_place(context, work)
    rows = [(each.name, age(each.at), "files" if each.files else "commits", each.reason) for each in rescues]
    context.emit(
        {"rescues": [_shape(each) for each in rescues]},
        table(("name", "age", "holds", "reason"), rows) if rows else ["nothing was kept: all work is on branches"],
    )


@rescue.command("show", examples=["tt rescue show 1f3a", "tt rescue show 1f3a --diff"], scope="town.read")
@_NAME
@click.option("--diff", is_flag=True, help="Show the changes, not only the names of the files.")
@pass_cli_context
def show(context: CliContext, name: str, diff: bool) -> None:
    """Show what a rescue holds beside the commit that it was made on."""

    async def work(place: Place) -> tuple[Rescue, list[str], str]:
        found, repository = await _find(place, name), place.repository
        options = ("--no-ext-diff", "--no-textconv", "-m", "--first-parent", "--root", "--format=")
        names = await repository.git("show", *options, "--name-only", "-z", found.commit, "--")
        text = await repository.git("show", *options, "--patch" if diff else "--stat", found.commit, "--")
        return found, names.items, text.text

    found, files, text = run_in_place(context, work)
    head = f"{found.name}  ({found.reason}, {age(found.at)} ago)"
    context.emit({**_shape(found), "paths": files, **({"diff": text} if diff else {})}, [head, *text.splitlines()])


@rescue.command("restore", examples=["tt rescue restore 1f3a", "tt rescue restore 1f3a --branch saved"])
@_NAME
@click.option("--branch", default="", metavar="BRANCH", help="Make this branch of it, and change no files.")
@pass_cli_context
def restore(context: CliContext, name: str, branch: str) -> None:
    """Write what a rescue holds into the worktree of its task, as uncommitted changes, or make a branch of it.

    What is in the worktree is kept under a rescue ref of its own before.
    """
    refuse_in_round(context, "may not restore a rescue")
    answer = run_in_place(context, partial(_restore, name=name, branch=branch))
    where = (
        f"branch {answer['branch']}"
        if answer["branch"]
        else f"{counted(len(answer['paths']), 'file')} in {answer['worktree']}"
    )
    context.emit(answer, f"restored {answer['name']}: {where}")


@rescue.command("prune", examples=["tt rescue prune --older-than 30", "tt rescue prune --task 1f3a --dry-run"])
@click.option("--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="[default: plugins.git.rescue_days]")
@click.option("--task", default="", type=TASK, metavar="TASK", help="Those of this task, however old.")
@click.option("--dry-run", is_flag=True, help="Only list them.")
@pass_cli_context
def prune(context: CliContext, older_than: float | None, task: str, dry_run: bool) -> None:
    """Delete rescues that are older than so many days; those of tasks that still have a worktree stay."""
    refuse_in_round(context, "may not delete rescues")

    async def work(place: Place) -> list[Rescue]:
        chosen = await list_rescues(place.repository)
        if older_than is not None or not task:
            days = place.settings.rescue_days if older_than is None else older_than
            chosen = await old_rescues(place.worktrees, days, always=older_than is not None)
        chosen = [each for each in chosen if each.task.startswith(task)]
        if task and len({each.task for each in chosen}) > 1:
            raise UsageError(f"{shown(task)!r} begins the names of several tasks", hint="tt rescue list")
        return chosen if dry_run else await prune_rescues(place.repository, chosen)

    pruned = run_in_place(context, work)
    verb = "would delete" if dry_run else "deleted"
    lines = [f"{verb} {each.name}  ({age(each.at)})" for each in pruned]
    context.emit({"rescues": [_shape(each) for each in pruned], "dry_run": dry_run}, lines or ["nothing to delete"])


async def _find(place: Place, name: str) -> Rescue:
    found = await find_rescue(place.repository, name)
    if found is None:
        raise NotFound(f"no rescue called {shown(name)!r}", hint="tt rescue list shows them")
    return found


async def _restore(place: Place, *, name: str, branch: str) -> dict[str, Any]:
    found, repository = await _find(place, name), place.repository
    if branch:
        try:
            await repository.git("branch", "--no-track", "--", branch, found.commit)
        except GitFailed as error:
            raise Refused(f"cannot make the branch {shown(branch)!r}: {shown(error.stderr.strip(), 300)}") from error
        return {**_shape(found), "branch": branch, "worktree": None, "paths": []}
    worktree = place.worktrees.find(found.task)
    if worktree is None or not worktree.path.is_dir():
        raise Refused(
            f"task {found.task} has no worktree any more", hint=f"tt rescue restore {found.name} --branch NAME"
        )
    async with place.worktrees.lock(worktree.record.agent, worktree.record.task, wait_s=0):
        await place.worktrees.snapshot(worktree, "before a rescue was restored")
        paths = await restore_files(repository, worktree.path, found)
    return {**_shape(found), "branch": None, "worktree": str(worktree.path), "paths": paths}


def _shape(rescue: Rescue) -> dict[str, Any]:
    return {
        "name": rescue.name,
        "task": rescue.task,
        "commit": rescue.commit,
        "at": _moment(rescue.at),
        "reason": rescue.reason,
        "files": rescue.files,
    }


def _moment(at: str) -> str:
    """The moment in the name of a rescue as RFC 3339."""
    return f"{at[:4]}-{at[4:6]}-{at[6:8]}T{at[9:11]}:{at[11:13]}:{at[13:19]}Z"
