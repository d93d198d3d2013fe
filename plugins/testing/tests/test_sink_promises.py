"""A sink that keeps every promise, and for each promise one that breaks it: the kit has to name that one and no other."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager

import pytest
import trio
from tinytown.model.events import Event, OtherEvent
from tinytown_sinks import StatusSink
from tinytown_testing import PROMISES, SinkScenarios, check_status_sink, trial

DEADLINE_S = 60.0
SLACK_S = 1.5


class Destination:
    """Where events arrive, as long as it is in order."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.in_order = True
        self.fds: list[int] = []

    @contextmanager
    def unavailable(self) -> Generator[None]:
        self.in_order = False
        yield
        self.in_order = True

    def leak_fd(self) -> None:
        self.fds.append(os.open(os.devnull, os.O_RDONLY))

    def close_fd(self) -> None:
        os.close(self.fds.pop())


class Good(StatusSink):
    """Keeps every promise."""

    name = "good"

    def __init__(self, destination: Destination) -> None:
        self.destination = destination

    def open(self) -> AbstractAsyncContextManager[None]:
        return self.opened()

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        await trio.lowlevel.checkpoint()
        yield

    async def put(self, events: Sequence[Event]) -> None:
        await trio.lowlevel.checkpoint()
        if not self.destination.in_order:
            raise OSError("out of order")
        self.destination.ids += [event.id for event in events]


class NameOfTwoWords(Good):
    name = "no good"


