"""What an agent has done, as one commit: what is claimed of a task is taken from the repository and not from words.

Uncommitted work is committed for the agent, by an index of the town's own: no git runs in the agent's worktree.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tinytown.model.tasks import Task
from tinytown.model.text import counted, shown

from tinytown_git.prepare import agent_identity
from tinytown_git.repository import ABSENT
from tinytown_git.rescue import index_of, read_state
from tinytown_git.settings import Settings
from tinytown_git.worktrees import Worktree, Worktrees

_SHOWN = 10
_IN_PROGRESS = {
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
}


class NotReady(Exception):
    """Work that cannot be taken as it is; its text is the evidence for its author."""


@dataclass(frozen=True, slots=True)
class Submission:
    """The commit of a task's work, what it began from, and how much it changes."""

    commit: str
    base: str
    files: tuple[str, ...]
    lines: int


async def submit(worktrees: Worktrees, worktree: Worktree, task: Task, settings: Settings) -> Submission:
    """The work in a worktree, all of it committed on the branch of the task. Call it under the lock of the worktree.

    Raises: NotReady with the evidence; GitFailed; OSError.
    """
    repository, record = worktrees.repository, worktree.record
    short = record.branch.removeprefix("refs/heads/")
    if what := operation_in_progress(worktree.admin):
        raise NotReady(f"{what} is in progress in your worktree; finish or abort it, then report the task again")
    async with repository.quarantine() as inside:
        state = await read_state(inside, worktree.path, worktree.admin, record.branch)
        if state.head is None:
            raise NotReady(f"no commit is checked out in your worktree; type `git switch {short}`")
        if state.changed and settings.uncommitted == "refuse":
            raise NotReady(
                "your worktree has uncommitted changes; commit them, or remove them, then report the task again"
            )
        tip = await repository.commit(record.branch)
        if tip is not None and tip != state.head and not await repository.is_ancestor(tip, state.head):
            raise NotReady(
                f"what is checked out in your worktree lacks commits of the branch {short}, which is the one that counts; "
                f"type `git switch {short}` and merge what you have there"
            )
        async with index_of(inside, worktree.path, worktree.admin, state.head) as git:
            commit, tree = state.head, (await git("write-tree")).text
            if tree != await inside.tree(commit):
                message = message_of(task.id, task.headline, record.agent, settings)
                commit = await inside.make_commit(tree, [commit], message, author=agent_identity(record.agent))
                await inside.keep_objects()
            if not await repository.set_ref(record.branch, commit, tip or ABSENT, reason="Tinytown: submitted"):
                raise NotReady(f"the branch {short} has moved while the task was checked; report the task again")
            is_out = (worktree.admin / "HEAD").read_text(errors="replace").strip() == f"ref: {record.branch}"
            if commit != state.head and is_out and git.index is not None:
                _replace_index(worktree.admin, git.index)
    return await _measured(worktrees, worktree, commit)


def operation_in_progress(admin: Path) -> str | None:
    """What is in progress in a worktree, in words; `admin` is git's directory for it."""
    return next((what for name, what in _IN_PROGRESS.items() if (admin / name).exists()), None)


def _replace_index(admin: Path, index: Path) -> None:
    """Put an index in place of that of a worktree, under git's own lock; one that is locked stays."""
    lock = admin / "index.lock"
    with suppress(OSError):
        descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(index.read_bytes())
        shutil.copystat(index, lock)  # by its time git knows which files it has to look at again
        lock.replace(admin / "index")


async def _measured(worktrees: Worktrees, worktree: Worktree, commit: str) -> Submission:
    repository, record = worktrees.repository, worktree.record
    base = record.base
    if record.target and (target := await repository.commit(record.target)):
        # What the branch has of its target by now is not its own work.
        base = await repository.merge_base(target, commit) or base
        if not await repository.is_ancestor(record.base, base):
            base = record.base
    listed = await repository.git(
        "diff", "--no-ext-diff", "--no-textconv", "--no-renames", "--numstat", "-z", base, commit
    )
    files: list[str] = []
    lines = 0
    for item in listed.items:
        added, removed, name = item.split("\t", 2)
        files.append(name)
        lines += sum(int(number) for number in (added, removed) if number != "-")
    return Submission(commit, base, tuple(files), lines)


def check_limits(submission: Submission, settings: Settings) -> None:
    """Raises: NotReady if the work breaks a rule about what a task may change."""
    if settings.commits == "required" and not submission.files:
        raise NotReady(
            "there is no change on the branch of the task; commit your work there, then report the task again"
        )
    forbidden = [name for name in submission.files if any(_fits(name, pattern) for pattern in settings.forbidden)]
    if forbidden:
        raise NotReady(
            f"no task may change {_some(forbidden)} (plugins.git.forbidden: {', '.join(settings.forbidden)}); "
            "undo that, then report the task again"
        )
    if 0 < settings.max_files < len(submission.files):
        raise NotReady(
            f"the task changes {counted(len(submission.files), 'file')}, at most {settings.max_files:,} are allowed; do less, "
            "or propose to split the task"
        )
    if 0 < settings.max_lines < submission.lines:
        raise NotReady(
            f"the task changes {counted(submission.lines, 'line')}, at most {settings.max_lines:,} are allowed; do less, "
            "or propose to split the task"
        )


def _fits(name: str, pattern: str) -> bool:
    """Whether a path fits a pattern, or is in a directory that does."""
    parts = Path(name).parts
    return any(fnmatchcase("/".join(parts[:end]), pattern.rstrip("/")) for end in range(1, len(parts) + 1))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(shown(name, 200) for name in names[:_SHOWN]) + more


def message_of(task: str, title: str, agent: str, settings: Settings, subject: str = "{title}") -> str:
    """The message of a commit that the town makes about a task."""
    values = {"task": task, "agent": agent, "title": shown(title, 72) or f"Task {task}"}

    def filled(text: str) -> str:
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    trailers = "\n".join(filled(line) for line in settings.trailers)
    return filled(subject) + "\n" + (f"\n{trailers}\n" if trailers else "")
