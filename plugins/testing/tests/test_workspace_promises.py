"""A workspace that keeps every promise, and for each promise one that breaks it: the kit has to name that one and no other."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from tinytown.contracts import Disposition, Purpose, WorkContext, Workspace
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown_testing import PROMISES, WorkspaceScenarios, check_workspace, open_sandbox, trial

DEADLINE_S = 60.0
SLACK_S = 1.5
FDS: list[int] = []


def leak_fd() -> None:
    FDS.append(os.open(os.devnull, os.O_RDONLY))


class Good(Workspace):
    """Keeps every promise: a directory for each agent."""

    name = "good"

    def __init__(self, base: Path) -> None:
        self.base = base

    def claims(self, agent: Agent, task: Task | None) -> bool:
        return True

    @asynccontextmanager
    async def open(self, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
        await trio.lowlevel.checkpoint()
        directory = self.base / work.agent.id
        directory.mkdir(exist_ok=True)
        yield directory


class NameOfTwoWords(Good):
    name = "no good"


class ClaimsMaybe(Good):
    def claims(self, agent: Agent, task: Task | None) -> bool:
        return task and task.title  # type: ignore[return-value]


class WantsATask(Good):
    def claims(self, agent: Agent, task: Task | None) -> bool:
        assert task is not None
        return True


class ThinksAboutIt(Good):
    def claims(self, agent: Agent, task: Task | None) -> bool:
        time.sleep(0.15 if task is None else 0)
        return True


class GivesAFile(Good):
    @asynccontextmanager
    async def open(self, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
        path = self.base / "file"
        path.touch()
        yield path


class LeavesAFd(Good):
    @asynccontextmanager
    async def open(self, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
        leak_fd()
        async with super().open(work, purpose) as directory:
            yield directory


class OpensOnce(Good):
    @asynccontextmanager
    async def open(self, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
        directory = self.base / work.agent.id
        directory.mkdir()
        yield directory


class SharesOneDirectory(Good):
    @asynccontextmanager
    async def open(self, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
        yield self.base


class NamesItAfterTheTitle(Good):
    @asynccontextmanager
    async def open(self, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
        directory = self.base / work.agent.id / (work.task.title if work.task else "")
        directory.mkdir(exist_ok=True)
        yield directory


class SwallowsErrors(Good):
    @asynccontextmanager
    async def open(self, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
        async with super().open(work, purpose) as directory:
            try:
                yield directory
            except Exception:  # the very mistake
                return


class BlocksAfterAnError(Good):
    @asynccontextmanager
    async def open(self, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
        lock = self.base / f"{work.agent.id}.lock"
        lock.touch(exist_ok=False)
        try:
            async with super().open(work, purpose) as directory:
                yield directory
        except Exception:
            raise
        except BaseException:
            lock.unlink()
            raise
        else:
            lock.unlink()


class BlocksAfterCancellation(Good):
    @asynccontextmanager
    async def open(self, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
        lock = self.base / f"{work.agent.id}.lock"
        lock.touch(exist_ok=False)
        try:
            async with super().open(work, purpose) as directory:
                yield directory
        except Exception:
            lock.unlink()
            raise
        lock.unlink()


class Hides(Good):
    @asynccontextmanager
    async def open(self, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
        try:
            async with super().open(work, purpose) as directory:
                yield directory
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()


class TakesItsTime(Good):
    @asynccontextmanager
    async def open(self, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
        if work.task is None:
            time.sleep(0.15)  # noqa: ASYNC251 - the very mistake
        async with super().open(work, purpose) as directory:
            yield directory


class BeginsAfresh(Good):
    @asynccontextmanager
    async def open(self, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
        async with super().open(work, purpose) as directory:
            for path in directory.iterdir():
                path.unlink()
            yield directory


class SettlesOnce(Good):
    async def settle(self, work: WorkContext, disposition: Disposition, directory: Path | None) -> None:
        assert work.task is not None
        (self.base / f"{work.task.id}.settled").touch(exist_ok=False)


class NeedsTheFiles(Good):
    async def settle(self, work: WorkContext, disposition: Disposition, directory: Path | None) -> None:
        assert directory is not None


BREAKERS: list[tuple[str, type[Good]]] = [
    ("W1", NameOfTwoWords),
    ("W2", ClaimsMaybe),
    ("W2", WantsATask),
    ("W2", ThinksAboutIt),
    ("W3", GivesAFile),
    ("W3", LeavesAFd),
    ("W4", OpensOnce),
    ("W5", SharesOneDirectory),
    ("W6", NamesItAfterTheTitle),
    ("W7", SwallowsErrors),
    ("W7", BlocksAfterAnError),
    ("W8", BlocksAfterCancellation),
    ("W8", Hides),
    ("W9", TakesItsTime),
    ("W10", BeginsAfresh),
    ("W11", SettlesOnce),
    ("W11", NeedsTheFiles),
]


@pytest.fixture(autouse=True)
def _nothing_stays() -> Generator[None]:
    yield
    while FDS:
        os.close(FDS.pop())


async def test_a_good_workspace_keeps_every_promise(tmp_path: Path) -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_workspace(lambda: Good(tmp_path))
    assert [result.status for result in report.results] == ["ok"] * len(PROMISES["workspace"]), str(report)


@pytest.mark.parametrize(("promise", "breaker"), BREAKERS, ids=[f"{id}-{each.__name__}" for id, each in BREAKERS])
async def test_a_broken_workspace_breaks_exactly_this_promise(
    monkeypatch: pytest.MonkeyPatch, promise: str, breaker: type[Good], tmp_path: Path
) -> None:
    if breaker in (TakesItsTime, ThinksAboutIt):
        monkeypatch.setattr(trial, "LONGEST_GAP_S", 0.1)  # so that the mistake need not take long
    with trio.fail_after(DEADLINE_S):
        report = await check_workspace(lambda: breaker(tmp_path), slack_s=SLACK_S)
    assert [result.promise.id for result in report.broken] == [promise], str(report)


class ServesRepositories(Good):
    """Directories of a project that is a repository, and of no other."""

    def claims(self, agent: Agent, task: Task | None) -> bool:
        return (self.base / ".git").is_dir()

    @asynccontextmanager
    async def open(self, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
        if not (self.base / ".git").is_dir():
            raise FileNotFoundError("not a repository")
        async with super().open(work, purpose) as directory:
            yield directory


async def test_a_workspace_that_claims_nothing_is_accused_of_nothing(tmp_path: Path) -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_workspace(lambda: ServesRepositories(tmp_path))
    assert report.broken == ()
    assert [result.promise.id for result in report.passed] == ["W1", "W2", "W6"]
    assert "claims() refused" in report.not_applicable[0].detail


async def test_a_scenario_prepares_what_a_workspace_needs() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_sandbox() as sandbox:
            report = await check_workspace(
                lambda: ServesRepositories(sandbox.root),
                scenarios=WorkspaceScenarios(prepare=lambda root: (root / ".git").mkdir()),
                sandbox=sandbox,
            )
    assert [result.status for result in report.results] == ["ok"] * len(PROMISES["workspace"]), str(report)


def test_every_promise_of_a_workspace_has_something_that_breaks_it() -> None:
    assert [promise.id for promise in PROMISES["workspace"]] == list(dict.fromkeys(id for id, _ in BREAKERS))
