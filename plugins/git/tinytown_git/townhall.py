"""What the plugin adds to the townhall: the view Review, its routes, and what waits for a reviewer.

Made for the contracts of `tinytown_townhall`, which need not be installed.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.model.ids import SUPERVISOR
from tinytown.model.tasks import Task
from tinytown.model.text import escape_control, shown
from tinytown.model.time import rfc3339
from tinytown.town import Town
from tinytown_cli.public import answer_command

from tinytown_git.changes import read_changes
from tinytown_git.commands.merge import merge
from tinytown_git.repository import find_repository
from tinytown_git.review import with_review
from tinytown_git.settings import Settings
from tinytown_git.work import FINAL, CheckResult, Records, Review, Work, notice
from tinytown_git.worktrees import Worktrees

_SETTLED_SHOWN = 20
_DIFF_CHARACTERS = 1_000_000
_REASON_BYTES = 10_000
#: A branch that joins another one.
_BRANCH = (
    "M5 6a2 2 0 104 0 2 2 0 10-4 0M5 18a2 2 0 104 0 2 2 0 10-4 0M7 8v8M15 6a2 2 0 104 0 2 2 0 10-4 0M17 8c0 5-10 3-10 8"
)


class Caller(Protocol):
    """Who sends a request, and the town that it is about."""

    @property
    def town(self) -> Town: ...


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """Work that was submitted for a task, and where it is on its way; `since` is since when it is at its `stage`."""

    task: str
    title: str
    agent: str
    stage: str
    reason: str
    priority: str
    branch: str
    target: str
    commit: str
    base: str
    since: str
    checks: Sequence[CheckResult]
    reviews: Sequence[Review]


class ReviewList(msgspec.Struct, frozen=True, kw_only=True):
    """Work that waits, in the order in which it is merged, and what was merged or refused lately. `notice` says what a person
    has to do for the queue."""

    waiting: Sequence[Submitted]
    settled: Sequence[Submitted]
    notice: str | None


class ChangedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A changed file; the counts of lines are null for one that is no text."""

    path: str
    added: int | None
    removed: int | None


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """A commit on the branch of a task."""

    commit: str
    author: str
    subject: str


class ReviewDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What a reviewer needs: the task, what its agent says, and the changes. `work` is null while nothing is submitted.

    `diff` is a patch, of which the end is missing if `is_cut`.
    """

    task: str
    title: str
    state: str
    agent: str | None
    description: str
    result: str | None
    rejection: str | None
    work: Submitted | None
    commits: Sequence[Commit]
    files: Sequence[ChangedFile]
    diff: str
    is_cut: bool


class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person's words on the work; its author reads why it was rejected. `commit` is what was looked at, by default what
    was submitted last."""

    reason: str = ""
    commit: str = ""


