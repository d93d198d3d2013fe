"""The gate of a town in a git repository: what a task has changed, the declared checks, and then review and merge queue.

What waits for a reviewer or the queue is recorded in the town and stays submitted: the queue says the verdict, and the agent is
free meanwhile.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from tinytown.config import Config
from tinytown.contracts import Gate, Verdict, WorkContext
from tinytown.model.tasks import Task

from tinytown_git.checks import Bench, run_checks, wrap_for
from tinytown_git.git import persistently
from tinytown_git.settings import Settings
from tinytown_git.submit import NotReady, Submission, check_limits, submit
from tinytown_git.work import FINAL, CheckResult, Records, Stage, Work
from tinytown_git.workspace import GitWorkspace
from tinytown_git.worktrees import Worktree


class GitGate(Gate):
    """Judges the commits of a task."""

    name = "git"

    def __init__(self, settings: Settings, config: Config, workspace: GitWorkspace) -> None:
        self._settings = settings
        self._config = config
        self._workspace = workspace

    def wants(self, task: Task) -> bool:
        return self._workspace.is_used

    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        task = work.task
        if task is None or not self.wants(task):
            return Verdict(True)
        worktrees = await self._workspace.worktrees()
        worktree = worktrees.find(task.id)
        if worktree is None or not directory.is_relative_to(worktree.path):
            return Verdict(True, "worked in the project itself")
        records = Records(work.town.operations, work.town.run)
        before = await records.read(task.id)
        if before is not None and before.round_id == work.round_id:  # the kernel has been started again meanwhile
            return _verdict_of(before)
        try:
            submission = await persistently(partial(submit, worktrees, worktree, task, self._settings))
            check_limits(submission, self._settings)
        except NotReady as error:
            return Verdict(False, str(error))
        if not submission.files:
            return Verdict(True, "nothing was changed")
        results: tuple[CheckResult, ...] = ()
        if self._settings.checks:
            wrap = await wrap_for(work.agent, self._config, work.root)
            bench = Bench(work.processes, work.environment, wrap)
            log = worktree.path.with_name(f"{task.id}.checks.log")
            results = await persistently(
                partial(run_checks, worktrees, self._settings, work.root, submission.commit, bench, log)
            )
            if failed := next((result for result in results if not result.passed), None):
                return Verdict(False, check_evidence(failed))
        return await self._hand_over(records, before, work, task, worktree, submission, results)

    async def _hand_over(
        self,
        records: Records,
        before: Work | None,
        work: WorkContext,
        task: Task,
        worktree: Worktree,
        submission: Submission,
        results: tuple[CheckResult, ...],
    ) -> Verdict:
        stage: Stage = "accepted" if self._settings.merge == "branch" else "queued"
        stage = "review" if self._settings.review != "none" else stage
        now_ms = int(time.time() * 1000)
        submitted = Work(
            task=task.id,
            title=task.headline,
            agent=work.agent.name,
            agent_id=work.agent.id,
            round_id=work.round_id or "",
            commit=submission.commit,
            base=submission.base,
            branch=worktree.record.branch,
            target=worktree.record.target,
            stage=stage,
            priority=task.priority,
            # Work that was sent back keeps its place: else a conflict would put it behind what came later, again and again.
            at_ms=before.at_ms if before and before.stage == "refused" else now_ms,
            since_ms=now_ms,
            checks=results,
            reported=stage == "accepted",
        )
        event = (
            "git_submitted",
            {"task": task.id, "agent": work.agent.name, "commit": submission.commit, "stage": stage},
        )
        if not await records.change(before, submitted, event):
            raise RuntimeError("the record of the task was changed while it was checked")
        return _verdict_of(submitted)


def _verdict_of(work: Work) -> Verdict:
    if work.stage not in FINAL:
        return Verdict(None, work.reason)
    return Verdict(work.stage != "refused", work.reason)


def check_evidence(result: CheckResult) -> str:
    """What the author of the work learns of a check that failed."""
    return f"the check {result.name!r} failed: {result.output}"