class StartsTooEarly(Good):
    def open(self) -> AbstractAsyncContextManager[None]:
        self.destination.leak_fd()
        return self.then_opened()

    @asynccontextmanager
    async def then_opened(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self.destination.close_fd()


class LeavesFdInOpen(Good):
    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        self.destination.leak_fd()
        yield


class NeedsAnEvent(Good):
    async def put(self, events: Sequence[Event]) -> None:
        await super().put([events[0], *events[1:]])


class TakesAFew(Good):
    async def put(self, events: Sequence[Event]) -> None:
        if len(events) > 100:
            raise ValueError("too many")
        await super().put(events)


class KnowsItsTypes(Good):
    async def put(self, events: Sequence[Event]) -> None:
        if any(isinstance(event, OtherEvent) for event in events):
            raise TypeError("what is that?")
        await super().put(events)


class SpeaksAscii(Good):
    async def put(self, events: Sequence[Event]) -> None:
        repr(events).encode("ascii")
        await super().put(events)


class DropsOddEvents(Good):
    async def put(self, events: Sequence[Event]) -> None:
        await super().put([event for event in events if not isinstance(event, OtherEvent)])


class DropsTheLast(Good):
    async def put(self, events: Sequence[Event]) -> None:
        await super().put(events if len(events) < 100 else events[:-1])


class TurnsThemRound(Good):
    async def put(self, events: Sequence[Event]) -> None:
        await super().put(events if len(events) < 100 else events[::-1])


class MindsRepetition(Good):
    async def put(self, events: Sequence[Event]) -> None:
        if len(events) and events[0].id in self.destination.ids[-len(events) :] and len(events) == 3:
            raise ValueError("I know that one")
        await super().put(events)


class KeepsUntilClosed(Good):
    """What it has accepted is gone if its kernel is killed."""

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        self.kept: list[str] = []
        yield
        self.destination.ids += self.kept

    async def put(self, events: Sequence[Event]) -> None:
        if not self.destination.in_order:
            raise OSError("out of order")
        self.kept += [event.id for event in events]


class DropsWhatCameInPart(Good):
    async def put(self, events: Sequence[Event]) -> None:
        if len(events) == 4 and events[0].id in self.destination.ids:
            return
        await super().put(events)


class ComparesIdsAsText(Good):
    async def put(self, events: Sequence[Event]) -> None:
        last = max(self.destination.ids, default="")
        await super().put([event for event in events if event.id > last])
        self.destination.ids.sort()


class OpensOnce(Good):
    times = 0

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        self.times += 1
        if self.times > 1:
            raise RuntimeError("I have been closed")
        yield


class StartsAfresh(Good):
    times = 0

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        self.times += 1
        if self.times > 1:
            self.destination.ids.clear()
        yield


class LeavesFdInPut(Good):
    async def put(self, events: Sequence[Event]) -> None:
        self.destination.leak_fd()
        await super().put(events)


class HidesInPut(Good):
    async def put(self, events: Sequence[Event]) -> None:
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
        await super().put(events)


class LeavesFdWhenCancelled(Good):
    async def put(self, events: Sequence[Event]) -> None:
        self.destination.leak_fd()
        await super().put(events)
        self.destination.close_fd()


class SwallowsErrors(Good):
    async def put(self, events: Sequence[Event]) -> None:
        if self.destination.in_order:
            await super().put(events)


class TakesItsTime(Good):
    async def put(self, events: Sequence[Event]) -> None:
        if len(events) == 200:
            time.sleep(0.15)  # noqa: ASYNC251 - the very mistake
        await super().put(events)


BREAKERS: list[tuple[str, type[Good]]] = [
    ("S1", NameOfTwoWords),
    ("S2", StartsTooEarly),
    ("S3", LeavesFdInOpen),
    ("S4", NeedsAnEvent),
    ("S4", TakesAFew),
    ("S5", KnowsItsTypes),
    ("S5", SpeaksAscii),
    ("S5", DropsOddEvents),
    ("S6", DropsTheLast),
    ("S6", TurnsThemRound),
    ("S6", KeepsUntilClosed),
    ("S7", MindsRepetition),
    ("S7", DropsWhatCameInPart),
    ("S8", OpensOnce),
    ("S8", StartsAfresh),
    ("S9", LeavesFdInPut),
    ("S10", HidesInPut),
    ("S10", LeavesFdWhenCancelled),
    ("S11", SwallowsErrors),
    ("S12", TakesItsTime),
]


@pytest.fixture
def destination() -> Generator[Destination]:
    made = Destination()
    yield made
    while made.fds:
        made.close_fd()


def scenarios_of(destination: Destination) -> SinkScenarios:
    received: Callable[[], list[str]] = lambda: list(destination.ids)  # noqa: E731
    return SinkScenarios(received=received, unavailable=destination.unavailable)


async def test_a_good_sink_keeps_every_promise(destination: Destination) -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_status_sink(lambda: Good(destination), scenarios=scenarios_of(destination))
    assert [result.status for result in report.results] == ["ok"] * len(PROMISES["sink"]), str(report)


@pytest.mark.parametrize(("promise", "breaker"), BREAKERS, ids=[f"{id}-{each.__name__}" for id, each in BREAKERS])
async def test_a_broken_sink_breaks_exactly_this_promise(
    monkeypatch: pytest.MonkeyPatch, promise: str, breaker: type[Good], destination: Destination
) -> None:
    if promise == "S12":
        monkeypatch.setattr(trial, "LONGEST_GAP_S", 0.1)  # so that the mistake need not take long
    with trio.fail_after(DEADLINE_S):
        report = await check_status_sink(
            lambda: breaker(destination), scenarios=scenarios_of(destination), slack_s=SLACK_S
        )
    assert [result.promise.id for result in report.broken] == [promise], str(report)


async def test_a_sink_that_compares_ids_as_text_loses_events_and_is_found(destination: Destination) -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_status_sink(
            lambda: ComparesIdsAsText(destination), scenarios=scenarios_of(destination), only={"S4", "S6"}
        )
    assert [result.promise.id for result in report.broken] == ["S6"], str(report)


def test_every_promise_of_a_sink_has_something_that_breaks_it() -> None:
    assert [promise.id for promise in PROMISES["sink"]] == list(dict.fromkeys(id for id, _ in BREAKERS))
