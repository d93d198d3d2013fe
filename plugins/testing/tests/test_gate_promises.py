"""A gate that keeps every promise, and for each promise one that breaks it: the kit has to name that one and no other."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from pathlib import Path

import pytest
import trio
from tinytown.contracts import Gate, Verdict, WorkContext
from tinytown.model.tasks import Task
from tinytown_testing import PROMISES, GateScenario, GateScenarios, check_gate, trial

DEADLINE_S = 60.0
SLACK_S = 1.5
FDS: list[int] = []
SCENARIOS = GateScenarios(
    passing=GateScenario(prepare=lambda directory: (directory / "good").write_text("good")),
    refused=GateScenario(prepare=lambda directory: (directory / "bad").write_text("bad")),
    slow=GateScenario(prepare=lambda directory: (directory / "slow").write_text("slow")),
)


def leak_fd() -> None:
    FDS.append(os.open(os.devnull, os.O_RDONLY))


class Good(Gate):
    """Keeps every promise: passes what holds no file named ``bad``."""

    name = "good"

    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        await trio.lowlevel.checkpoint()
        if (directory / "slow").exists():
            await trio.sleep(60)
        if (directory / "bad").exists():
            return Verdict(passed=False, evidence="there is a bad file")
        return Verdict(passed=True)


class NameOfTwoWords(Good):
    name = "no good"


class GivesTruth(Good):
    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        return True  # type: ignore[return-value]


class GivesCode(Good):
    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        return Verdict(passed=0)  # type: ignore[arg-type]


class LeavesAFd(Good):
    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        leak_fd()
        return await super().check(work, directory)


class NeedsAFile(Good):
    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        next(iter(directory.iterdir()))
        return await super().check(work, directory)


class SpeaksAscii(Good):
    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        assert work.task is not None
        work.task.description.encode("ascii")
        return await super().check(work, directory)


class PassesNothing(Good):
    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        return Verdict(passed=False, evidence="no")


class PassesAll(Good):
    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        await super().check(work, directory)
        return Verdict(passed=True)


class SaysNothing(Good):
    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        return Verdict(passed=(await super().check(work, directory)).passed)


class CleansUp(Good):
    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        verdict = await super().check(work, directory)
        (directory / "bad").unlink(missing_ok=True)
        return verdict


class Rewrites(Good):
    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        verdict = await super().check(work, directory)
        for path in directory.iterdir():
            path.write_text(path.read_text() + "\n")
        return verdict


class Hides(Good):
    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        try:
            return await super().check(work, directory)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
            raise


class LeavesAFdWhenCancelled(Good):
    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        leak_fd()
        verdict = await super().check(work, directory)
        os.close(FDS.pop())
        return verdict


class TakesItsTime(Good):
    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        if (directory / "good").exists():
            time.sleep(0.15)  # noqa: ASYNC251 - the very mistake
        return await super().check(work, directory)


class LeavesOutBadWork(Good):
    def wants(self, task: Task) -> bool:
        return False


class WantsByTurns(Good):
    asked = 0

    def wants(self, task: Task) -> bool:
        self.asked += 1
        return bool(self.asked % 2)


class WantsAscii(Good):
    def wants(self, task: Task) -> bool:
        return bool(task.description.encode("ascii"))


BREAKERS: list[tuple[str, type[Good]]] = [
    ("G1", NameOfTwoWords),
    ("G2", GivesTruth),
    ("G2", GivesCode),
    ("G2", LeavesAFd),
    ("G3", NeedsAFile),
    ("G3", SpeaksAscii),
    ("G4", PassesNothing),
    ("G5", PassesAll),
    ("G5", LeavesOutBadWork),
    ("G6", SaysNothing),
    ("G7", CleansUp),
    ("G7", Rewrites),
    ("G8", Hides),
    ("G8", LeavesAFdWhenCancelled),
    ("G9", TakesItsTime),
    ("G10", WantsAscii),
    ("G10", WantsByTurns),
]


@pytest.fixture(autouse=True)
def _nothing_stays() -> Generator[None]:
    yield
    while FDS:
        os.close(FDS.pop())


async def test_a_good_gate_keeps_every_promise() -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_gate(Good, scenarios=SCENARIOS)
    assert [result.status for result in report.results] == ["ok"] * len(PROMISES["gate"]), str(report)


@pytest.mark.parametrize(("promise", "breaker"), BREAKERS, ids=[f"{id}-{each.__name__}" for id, each in BREAKERS])
async def test_a_broken_gate_breaks_exactly_this_promise(
    monkeypatch: pytest.MonkeyPatch, promise: str, breaker: type[Good]
) -> None:
    if promise == "G9":
        monkeypatch.setattr(trial, "LONGEST_GAP_S", 0.1)  # so that the mistake need not take long
    with trio.fail_after(DEADLINE_S):
        report = await check_gate(breaker, scenarios=SCENARIOS, slack_s=SLACK_S)
    assert [result.promise.id for result in report.broken] == [promise], str(report)


def test_every_promise_of_a_gate_has_something_that_breaks_it() -> None:
    assert [promise.id for promise in PROMISES["gate"]] == list(dict.fromkeys(id for id, _ in BREAKERS))
