"""The worktrees of tasks: made, found again with everything in them, repaired, removed. Beside each is a record of it.

A worktree is ``<directory>/<agent>/<task>``, its record ``<task>.json`` beside it, out of reach of what an agent in a box
writes. What is removed or cannot be used goes aside, and its work under a rescue ref, before anything else happens to it.
Every step may be cut off and is done again by the next call.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import IO

import msgspec
import trio
from tinytown.errors import Refused
from tinytown.files import replace_file
from tinytown_cli.trees import remove_tree

from tinytown_git.base import Base, collecting_branch
from tinytown_git.git import GitFailed, remove_stale_lock
from tinytown_git.repository import ABSENT, Repository
from tinytown_git.rescue import (
    Rescue,
    State,
    index_of,
    keep_commit,
    last_commit,
    list_rescues,
    restore_files,
    take_snapshot,
)

#: Where an agent works on mail that belongs to no task. No task has this name.
MAIL = "_mail"

#: A part of what ``git worktree add -b`` says when the branch exists, before it has done anything.
_HAS_BRANCH = "a branch named"
_LOCK_S = 10.0
_ADD_S = 600.0


class WorktreeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a worktree. `branch` and `target` are full names of refs; `base` is the commit that it began from.

    `admin` is the name of git's directory for it. `prepared`: its setup has run. `in_round`: it was being worked in when
    this was written. `settled` is what became of the task: completed, failed or cancelled. `moving`: the commit that it is on
    its way to, as a fresh base.
    """

    task: str
    agent: str
    branch: str
    target: str | None
    base: str
    admin: str
    port: int = 0
    prepared: bool = False
    in_round: bool = False
    settled: str = ""
    moving: str = ""


@dataclass(frozen=True, slots=True)
class Worktree:
    """A worktree: where it is, its record, and git's directory for it."""

    path: Path
    record: WorktreeRecord
    admin: Path

    @property
    def file(self) -> Path:
        """The file of its record."""
        return self.path.with_name(f"{self.path.name}.json")

    def changed(self, **changes: object) -> Worktree:
        """The same with another record, which is written. Raises: OSError."""
        record = msgspec.structs.replace(self.record, **changes)
        if record != self.record:
            replace_file(self.file, msgspec.json.encode(record))
        return Worktree(self.path, record, self.admin)


def ref_word(name: str) -> str:
    """A name of an agent or a task as a part of the name of a ref, where some are not allowed or taken."""
    word = re.sub(r"\.(?=\.)", "-", name)
    word = re.sub(r"\.(lock)?$", r"-\1", word)
    return f"{word}-" if word == "merged" else word