class Pause(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why; people are shown it."""

    reason: str = ""


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """The merge queue as a whole; `paused` is why, and `next` what a person has to type, if anything."""

    paused: str | None
    by: str | None
    next: str | None


class Nothing(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing of what a command says."""


class Route(NamedTuple):
    """A route of the townhall."""

    method: str
    path: str
    scope: str
    function: Callable[..., Awaitable[Any]]


class Panel(NamedTuple):
    """A view of the townhall's page."""

    view: str
    title: str
    icon: str
    module: str


class Waiting(NamedTuple):
    """Something that waits for a person."""

    id: str
    label: str
    title: str
    text: str
    since: str | None
    agent: str | None
    task: str | None
    link: str


class GitExtension:
    """The townhall's view Review."""

    name = "git"
    panels = (Panel("review", "Review", _BRANCH, "review.js"),)
    page = files("tinytown_git") / "page"

    def __init__(self, settings: Settings, root: Path) -> None:
        self._settings = settings
        self._root = root
        self.routes = (
            Route("GET", "/v1/reviews", "town.read", self.list_reviews),
            Route("GET", "/v1/reviews/{task}", "town.read", self.show_review),
            Route("POST", "/v1/reviews/{task}/approve", "town.write", self.approve_work),
            Route("POST", "/v1/reviews/{task}/reject", "town.write", self.reject_work),
            Route("POST", "/v1/reviews/{task}/retry", "town.write", self.retry_merge),
            Route("POST", "/v1/merges/pause", "town.write", self.pause_merges),
            Route("POST", "/v1/merges/resume", "town.write", self.resume_merges),
        )

    async def waiting(self, town: Town) -> Sequence[Waiting]:
        """Work that waits for a review by a person, and a merge queue that does."""
        works, queue = await _records(town).all()
        found = [
            Waiting(
                id=work.task,
                label="Review",
                title=work.title,
                text=_check_line(work),
                since=rfc3339(work.since_ms),
                agent=work.agent,
                task=work.task,
                link=f"/review/{work.task}",
            )
            for work in sorted(works, key=lambda work: work.since_ms)
            if work.stage == "review" and not work.review_task
        ]
        if said := notice(queue):
            found.append(Waiting("queue", "Merge queue", "Merging waits for you", said, None, None, None, "/review"))
        return found

    async def list_reviews(self, call: Caller) -> ReviewList:
        """Work that was submitted: what waits for a review or to be merged, and what was settled lately."""
        works, queue = await _records(call.town).all()
        now_ms = int(time.time() * 1000)
        waiting = sorted((work for work in works if work.stage not in FINAL), key=lambda work: -work.score(now_ms))
        settled = sorted((work for work in works if work.stage in FINAL), key=lambda work: -work.since_ms)
        return ReviewList(
            waiting=[_submitted(work) for work in waiting],
            settled=[_submitted(work) for work in settled[:_SETTLED_SHOWN]],
            notice=notice(queue),
        )

    async def show_review(self, call: Caller, task: str) -> ReviewDetails:
        """The work on a task with its changes: what was submitted, else what is in its worktree."""
        found = await call.town.task(task)
        work = await _records(call.town).read(found.id)
        repository = await find_repository(self._root)
        worktrees = Worktrees(repository, self._settings.worktrees_directory(self._root), self._settings.branch_prefix)
        changes = await read_changes(worktrees, found, work)
        diff = escape_control(changes.text)
        return ReviewDetails(
            task=found.id,
            title=found.headline,
            state=found.state,
            agent=found.assigned_to,
            description=found.description,
            result=found.result,
            rejection=found.rejection,
            work=_submitted(work) if work else None,
            commits=[Commit(**each) for each in changes.commits],
            files=[ChangedFile(**each) for each in changes.files],
            diff=diff[:_DIFF_CHARACTERS],
            is_cut=len(diff) > _DIFF_CHARACTERS,
        )

    async def approve_work(self, call: Caller, task: str, body: Verdict) -> Submitted:
        """Approve the work on a task that waits for a review."""
        return await self._review(call.town, task, body, approved=True)

    async def reject_work(self, call: Caller, task: str, body: Verdict) -> Submitted:
        """Send the work on a task back to its author, who gets the reason."""
        if not body.reason.strip():
            raise UsageError("expected what has to change as the reason", hint="its author reads it")
        return await self._review(call.town, task, body, approved=False)

    async def retry_merge(self, call: Caller, task: str) -> Submitted:
        """Try again to merge work that was refused, as tt merge retry does."""
        found: Task = await call.town.task(task)
        await answer_command(merge.commands["retry"], self._root, Nothing, task_word=found.id)
        work = await _records(call.town).read(found.id)
        if work is None:
            raise NotFound(f"nothing was submitted for task {found.id}", hint=f"it is {found.state}")
        return _submitted(work)

    async def pause_merges(self, call: Caller, body: Pause) -> Queue:
        """Merge nothing until merges are resumed. Work continues and queues up."""
        return await answer_command(
            merge.commands["pause"], self._root, Queue, reason=body.reason or "requested by user"
        )

    async def resume_merges(self, call: Caller) -> Queue:
        """Resume merging."""
        return await answer_command(merge.commands["resume"], self._root, Queue)

    async def _review(self, town: Town, task: str, said: Verdict, *, approved: bool) -> Submitted:
        found: Task = await town.task(task)
        records = _records(town)
        work = await records.read(found.id)
        if work is None:
            raise NotFound(f"nothing was submitted for task {found.id}", hint=f"it is {found.state}")
        now_ms = int(time.time() * 1000)
        reason = said.reason.strip().encode()[:_REASON_BYTES].decode("utf-8", "ignore")
        review = Review(
            by=SUPERVISOR, at=rfc3339(now_ms), approved=approved, commit=said.commit or work.commit, reason=reason
        )
        after = with_review(work, review, self._settings, now_ms)
        if not await records.change(work, after):
            raise Refused(
                f"task {found.id} has changed in this moment", hint="look at it again", code="review_outdated"
            )
        return _submitted(after)


def _records(town: Town) -> Records:
    return Records(town.operations, town.run)


def _submitted(work: Work) -> Submitted:
    return Submitted(
        task=work.task,
        title=work.title,
        agent=work.agent,
        stage=work.stage,
        reason=work.reason,
        priority=work.priority,
        branch=_short(work.branch),
        target=_short(work.place or work.target or "HEAD"),
        commit=work.commit,
        base=work.base,
        since=rfc3339(work.since_ms),
        checks=work.checks,
        reviews=work.reviews,
    )


def _short(ref: str) -> str:
    return ref.removeprefix("refs/heads/")


def _check_line(work: Work) -> str:
    checks = ", ".join(f"{shown(check.name, 40)} {'passed' if check.passed else 'failed'}" for check in work.checks)
    return f"{work.agent} has finished; {checks or 'no checks are declared'}"
