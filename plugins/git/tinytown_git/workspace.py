"""The workspace of a town in a git repository: a worktree for each task, kept while the task is open.

A round of mail alone is where its agent worked last. What a round leaves uncommitted is kept under a rescue ref at its end.
In a repository without commits, agents work in the project itself until there is a first one.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import trio
from tinytown.contracts import Disposition, Purpose, WorkContext, Workspace
from tinytown.errors import TinytownError
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown_cli.public import DOCTOR_AGENT

from tinytown_git.base import Base, choose_base, local_base
from tinytown_git.git import GitFailed, persistently
from tinytown_git.prepare import prepare
from tinytown_git.refresh import follow_base
from tinytown_git.repository import find_repository
from tinytown_git.repository_files import has_repository
from tinytown_git.settings import Settings
from tinytown_git.work import Records
from tinytown_git.worktrees import MAIL, Worktree, Worktrees

_log = logging.getLogger("tinytown.git")

_SNAPSHOT_S = 60.0


class GitWorkspace(Workspace):
    """Worktrees of the repository that `root` is in."""

    name = "worktree"

    def __init__(self, settings: Settings, root: Path) -> None:
        self._settings = settings
        self._root = root
        self._worktrees: Worktrees | None = None

    @property
    def is_used(self) -> bool:
        """Whether tasks have worktrees: the settings say so, and the project is in a repository."""
        return self._settings.workspace == "worktree" and has_repository(self._root)

    def claims(self, agent: Agent, task: Task | None) -> bool:
        return self.is_used and agent.name != DOCTOR_AGENT  # which changes nothing, and would leave a branch

    async def worktrees(self) -> Worktrees:
        """The worktrees of the town. Raises: NotFound if `root` is in no repository any more; GitFailed."""
        if self._worktrees is None or not self._worktrees.repository.git_dir.is_dir():
            directory = self._settings.worktrees_directory(self._root)
            self._worktrees = Worktrees(await find_repository(self._root), directory, self._settings.branch_prefix)
        return self._worktrees

    @asynccontextmanager
    async def open(self, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
        worktrees = await self.worktrees()
        agent, task = self._place(worktrees, work)
        base = await persistently(partial(self._base, worktrees, work, agent, task))
        if base is None:
            _log.info("%s has no commit yet: %s works in the project itself", self._root, work.agent.name)
            yield self._root
            return
        async with worktrees.lock(agent, task):
            known = worktrees.get(agent, task) is not None
            worktree = await persistently(partial(worktrees.open, agent, task, base))
            if known and purpose == "round":
                worktree = await persistently(partial(self._refreshed, worktrees, work, worktree))
            worktree = await self._prepared(worktrees, work, worktree)
            settled = worktree.record.settled if work.task is None else ""  # mail does not open a task again
            worktree = worktree.changed(in_round=purpose == "round", settled=settled)
            try:
                yield worktree.path / worktrees.repository.prefix
            finally:
                if purpose == "round":
                    with trio.CancelScope(shield=True, relative_deadline=_SNAPSHOT_S):
                        await self._end_round(worktrees, work, worktree)

    async def settle(self, work: WorkContext, disposition: Disposition, directory: Path | None) -> None:
        worktrees = await self.worktrees()
        task = work.task.id if work.task else MAIL
        if worktree := worktrees.find(task):
            async with worktrees.lock(worktree.record.agent, task):
                if worktree.path.is_dir():
                    await persistently(partial(worktrees.snapshot, worktree, f"the task is {disposition}"))
                worktree.changed(settled=disposition, in_round=False)

    def _place(self, worktrees: Worktrees, work: WorkContext) -> tuple[str, str]:
        """The agent and the task whose worktree is to be opened."""
        if work.task is not None:
            made = worktrees.find(work.task.id)
            return (made.record.agent if made else work.agent.name), work.task.id
        last = next((known for known in worktrees.of_agent(work.agent.name) if known.path.is_dir()), None)
        return work.agent.name, last.record.task if last else MAIL

    async def _base(self, worktrees: Worktrees, work: WorkContext, agent: str, task: str) -> Base | None:
        known = worktrees.get(agent, task)
        if known is not None:
            return Base(known.record.base, known.record.target)
        settings = self._settings
        base = await choose_base(
            worktrees.repository, target=settings.target, prefix=settings.branch_prefix, fetch=settings.fetch
        )
        if base is not None:
            if base.stale:
                _log.warning("new work begins from a stale base: %s", base.stale)
            await Records(work.town.operations, work.town.run).note_stale(base.stale)
        return base

    async def _refreshed(self, worktrees: Worktrees, work: WorkContext, worktree: Worktree) -> Worktree:
        """The worktree at what its target has by now, if it holds nothing of its own."""

        async def merged_commit() -> str | None:
            submitted = await Records(work.town.operations, work.town.run).read(worktree.record.task)
            return submitted.commit if submitted and submitted.stage == "merged" else None

        settings = self._settings
        base = await local_base(worktrees.repository, target=settings.target, prefix=settings.branch_prefix)
        return worktree if base is None else await follow_base(worktrees, worktree, base, merged_commit)

    async def _prepared(self, worktrees: Worktrees, work: WorkContext, worktree: Worktree) -> Worktree:
        if not worktree.record.prepared:
            log = worktree.path.with_name(f"{worktree.record.task}.setup.log")
            await prepare(worktrees.repository, self._settings, work, worktree.path, log)
        return worktree.changed(prepared=True)

    async def _end_round(self, worktrees: Worktrees, work: WorkContext, worktree: Worktree) -> None:
        """Keep what the round has left. A failure costs no outcome: the files are still where they were."""
        try:
            await persistently(partial(worktrees.snapshot, worktree, f"the end of round {work.round_id}"), for_s=5.0)
            worktree.changed(in_round=False)
        except (GitFailed, OSError) as error:
            _log.warning("no snapshot of %s: %s", worktree.path, error)
            text = f"no snapshot of the work of {work.agent.name}: {error}"
            with suppress(TinytownError):
                await work.town.run(work.town.operations.emit("plugin_reported", {"plugin": "git", "text": text}))