class Worktrees:
    """The worktrees of a town in `directory`, which is made if need be. Branches are ``<prefix>/<agent>/<task>``."""

    def __init__(self, repository: Repository, directory: Path, prefix: str = "tt") -> None:
        self.repository = repository
        self.directory = directory
        self.prefix = prefix
        self._changing_worktrees = _lock_of(repository.git_dir)

    def path(self, agent: str, task: str) -> Path:
        return self.directory / agent / task

    def branch(self, agent: str, task: str) -> str:
        """The branch (full name) of a task."""
        return f"refs/heads/{self.prefix}/{ref_word(agent)}/{ref_word(task)}"

    def all(self) -> Iterator[Worktree]:
        """All worktrees that have a record."""
        for file in sorted(self.directory.glob("*/*.json")):
            if found := self._read(file):
                yield found

    def get(self, agent: str, task: str) -> Worktree | None:
        """The worktree that was made for this agent and task."""
        return self._read(self.path(agent, task).with_name(f"{task}.json"))

    def find(self, task: str) -> Worktree | None:
        """The worktree of a task, whichever agent it was made for."""
        return next((found for file in self.directory.glob(f"*/{task}.json") if (found := self._read(file))), None)

    def of_agent(self, agent: str) -> list[Worktree]:
        """The worktrees that were made for an agent, the one used last first."""
        mine = [found for file in (self.directory / agent).glob("*.json") if (found := self._read(file))]
        return sorted(mine, key=lambda worktree: worktree.file.stat().st_mtime_ns, reverse=True)

    def _read(self, file: Path) -> Worktree | None:
        with suppress(OSError, msgspec.MsgspecError):
            record = msgspec.json.decode(file.read_bytes(), type=WorktreeRecord)
            return Worktree(file.with_suffix(""), record, self.repository.git_dir / "worktrees" / record.admin)
        return None

    @asynccontextmanager
    async def lock(self, agent: str, task: str, *, wait_s: float = _LOCK_S) -> AsyncGenerator[None]:
        """Hold a worktree, so that no other process removes or repairs it. Given up by the system if this process dies.

        Raises: Refused with code ``worktree_in_use`` after `wait_s` seconds; OSError.
        """
        file = self.path(agent, task).with_name(f"{task}.lock")
        due = trio.current_time() + wait_s
        while (held := _locked(file)) is None:
            if trio.current_time() >= due:
                raise Refused(
                    f"the worktree of task {task} of agent {agent} is in use",
                    hint="wait for the end of its round",
                    code="worktree_in_use",
                )
            await trio.sleep(0.05)
        with held:
            yield

    async def open(self, agent: str, task: str, base: Base) -> Worktree:
        """The worktree of a task, as it was left; made from `base` if there is none. Call it under `lock`.

        Raises: GitFailed; OSError.
        """
        found = self.get(agent, task)
        if found is None:
            return await self._make(agent, task, base)
        await self._drop_locks(found)
        if not await self._repair(found):
            return await self._make_again(found)
        if found.record.in_round:  # its kernel was killed
            await self.snapshot(found, "the round was cut off")
        return found

    async def snapshot(self, worktree: Worktree, reason: str) -> tuple[Rescue | None, State]:
        """Keep what is in it under a rescue ref, if it is on none. Raises: GitFailed; OSError."""
        record = worktree.record
        return await take_snapshot(
            self.repository, record.task, worktree.path, worktree.admin, reason=reason, branch=record.branch
        )

    async def obstacles(self, worktree: Worktree) -> list[str]:
        """What would be lost without its rescue ref if it were removed, in words. Raises: GitFailed; OSError."""
        found: list[str] = []
        record = worktree.record
        if _is_directory(worktree.path):
            _, state = await self.snapshot(worktree, "before it is removed")
            if state.changed:
                found.append("it has uncommitted work")
            if state.left_out:
                found.append(f"it has repositories of its own: {', '.join(state.left_out)}")
        if not await self.is_merged(record):
            found.append(f"{record.branch.removeprefix('refs/heads/')} is not merged")
        return found

    async def is_merged(self, record: WorktreeRecord) -> bool:
        """Whether all commits of its branch are in its target, or in what waits for that, or it has none."""
        tip = await self.repository.commit(record.branch)
        if tip is None or tip == record.base:
            return True
        places = [record.target, collecting_branch(self.prefix)]
        merged = [place for place in places if place and await self.repository.commit(place) is not None]
        return any([await self.repository.is_ancestor(tip, place) for place in merged])

    async def remove(self, worktree: Worktree, reason: str, *, branch: bool) -> Rescue | None:
        """Remove a worktree, and its `branch` where that is merged; what it held is on refs then. Call it under `lock`.

        Raises: GitFailed and OSError if its work could not be kept: it is still there then.
        """
        rescue, record = None, worktree.record
        tip = await self.repository.commit(record.branch)
        if _is_directory(worktree.path):
            rescue, _ = await self.snapshot(worktree, reason)
        if branch and tip is not None:
            await keep_commit(self.repository, record.task, tip, reason=reason, but=record.branch)
        aside = await self._put_aside(worktree.path)
        await self._forget(worktree.path)
        if branch and tip is not None:
            await self.repository.delete_ref(record.branch, tip)
        for suffix in ("json", "setup.log", "lock"):
            worktree.path.with_name(f"{record.task}.{suffix}").unlink(missing_ok=True)
        if aside is not None:
            await trio.to_thread.run_sync(_delete, aside)
        return rescue

    async def add_detached(self, path: Path, commit: str) -> None:
        """A worktree without a branch, for a moment: see `discard`. Raises: GitFailed."""
        async with self._changing_worktrees:
            await self.repository.git(
                "worktree", "add", "--quiet", "--detach", "--lock", "--reason", "Tinytown: checks", "--", str(path), commit,
                timeout_s=_ADD_S,
            )  # fmt: skip

    async def discard(self, path: Path) -> None:
        """Remove a worktree that holds no work, or what is left of one. Raises: GitFailed; OSError."""
        if os.path.lexists(path):
            await trio.to_thread.run_sync(_delete, path)
        await self._forget(path)

    def asides(self) -> list[Path]:
        """Directories of worktrees that could not be used as they were."""
        return sorted(path for pattern in ("*/*.aside-*", "*/*.git-*") for path in self.directory.glob(pattern))

    async def delete_aside(self, aside: Path) -> None:
        """Delete what was put aside, or a repository that an agent had made."""
        await trio.to_thread.run_sync(_delete, aside)

    async def _make(self, agent: str, task: str, base: Base) -> Worktree:
        path, branch = self.path(agent, task), self.branch(agent, task)
        aside = await self._put_aside(path)  # of a `git worktree add` that was cut off, or one whose record is gone
        if ref_word(path.name) != path.name or any((self.repository.git_dir / "worktrees").glob(f"{path.name}*")):
            await self._forget(path)
        record = WorktreeRecord(task=task, agent=agent, branch=branch, target=base.target, base=base.commit, admin="")
        try:
            made = await self._add(path, record, has_branch=False)
        except GitFailed as error:  # not asked before: it seldom has its branch, and each question is a process
            if _HAS_BRANCH not in error.stderr or (tip := await self.repository.commit(branch)) is None:
                raise
            made = await self._add(path, await self._begin_again(record, tip), has_branch=True)
        if aside is not None and await self._holds_nothing(made, aside):
            await trio.to_thread.run_sync(_delete, aside)
        return made

    async def _begin_again(self, record: WorktreeRecord, tip: str) -> WorktreeRecord:
        """The record of a worktree whose branch is there already, at `tip`: moved to the base if that contains it."""
        base = record.base
        if await self.repository.is_ancestor(tip, base):
            await self.repository.set_ref(record.branch, base, tip, reason="a fresh base")
            return record
        return msgspec.structs.replace(record, base=await self.repository.merge_base(base, tip) or base)

    async def _make_again(self, worktree: Worktree) -> Worktree:
        """A worktree that was removed or destroyed, from its branch and its newest rescue. What is left of it goes aside."""
        record, path = worktree.record, worktree.path
        if _is_directory(path):
            await self.snapshot(worktree, "the worktree was damaged")
        await self._put_aside(path)
        await self._forget(path)
        tip = await self.repository.commit(record.branch)
        newest = next(iter(await list_rescues(self.repository, record.task)), None)
        parent = await self.repository.commit(f"{newest.commit}^1") if newest else None
        if tip is None and newest is not None:
            tip = parent or newest.commit
            await self.repository.set_ref(record.branch, tip, ABSENT, reason="the branch was deleted")
        made = await self._add(
            path, msgspec.structs.replace(record, prepared=False, in_round=False), has_branch=tip is not None
        )
        if newest is not None and newest.files and parent == tip:
            await restore_files(self.repository, path, newest)
        return made

    async def _add(self, path: Path, record: WorktreeRecord, *, has_branch: bool) -> Worktree:
        """``git worktree add``, and the record: without one it was not finished."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        branch = record.branch.removeprefix("refs/heads/")
        where = ["--", str(path), branch] if has_branch else ["--no-track", "-b", branch, "--", str(path), record.base]
        reason = f"Tinytown: task {record.task} of agent {record.agent}"
        async with self._changing_worktrees:  # git's own are not safe against each other
            await self.repository.git(
                "worktree", "add", "--quiet", "--lock", "--reason", reason, *where, timeout_s=_ADD_S
            )
        admin = _pointer(path)
        record = msgspec.structs.replace(record, admin=admin.name)
        made = Worktree(path, record, admin)
        replace_file(made.file, msgspec.json.encode(record))
        return made

    async def _holds_nothing(self, worktree: Worktree, aside: Path) -> bool:
        """Whether a directory is a part of what git was making there: its files are those of the worktree, or begin so."""
        base = worktree.record.base
        async with (
            self.repository.quarantine() as inside,
            index_of(inside, aside, worktree.admin, base) as git,
        ):
            found = await git("diff-index", "--cached", "--name-status", "--no-renames", "-z", base)
        for status, name in zip(found.items[0::2], found.items[1::2], strict=True):
            if status == "D":
                continue
            whole = await self.repository.git("cat-file", "blob", f"{base}:{name}", expected=(0, 128))
            if whole.status or not whole.stdout.startswith((aside / name).read_bytes()):
                return False
        return True

    async def _repair(self, worktree: Worktree) -> bool:
        """Put right what git needs to find the worktree. False if it, or git's directory for it, is gone."""
        path, admin, branch = worktree.path, worktree.admin, worktree.record.branch
        if not _is_directory(path) or not _is_directory(admin):
            return False
        entry = path / ".git"
        if os.path.lexists(entry) and (entry.is_symlink() or not entry.is_file()):  # a repository of the agent's own
            entry.rename(path.with_name(f"{path.name}.git-{_stamp()}"))
        for file, text in (
            (entry, f"gitdir: {admin}\n"),
            (admin / "gitdir", f"{entry}\n"),
            (admin / "commondir", "../..\n"),
        ):
            if file.is_symlink() or not file.is_file() or file.read_bytes() != os.fsencode(text):
                replace_file(file, os.fsencode(text))
        if await self.repository.commit(f"worktrees/{admin.name}/HEAD") is None:
            if await self.repository.commit(branch) is None:
                tip = await last_commit(self.repository, admin) or worktree.record.base
                await self.repository.set_ref(branch, tip, ABSENT, reason="the branch was deleted")
            replace_file(admin / "HEAD", os.fsencode(f"ref: {branch}\n"))
        git = self.repository.git_in(path, index=admin / "index")
        if (await git("ls-files", "--unmerged", expected=(0, 128))).status:  # it is damaged
            (admin / "index").unlink()
            await git("read-tree", f"worktrees/{admin.name}/HEAD")
        return True

    async def _drop_locks(self, worktree: Worktree) -> None:
        """Remove the locks of a git that was killed in the worktree."""
        ref = self.repository.git_dir / f"{worktree.record.branch}.lock"
        due = trio.current_time() + _LOCK_S
        while locks := [*worktree.admin.glob("*.lock"), *([ref] if ref.exists() else [])]:
            removed = [remove_stale_lock(lock, self.repository.git_dir, own=True) for lock in locks]
            if all(removed) or trio.current_time() > due:
                return
            await trio.sleep(0.2)

    async def _put_aside(self, path: Path) -> Path | None:
        """Move a directory away that cannot be used as it is; where it is now. git does not take it for a worktree there."""
        if not os.path.lexists(path):
            return None
        aside = path.with_name(f"{path.name}.aside-{_stamp()}")
        path.rename(aside)
        entry = aside / ".git"
        if not aside.is_symlink() and entry.is_file() and not entry.is_symlink():
            entry.unlink()
        return aside

    async def _forget(self, path: Path) -> None:
        """Have git forget a worktree whose directory is gone."""
        async with self._changing_worktrees:
            await self.repository.git("worktree", "remove", "--force", "--force", "--", str(path), expected=(0, 128))


