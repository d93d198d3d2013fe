"""A town's clock, under trio's own that jumps."""

from __future__ import annotations

import pytest
import trio
from tinytown.process.pausable_clock import PausableClock
from trio.testing import MockClock


async def test_what_counts_as_time_is_what_passed_while_it_went(autojump_clock: MockClock) -> None:
    clock = PausableClock()
    began = clock.now()
    clock.resume()  # it goes already
    for seconds in (1, 2):
        await trio.sleep(1)
        clock.pause()
        clock.pause()
        await trio.sleep(100)
        assert clock.now() - began == pytest.approx(seconds)
        clock.resume()
    await trio.sleep(0.5)
    assert clock.now() - began == pytest.approx(2.5)


@pytest.mark.parametrize("stops_first", [True, False])
async def test_a_limit_keeps_what_was_left_of_it(autojump_clock: MockClock, stops_first: bool) -> None:
    clock, began = PausableClock(), trio.current_time()
    if stops_first:
        clock.pause()
    with clock.move_on_after(3) as limit:
        if not stops_first:
            await trio.sleep(2)
            clock.pause()
        await trio.sleep(100)
        clock.resume()
        await trio.sleep_forever()
    assert limit.cancelled_caught
    assert trio.current_time() - began == pytest.approx(103)
    with pytest.raises(TimeoutError, match="not done within 2 s"), clock.fail_after(2):
        await trio.sleep_forever()


@pytest.mark.parametrize("is_paused", [True, False])
async def test_the_end_of_a_limit_can_be_moved(autojump_clock: MockClock, is_paused: bool) -> None:
    clock, began = PausableClock(), trio.current_time()
    with clock.move_on_after(float("inf")) as limit:
        if is_paused:
            clock.pause()
        clock.set_deadline(limit, float("inf"))
        clock.set_deadline(limit, clock.now() + 3)
        clock.pause()
        await trio.sleep(100)
        clock.resume()
        await trio.sleep_forever()
    assert limit.cancelled_caught
    assert trio.current_time() - began == pytest.approx(103)
