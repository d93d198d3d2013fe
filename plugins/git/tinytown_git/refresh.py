"""Moves a worktree that holds nothing of its own on to a fresh base, so that a new round sees what was merged since.

A task may wait between two rounds while others are merged: one that was blocked again, sent back, or reopened after its own
work was merged. Nothing is moved that has uncommitted files, commits that are not merged, or an operation in progress.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tinytown_git.advance import in_the_way
from tinytown_git.base import Base
from tinytown_git.git import GitFailed
from tinytown_git.rescue import read_state
from tinytown_git.submit import operation_in_progress
from tinytown_git.worktrees import Worktree, Worktrees

_REASON = "Tinytown: a fresh base"


async def follow_base(
    worktrees: Worktrees, worktree: Worktree, base: Base, merged_commit: Callable[[], Awaitable[str | None]]
) -> Worktree:
    """The worktree, at `base` if it held nothing of its own. Call it under the lock of the worktree.

    `merged_commit` is asked for the commit of the task that the queue has squashed or rebased, which its target does not have.
    Raises: GitFailed; OSError. Killed in between, the next call finishes.
    """
    repository, record = worktrees.repository, worktree.record
    if record.moving:
        await worktrees.snapshot(worktree, "the worktree was being moved to a fresh base")
        return await _move(worktrees, worktree, record.moving, "--reset")
    tip, new = await repository.commit(record.branch), base.commit
    head = (worktree.admin / "HEAD").read_text(errors="replace").strip()
    if tip is None or tip == new or record.target != base.target or head != f"ref: {record.branch}":
        return worktree
    if operation_in_progress(worktree.admin):
        return worktree
    if not await repository.is_ancestor(tip, new) and tip != await merged_commit():
        return worktree
    async with repository.quarantine() as inside:
        if (await read_state(inside, worktree.path, worktree.admin, record.branch)).changed:
            return worktree
    git = repository.git_in(worktree.path, index=worktree.admin / "index")
    try:
        await git("read-tree", "--dry-run", "-m", "-u", tip, new)
    except GitFailed:  # a file that git does not know is in the way
        return worktree
    if await in_the_way(git, worktree.path, tip, new):
        return worktree
    return await _move(worktrees, worktree.changed(moving=new), new, "-m", tip)


async def _move(worktrees: Worktrees, worktree: Worktree, new: str, *how: str) -> Worktree:
    repository, record = worktrees.repository, worktree.record
    git = repository.git_in(worktree.path, index=worktree.admin / "index")
    mode, *old = how
    await git("read-tree", mode, "-u", *old, new)
    tip = await repository.commit(record.branch)
    if tip is None or not await repository.set_ref(record.branch, new, tip, reason=_REASON):
        raise GitFailed(["update-ref"], None, "", f"{record.branch} was moved meanwhile")
    return worktree.changed(base=new, moving="")
