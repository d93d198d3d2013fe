"""The merge queue: one in the town. It merges work that passed its gates, checks the result, and says the verdict.

Every step begins from what the repository and the records say, so that it may be cut off anywhere: an intention is recorded
before the branch is moved, and what the branch holds decides afterwards whether it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import trio
from tinytown.config import Config
from tinytown.contracts import Service
from tinytown.errors import NotFound, Refused
from tinytown.kernel import round_environment, run_directory
from tinytown.model.events import Event, OtherEvent, PluginDataChanged, TaskDeleted, TaskStateChanged
from tinytown.model.tasks import Fate, Task
from tinytown.process import ProcessSupervisor, open_process_supervisor
from tinytown.town import Town

from tinytown_git.advance import Blocked, advance, recover
from tinytown_git.base import choose_base, collecting_branch
from tinytown_git.checks import Bench, Wrap, run_checks, sweep_clean_worktrees, unboxed, wrap_for
from tinytown_git.gate import check_evidence
from tinytown_git.git import GitFailed
from tinytown_git.merging import Conflict, combine, describe_conflict
from tinytown_git.proposals import Proposals
from tinytown_git.repository import ABSENT, Repository
from tinytown_git.repository_files import has_repository
from tinytown_git.rescue import keep_commit
from tinytown_git.reservation_keeper import ReservationKeeper
from tinytown_git.review import on_timeout
from tinytown_git.reviewers import Reviewers
from tinytown_git.settings import Settings
from tinytown_git.submit import message_of
from tinytown_git.work import FINAL, PLUGIN, CheckResult, QueueState, Records, Work
from tinytown_git.workspace import GitWorkspace
from tinytown_git.worktrees import Worktrees

_log = logging.getLogger("tinytown.git")

_FIRST_S, _AGAIN_S = 0.2, 10.0
_TREES_KEPT = 1_000
_FINISHED_KEPT = 1_000


@dataclass(slots=True)
class Step:
    """Work of a batch, and the commit that the target is at with it and all before it."""

    work: Work
    result: str


@dataclass(slots=True)
class Tip:
    """Where a target is: its commit, and the one to merge onto, which has more if merged work waits for the target."""

    target: str | None
    commit: str | None
    onto: str
    collected: str | None


class MergeQueue(Service):
    """Merges submitted work, in one kernel of the town at a time."""

    name = "merge-queue"
    scope: Literal["host", "town"] = "town"

    def __init__(self, settings: Settings, config: Config, workspace: GitWorkspace) -> None:
        self._settings = settings
        self._config = config
        self._workspace = workspace

    async def run(self, town: Town) -> None:
        changed = _Changes()
        with town.subscribe(changed.on_event):
            async with (
                open_process_supervisor(run_dir=run_directory(town.root)) as processes,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(Reviewers(self._settings).run, town)
                nursery.start_soon(ReservationKeeper().run, town)
                while True:
                    changed.seen = trio.Event()
                    if has_repository(town.root) and self._settings.workspace == "worktree":
                        with suppress(NotFound):
                            worktrees = await self._workspace.worktrees()
                            await sweep_clean_worktrees(worktrees)
                            await QueueRun(self._settings, self._config, town, worktrees, processes).work(changed)
                    with trio.move_on_after(_AGAIN_S):
                        await changed.seen.wait()


@dataclass(slots=True)
class _Changes:
    """Wakes the queue when something has happened that may concern it."""

    seen: trio.Event = field(default_factory=trio.Event)

    def on_event(self, event: Event) -> None:
        match event:
            case PluginDataChanged(plugin=plugin) if plugin != PLUGIN:
                return
            case PluginDataChanged() | TaskDeleted():
                self.seen.set()
            case TaskStateChanged() if event.old == "verifying":
                self.seen.set()
            case OtherEvent() if event.type.startswith("git_"):
                self.seen.set()
            case _:
                return


class QueueRun:
    """The queue over one repository, while it is there."""

    def __init__(
        self, settings: Settings, config: Config, town: Town, worktrees: Worktrees, processes: ProcessSupervisor
    ) -> None:
        self._settings = settings
        self._config = config
        self._town = town
        self._worktrees = worktrees
        self._processes = processes
        self._records = Records(town.operations, town.run)
        self._proposals = Proposals(settings, config, town, worktrees.repository, processes)
        self._journal = worktrees.directory / "advance.json"
        self._passed: dict[str, None] = {}  # trees on which all checks passed
        self._synced: dict[tuple[str, str], str | Conflict] = {}
        self._wraps: dict[str, Wrap] = {}

    @property
    def _repository(self) -> Repository:
        return self._worktrees.repository

    async def work(self, changed: _Changes) -> None:
        """Do what is to be done, again and again, until the repository is gone."""
        pause_s = _FIRST_S
        while self._repository.git_dir.is_dir():
            changed.seen = trio.Event()
            try:
                busy, pause_s = await self._pass(), _FIRST_S
            except (GitFailed, OSError) as error:  # a full disk, a lock that stays: nothing is lost, it is tried again
                _log.warning("the merge queue waits: %s", error)
                await trio.sleep(pause_s)
                busy, pause_s = True, min(2 * pause_s, _AGAIN_S)
            if not busy:
                forge_s = self._settings.forge_poll_s if self._settings.merge == "pr" else _AGAIN_S
                with trio.move_on_after(min(_AGAIN_S, forge_s)):
                    await changed.seen.wait()

    async def _pass(self) -> bool:
        """One look at everything; whether there may be more to do at once."""
        if not await recover(self._repository, self._journal):
            return False
        works, state = await self._records.all()
        for work in works:
            await self._reconcile(work)
        await self._forget_old([work for work in works if work.reported])
        works, state = await self._records.all()
        await self._catch_up(state)
        if state.stale:
            await self._look_again(state)
        if state.paused:
            return False
        if self._settings.merge == "pr":
            await self._proposals.work([work for work in works if work.stage in ("queued", "proposed")])
            return False
        queued = [work for work in works if work.stage == "queued"]
        if not queued:
            return False
        now_ms = _now_ms()
        queued.sort(key=lambda work: (-work.score(now_ms), work.at_ms, work.task))
        batch = [work for work in queued if work.target == queued[0].target][: self._settings.batch]
        return await self._merge(batch)

    async def _look_again(self, state: QueueState) -> None:
        """Whether the base is still stale; a person may have pulled."""
        settings = self._settings
        base = await choose_base(self._repository, target=settings.target, prefix=settings.branch_prefix, fetch=False)
        if base is not None and not base.behind and "could not be fetched" not in state.stale:
            await self._records.note_stale("")

    # -- records and tasks ----------------------------------------------------------------------------------------

    async def _reconcile(self, work: Work) -> None:
        """Bring a record and its task together, after a crash or what a person has done."""
        if work.reported:
            return
        try:
            task = await self._town.task(work.task)
        except NotFound:
            await self._records.change(work, None)
            return
        if work.stage == "merging":
            work = await self._after_merging(work)
        if work.stage in FINAL:
            await self._tell(work, task)
        elif task.state != "verifying" or task.round_id != work.round_id:
            await self._records.change(work, None)  # a person has settled it, or it was sent back
        elif late := on_timeout(work, self._settings, _now_ms()):
            await self._records.change(work, late)

    async def _after_merging(self, work: Work) -> Work:
        """Work whose branch was about to be moved: merged, if it was."""
        places = [place for place in (work.target, collecting_branch(self._settings.branch_prefix)) if place]
        for place in places:
            known = [await self._repository.commit(name) for name in (place, work.result)]
            if all(known) and await self._repository.is_ancestor(work.result, place):
                return await self._merged(work, place) or work
        again = msgspec.structs.replace(work, stage="queued", onto="", result="")
        return again if await self._records.change(work, again) else work

    async def _tell(self, work: Work, task: Task) -> None:
        """Say the verdict to the town. It says nothing if the task has moved on."""
        spent = task.attempts >= self._config.round.max_attempts
        fate: Fate = "complete" if work.stage != "refused" else "fail" if spent else "again"
        with suppress(Refused, NotFound):
            await self._town.run(
                self._town.operations.record_verdict(task.id, fate, round_id=work.round_id, evidence=work.reason)
            )
        await self._records.change(work, msgspec.structs.replace(work, reported=True))

    async def _forget_old(self, reported: Sequence[Work]) -> None:
        """Remove the records of what was settled long ago."""
        for work in sorted(reported, key=lambda work: work.since_ms, reverse=True)[_FINISHED_KEPT:]:
            await self._records.change(work, None)

    async def _refuse(self, work: Work, reason: str) -> None:
        refused = msgspec.structs.replace(work, stage="refused", reason=reason, since_ms=_now_ms(), onto="", result="")
        members = {"task": work.task, "agent": work.agent, "reason": reason[:500], "duration_ms": _waited_ms(work)}
        await self._records.change(work, refused, ("git_refused", members))

    async def _merged(self, work: Work, place: str) -> Work | None:
        """Record that work is merged; None if the record has changed. Its own commits stay on a ref."""
        await keep_commit(self._repository, work.task, work.commit, reason="merged", but=work.branch)
        merged = msgspec.structs.replace(work, stage="merged", place=place, since_ms=_now_ms(), reason="")
        members = {"task": work.task, "agent": work.agent, "commit": work.result, "branch": _short(place)}
        members["duration_ms"] = _waited_ms(work)
        return merged if await self._records.change(work, merged, ("git_merged", members)) else None

    # -- merging --------------------------------------------------------------------------------------------------

    async def _merge(self, batch: Sequence[Work]) -> bool:
        """Merge a batch into its target; whether anything became of it."""
        tip = await self._tip(batch[0].target)
        if tip is None:
            await self._wait_with(batch, f"the branch {_short(batch[0].target or '')} does not exist")
            return False
        steps = await self._combine(batch, tip)
        if steps and self._settings.checks:
            steps = await self._checked_steps(steps, tip.onto)
        if not steps:
            return True
        intended: list[Work] = []
        for step in steps:
            merging = msgspec.structs.replace(step.work, stage="merging", onto=tip.onto, result=step.result, reason="")
            if not await self._records.change(step.work, merging):
                return True  # a person has decided otherwise meanwhile: once more, without it
            intended.append(merging)
        place = await self._move(tip, steps[-1].result)
        if place is None:
            return False
        if await self._repository.commit(place) is None or not await self._repository.is_ancestor(
            intended[-1].result, place
        ):
            raise GitFailed(["update-ref"], None, "", f"{place} does not hold what was merged")
        for work in intended:
            if merged := await self._merged(work, place):
                with suppress(NotFound):
                    await self._tell(merged, await self._town.task(work.task))
        return True

    async def _tip(self, target: str | None) -> Tip | None:
        """Where a target is; None if it is gone."""
        collecting = await self._repository.commit(collecting_branch(self._settings.branch_prefix))
        commit = await self._repository.commit(target) if target else await self._repository.head_commit()
        if commit is None:
            return None
        if collecting is None or await self._repository.is_ancestor(collecting, commit):
            return Tip(target, commit, commit, collecting)
        if await self._repository.is_ancestor(commit, collecting):
            return Tip(target, commit, collecting, collecting)
        _, state = await self._records.all()
        if state.target != (target or ""):  # it collects for another one
            return Tip(target, commit, commit, collecting)
        if (both := self._synced.get((collecting, commit))) is None:
            message = f"Merge {_short(target or 'HEAD')} into what waits for it\n"
            async with self._repository.quarantine() as inside:
                both = await combine(inside, collecting, commit, "merge", message)
                await inside.keep_objects()
            self._synced = {(collecting, commit): both}
        return Tip(target, commit, collecting if isinstance(both, Conflict) else both, collecting)

    async def _combine(self, batch: Sequence[Work], tip: Tip) -> list[Step]:
        """The batch merged in its order; what conflicts goes back to its author."""
        steps: list[Step] = []
        onto, strategy = tip.onto, self._settings.strategy
        subject = "Merge {title}" if strategy != "squash" else "{title}"
        place = _short(tip.target or "HEAD") if tip.onto == tip.commit else _short(self._collecting)
        async with self._repository.quarantine() as inside:
            for work in batch:
                message = message_of(work.task, work.title, work.agent, self._settings, subject)
                result = await combine(inside, onto, work.commit, strategy, message)
                if not isinstance(result, Conflict):
                    steps.append(Step(work, result))
                    onto = result
                elif not steps:  # else its turn comes when those before it are merged: its author has to see them
                    branch = _short(work.branch)
                    text = await describe_conflict(inside, result, onto, place, work.commit, branch)
                    await self._refuse(work, text)
            if steps:
                await inside.keep_objects()
        return steps

    @property
    def _collecting(self) -> str:
        return collecting_branch(self._settings.branch_prefix)

    async def _move(self, tip: Tip, result: str) -> str | None:
        """Move the target to `result`, or, where it cannot be moved, what collects work for it; None if neither."""
        blocked = Blocked("HEAD is detached: no branch is checked out in the project")
        if tip.target is not None and tip.commit is not None:
            moved = await self._advance(tip.target, tip.commit, result)
            if not isinstance(moved, Blocked):
                return tip.target if moved == "moved" else None
            blocked = moved
        _, state = await self._records.all()
        if state.collected and state.target != (tip.target or "") and tip.collected:
            _log.info("%s waits: %s has work for %s", tip.target, state.collected, state.target)
            return None
        moved = await self._advance(self._collecting, tip.collected or ABSENT, result)
        if moved != "moved":
            return None
        waiting = msgspec.structs.replace(
            state, target=tip.target or "", collected=self._collecting, reason=blocked.reason
        )
        if waiting != state:
            await self._records.change_queue(state, waiting)
        return self._collecting

    async def _advance(self, branch: str, old: str, new: str) -> Literal["moved", "elsewhere"] | Blocked:
        return await advance(
            self._repository, branch, old, new, journal=self._journal, worktrees=self._worktrees.directory
        )

    async def _catch_up(self, state: QueueState) -> None:
        """Bring what waits for a target there, as soon as its checkout allows it."""
        if not state.collected:
            return
        tip = await self._tip(state.target or None)
        if tip is None or tip.commit is None:
            return
        if tip.collected is not None and not await self._repository.is_ancestor(tip.collected, tip.commit):
            if tip.target is None:
                return
            if not await self._repository.is_ancestor(tip.commit, tip.onto):
                why = f"{_short(tip.target)} and {_short(self._collecting)} have conflicting changes"
                await self._records.change_queue(state, msgspec.structs.replace(state, reason=why))
                return
            moved = await self._advance(tip.target, tip.commit, tip.onto)
            if isinstance(moved, Blocked):
                await self._records.change_queue(state, msgspec.structs.replace(state, reason=moved.reason))
            if moved != "moved":
                return
        if tip.collected is not None:
            checkouts = await self._repository.checkouts()
            if not any(checkout.branch == self._collecting for checkout in checkouts):
                await self._repository.delete_ref(self._collecting, tip.collected)
        done = msgspec.structs.replace(state, target="", collected="", reason="")
        await self._records.change_queue(state, done)

    async def _wait_with(self, batch: Sequence[Work], reason: str) -> None:
        for work in batch:
            if work.reason != reason:
                await self._records.change(work, msgspec.structs.replace(work, reason=reason))

    # -- checks -----------------------------------------------------------------------------------------------------

    async def _checked_steps(self, steps: list[Step], base: str) -> list[Step]:
        """The steps up to the first one on which a check fails, which is refused: found by bisection."""
        if await self._failure(steps, len(steps)) is None:
            return steps
        good, bad = 0, len(steps)  # after `good` steps the checks pass, after `bad` they fail
        while bad - good > 1:
            middle = (good + bad) // 2
            if await self._failure(steps, middle) is None:
                good = middle
            else:
                bad = middle
        failure = await self._failure(steps, bad)
        if failure is None:  # it passes sometimes
            return steps[:bad]
        if good == 0 and (broken := await self._failure_on(base, [steps[0].work])) is not None:
            await self._pause(f"the check {broken.name!r} fails on the branch itself: {broken.output[:500]}")
            return []
        await self._refuse(steps[bad - 1].work, f"merged with what is there by now, {check_evidence(failure)}")
        return steps[:good]

    async def _failure(self, steps: Sequence[Step], count: int) -> CheckResult | None:
        """The check that fails after so many steps; None if all pass."""
        return await self._failure_on(steps[count - 1].result, [step.work for step in steps[:count]])

    async def _failure_on(self, commit: str, works: Sequence[Work]) -> CheckResult | None:
        tree = await self._repository.tree(commit)
        passed = {each.name for work in works for each in work.checks if each.passed and each.tree == tree}
        if tree in self._passed or passed == self._settings.checks.keys():
            return None
        log = self._worktrees.path(works[-1].agent, works[-1].task).with_name(f"{works[-1].task}.checks.log")
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        bench = await self._bench(works)
        results = await run_checks(self._worktrees, self._settings, self._town.root, commit, bench, log)
        if failed := next((result for result in results if not result.passed), None):
            return failed
        self._passed[tree] = None
        while len(self._passed) > _TREES_KEPT:
            del self._passed[next(iter(self._passed))]
        return None

    async def _bench(self, works: Sequence[Work]) -> Bench:
        """Where checks of this work run: in a box if one of its authors needs one."""
        wrap: Wrap = unboxed
        environment: dict[str, str] = {}
        for work in works:
            agent = await self._town.run(self._town.operations.agent(work.agent_id))
            environment = round_environment(self._config, self._town.root, agent, None, work.round_id)
            if agent.cli not in self._wraps:
                self._wraps[agent.cli] = await wrap_for(agent, self._config, self._town.root)
            if self._wraps[agent.cli] is not unboxed:
                wrap = self._wraps[agent.cli]
        return Bench(self._processes, environment, wrap)

    async def _pause(self, reason: str) -> None:
        _, state = await self._records.all()
        await self._records.change_queue(state, msgspec.structs.replace(state, paused=reason, by="the queue"))
        with suppress(Refused):
            await self._town.run(self._town.operations.emit("git_queue_paused", {"reason": reason[:500]}))


def _now_ms() -> int:
    return int(time.time() * 1000)


def _waited_ms(work: Work) -> str:
    """How long it has been at its stage: in the queue, the merging included. As a member of an event."""
    return str(max(0, _now_ms() - work.since_ms))


def _short(branch: str) -> str:
    return branch.removeprefix("refs/heads/")
