"""What was changed for a task, as its reviewers see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinytown.errors import NotFound, Refused
from tinytown.model.tasks import Task

from tinytown_git.repository import Repository
from tinytown_git.rescue import read_state
from tinytown_git.work import Work
from tinytown_git.worktrees import Worktrees

_PLAIN = ("--no-ext-diff", "--no-textconv", "--no-color")


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes of a task from the commit `base` to the commit or tree `until`; `text` is a patch, or its statistics."""

    base: str
    until: str
    text: str
    files: list[dict[str, Any]]
    commits: list[dict[str, str]]


async def read_changes(worktrees: Worktrees, task: Task, work: Work | None, *, stat: bool = False) -> Changes:
    """What was submitted as `work`, else what is in the worktree of the task, committed or not.

    Raises: NotFound if the commit is not in this repository; Refused if there is neither.
    """
    async with worktrees.repository.quarantine() as repository:
        return await _read(worktrees, repository, task, work, stat=stat)


async def _read(worktrees: Worktrees, repository: Repository, task: Task, work: Work | None, *, stat: bool) -> Changes:
    worktree = worktrees.find(task.id)
    if work is not None:
        base, until, tip = work.base, work.commit, work.commit
        if await repository.commit(until) is None:
            raise NotFound(f"the commit {until} of task {task.id} is not in this repository")
    elif worktree is not None and worktree.path.is_dir():
        state = await read_state(repository, worktree.path, worktree.admin, worktree.record.branch)
        base, until, tip = worktree.record.base, state.tree, state.head or worktree.record.base
    else:
        raise Refused(f"task {task.id} has no worktree and nothing was submitted for it: it is {task.state}")
    text = await repository.git("diff", *_PLAIN, "--stat" if stat else "--patch", base, until)
    numbers = await repository.git("diff", *_PLAIN, "--no-renames", "--numstat", "-z", base, until)
    log = await repository.git("log", "--no-merges", "-z", "--format=%H%x09%an%x09%s", f"{base}..{tip}", "--")
    files: list[dict[str, Any]] = []
    for item in numbers.items:
        added, removed, name = item.split("\t", 2)
        files.append({"path": name, "added": _number(added), "removed": _number(removed)})
    commits: list[dict[str, str]] = []
    for item in log.items:
        commit, author, subject = item.split("\t", 2)
        commits.append({"commit": commit, "author": author, "subject": subject})
    return Changes(base, until, text.text, files, commits)


def _number(text: str) -> int | None:
    """How many lines; None for a file that is no text."""
    return None if text == "-" else int(text)
