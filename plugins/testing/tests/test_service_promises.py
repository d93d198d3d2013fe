"""A service that keeps every promise, and for each promise one that breaks it: the kit has to name that one and no other."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from typing import cast

import pytest
import trio
from tinytown.contracts import Service
from tinytown.model.events import Event
from tinytown.town import Town
from tinytown_testing import PROMISES, check_service, trial

DEADLINE_S = 60.0
SLACK_S = 0.7
FDS: list[int] = []


class Good(Service):
    """Keeps every promise: counts what happens."""

    name = "good"

    def __init__(self) -> None:
        self.detail = 0

    async def run(self, town: Town) -> None:
        async with aclosing(cast("AsyncGenerator[Event]", town.events())) as events:
            async for event in events:
                self.notice(event)

    def notice(self, event: Event) -> None:
        self.detail += 1


class NameOfTwoWords(Good):
    name = "no good"


class ComesToAnEnd(Good):
    async def run(self, town: Town) -> None:
        await town.status()


class Fails(Good):
    async def run(self, town: Town) -> None:
        raise RuntimeError("oops")


class Hides(Good):
    async def run(self, town: Town) -> None:
        try:
            await super().run(town)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
            raise


class LeavesAFd(Good):
    async def run(self, town: Town) -> None:
        FDS.append(os.open(os.devnull, os.O_RDONLY))
        await super().run(town)


class RunsOnce(Good):
    async def run(self, town: Town) -> None:
        if self.detail:
            raise RuntimeError("I have been here before")
        self.detail = 1
        await super().run(town)


class KnowsItsEvents(Good):
    def notice(self, event: Event) -> None:
        if event.type == "agent_removed":
            raise TypeError("what is that?")


class TakesItsTime(Good):
    def notice(self, event: Event) -> None:
        if event.type == "task_added" and getattr(event, "state", "") == "pending":
            time.sleep(0.15)


class Spins(Good):
    async def run(self, town: Town) -> None:
        while True:
            await trio.lowlevel.checkpoint()


BREAKERS: list[tuple[str, type[Good]]] = [
    ("V1", NameOfTwoWords),
    ("V2", ComesToAnEnd),
    ("V2", Fails),
    ("V3", Hides),
    ("V3", LeavesAFd),
    ("V4", RunsOnce),
    ("V5", KnowsItsEvents),
    ("V6", TakesItsTime),
    ("V7", Spins),
]


@pytest.fixture(autouse=True)
def _nothing_stays() -> Generator[None]:
    yield
    while FDS:
        os.close(FDS.pop())


async def test_a_good_service_keeps_every_promise() -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_service(Good)
    assert [result.status for result in report.results] == ["ok"] * len(PROMISES["service"]), str(report)


@pytest.mark.parametrize(("promise", "breaker"), BREAKERS, ids=[f"{id}-{each.__name__}" for id, each in BREAKERS])
async def test_a_broken_service_breaks_exactly_this_promise(
    monkeypatch: pytest.MonkeyPatch, promise: str, breaker: type[Good]
) -> None:
    if promise == "V6":
        monkeypatch.setattr(trial, "LONGEST_GAP_S", 0.1)  # so that the mistake need not take long
    with trio.fail_after(DEADLINE_S):
        report = await check_service(breaker, slack_s=SLACK_S)
    assert [result.promise.id for result in report.broken] == [promise], str(report)


def test_every_promise_of_a_service_has_something_that_breaks_it() -> None:
    assert [promise.id for promise in PROMISES["service"]] == list(dict.fromkeys(id for id, _ in BREAKERS))
