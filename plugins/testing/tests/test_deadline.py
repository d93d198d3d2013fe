"""A test that takes too long ends, says where it was, and leaves the next one alone."""

from __future__ import annotations

import time

import pytest
import trio
from tinytown_testing.deadline import deadline_of

SHORT_S = 0.2
LONG_S = 30.0


def hold_up(seconds: float) -> None:
    time.sleep(seconds)


async def wait_for_nothing() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        await trio.sleep_forever()


def test_what_waits_in_trio_is_cancelled_and_the_error_says_where_it_was() -> None:
    with deadline_of(SHORT_S), pytest.raises(trio.TrioInternalError) as caught:
        trio.run(wait_for_nothing)
    error: BaseException | None = caught.value.__cause__
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    assert str(error) == f"the test took more than {SHORT_S:g} s"
    assert "wait_for_nothing waits in" in "".join(error.__notes__)
    assert not trio.lowlevel.in_trio_run()
    trio.run(trio.sleep, 0)


def test_what_holds_up_trio_is_cancelled_when_it_is_back() -> None:
    async def work() -> None:
        hold_up(2 * SHORT_S)
        await trio.sleep(LONG_S)

    with deadline_of(SHORT_S), pytest.raises(trio.TrioInternalError):
        trio.run(work)


def test_what_does_not_heed_its_cancellation_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinytown_testing.deadline._PATIENCE_S", SHORT_S)

    async def work() -> None:
        hold_up(LONG_S)

    began = time.monotonic()
    with deadline_of(SHORT_S), pytest.raises(trio.TrioInternalError):
        trio.run(work)
    assert time.monotonic() - began < LONG_S


def test_without_trio_the_error_is_raised_at_once() -> None:
    began = time.monotonic()
    with deadline_of(SHORT_S), pytest.raises(TimeoutError, match="more than"):
        time.sleep(LONG_S)
    assert time.monotonic() - began < LONG_S


def test_in_time_nothing_happens() -> None:
    with deadline_of(SHORT_S):
        pass
    time.sleep(2 * SHORT_S)