@cache
def _lock_of(git_dir: Path) -> trio.Lock:
    """Held while git makes or removes a worktree, which is not safe beside another git that does."""
    return trio.Lock()


def _locked(file: Path) -> IO[bytes] | None:
    """The lock file, locked by this process; None if another holds it. Raises: OSError."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as undo:
        held = undo.enter_context(open(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "rb"))
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(held.fileno()).st_ino == file.stat().st_ino:  # else its last holder has removed it
                undo.pop_all()
                return held
    return None


def _is_directory(path: Path) -> bool:
    """Whether `path` is a directory itself, and no link to one."""
    with suppress(OSError):
        return stat.S_ISDIR(path.lstat().st_mode)
    return False


def _pointer(path: Path) -> Path:
    """Git's directory for a worktree that git has just made."""
    return Path((path / ".git").read_text().removeprefix("gitdir:").strip())


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")


def _delete(directory: Path) -> None:
    """Delete a directory, also one whose directories are read-only, such as a cache of Go's modules."""

    def make_writable(function: Callable[..., object], path: str, _: object) -> None:
        with suppress(OSError):
            os.chmod(os.path.dirname(path), 0o700)
            function(path)

    if _is_directory(directory):
        remove_tree(directory, onerror=make_writable)
    else:
        directory.unlink(missing_ok=True)
