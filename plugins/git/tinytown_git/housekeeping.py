"""Keeps the worktrees of this machine: snapshots of work in progress, and the removal of what holds nothing any more."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import trio
from tinytown.contracts import Service
from tinytown.errors import NotFound, Refused
from tinytown.town import Town

from tinytown_git.git import GitFailed, remove_stale_lock
from tinytown_git.repository_files import has_repository
from tinytown_git.rescue import Rescue, list_rescues, prune_rescues
from tinytown_git.settings import Settings
from tinytown_git.workspace import GitWorkspace
from tinytown_git.worktrees import MAIL, Worktree, Worktrees

_log = logging.getLogger("tinytown.git")

_EVERY_S = 60.0
_DAY_S = 86_400.0
_KEPT_S = 3_600.0  # longer than a garbage collection takes
#: How long the worktree of a completed task stays for mail about it, unless its agent works on another one.
_RESTS_S = 900.0


class Housekeeping(Service):
    """Snapshots at intervals, of killed rounds at the start; worktrees and rescue refs whose time is over go."""

    name = "worktrees"

    def __init__(self, settings: Settings, workspace: GitWorkspace) -> None:
        self._settings = settings
        self._workspace = workspace

    async def run(self, town: Town) -> None:
        next_snapshot = trio.current_time()
        while True:
            if has_repository(town.root):
                with suppress(NotFound):
                    worktrees = await self._workspace.worktrees()
                    if trio.current_time() >= next_snapshot:
                        next_snapshot = trio.current_time() + (self._settings.snapshot_every_s or float("inf"))
                        await self.snapshot_rounds(worktrees)
                    try:
                        await self.sweep(worktrees)
                    except (GitFailed, OSError) as error:  # tried again with the next one
                        _log.warning("nothing is removed: %s", error)
            await trio.sleep(_EVERY_S)

    async def snapshot_rounds(self, worktrees: Worktrees) -> None:
        """Keep what is in the worktrees that rounds work in, or that a killed round left."""
        for worktree in list(worktrees.all()):
            if worktree.record.in_round:
                try:
                    await worktrees.snapshot(worktree, "work in progress")
                except (GitFailed, OSError) as error:
                    _log.warning("no snapshot of %s: %s", worktree.path, error)

    async def sweep(self, worktrees: Worktrees) -> None:
        """Remove worktrees of finished tasks that hold nothing that is nowhere else, and rescue refs that are old."""
        for worktree in list(worktrees.all()):
            if self._is_due(worktrees, worktree):
                with suppress(Refused, FileNotFoundError):  # somebody works there; it was removed a moment ago
                    async with worktrees.lock(worktree.record.agent, worktree.record.task, wait_s=0):
                        if not await worktrees.obstacles(worktree):
                            await worktrees.remove(worktree, "its task is finished", branch=True)
        git_dir = worktrees.repository.git_dir
        # Of a git that was killed, an agent's too: nothing else removes them, and the last one ends all maintenance.
        for lock in (*(git_dir / "refs" / "tinytown").rglob("*.lock"), git_dir / "objects" / "maintenance.lock"):
            remove_stale_lock(lock, git_dir)
        worktrees.repository.release_packs(_KEPT_S)
        worktrees.repository.remove_quarantines(_KEPT_S)
        await prune_rescues(worktrees.repository, await old_rescues(worktrees, self._settings.rescue_days))

    def _is_due(self, worktrees: Worktrees, worktree: Worktree) -> bool:
        record = worktree.record
        if not record.settled and record.task != MAIL:
            return False
        with suppress(OSError):
            age_s = time.time() - worktree.file.stat().st_mtime
            if record.task == MAIL:  # made again when it is needed
                return age_s > _RESTS_S
            if record.settled == "completed":
                return age_s > _RESTS_S or worktrees.of_agent(record.agent)[0].path != worktree.path
            return self._settings.keep_days > 0 and age_s > self._settings.keep_days * _DAY_S
        return False


async def old_rescues(worktrees: Worktrees, days: float, *, always: bool = False) -> list[Rescue]:
    """The rescues that are older than so many days, without those of tasks that have a worktree.

    0 days is none, unless `always`.
    """
    before = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y%m%dT%H%M%S")
    open_tasks = {worktree.record.task for worktree in worktrees.all()}
    rescues = await list_rescues(worktrees.repository) if days or always else []
    return [rescue for rescue in rescues if rescue.at < before and rescue.task not in open_tasks]
