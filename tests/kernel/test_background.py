"""Background tasks: exceptions come out plain, and what is used for cleaning up outlasts a cancellation."""

# ruff: noqa: PT012 - what a whole block raises is the question here

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from tinytown.concurrency import open_background, open_lasting, plugin_code


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with open_background() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise error
    assert caught.value is error


async def test_a_group_of_the_blocks_own_stays_a_group() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with open_background() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise ExceptionGroup("mine", [ValueError(1), ValueError(2)])
    assert caught.value.message == "mine"
    assert len(caught.value.exceptions) == 2


async def test_an_error_of_a_background_task_cancels_the_block_and_comes_out() -> None:
    async def fail() -> None:
        raise OSError("background")

    with pytest.raises(OSError, match="background"):
        async with open_background() as nursery:
            nursery.start_soon(fail)
            await trio.sleep_forever()


async def test_background_tasks_end_with_the_block() -> None:
    ended = []

    async def stay() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    async with open_background() as nursery:
        nursery.start_soon(stay)
        await trio.lowlevel.checkpoint()
    assert ended == [True]


@asynccontextmanager
async def echo_service() -> AsyncGenerator[trio.MemorySendChannel[trio.Event]]:
    """Sets each event that it is sent, from a task of its own."""
    sending, receiving = trio.open_memory_channel[trio.Event](1)

    async def serve() -> None:
        async for event in receiving:
            event.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield sending
        nursery.cancel_scope.cancel()


async def asks(sending: trio.MemorySendChannel[trio.Event]) -> bool:
    answered = trio.Event()
    with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
        await sending.send(answered)
        await answered.wait()
    return answered.is_set()


@pytest.mark.parametrize("lasting", [True, False])
async def test_what_lasts_serves_those_who_clean_up_after_a_cancellation(lasting, autojump_clock) -> None:
    served = None
    with trio.CancelScope() as scope:
        async with open_lasting(echo_service()) if lasting else echo_service() as sending:
            assert await asks(sending)
            scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                await trio.lowlevel.cancel_shielded_checkpoint()
                served = await asks(sending)
    assert scope.cancelled_caught
    assert served is lasting


async def test_opening_what_lasts_may_be_cancelled(autojump_clock) -> None:
    @asynccontextmanager
    async def slow() -> AsyncGenerator[None]:
        await trio.sleep_forever()
        yield

    with trio.move_on_after(1) as scope:
        async with open_lasting(slow()):
            raise AssertionError
    assert scope.cancelled_caught


async def test_what_fails_to_open_or_raises_in_the_block_comes_out_plain() -> None:
    @asynccontextmanager
    async def broken() -> AsyncGenerator[None]:
        raise OSError("no port")
        yield

    with pytest.raises(OSError, match="no port"):
        async with open_lasting(broken()):
            pass
    with pytest.raises(KeyError):
        async with open_lasting(echo_service()):
            raise KeyError


async def test_errors_are_told_apart_from_cancellations_in_a_group() -> None:
    async def brittle() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("while cancelled")

    with trio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises(ExceptionGroup) as caught, plugin_code():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(brittle)
                nursery.start_soon(trio.sleep_forever)
                await trio.sleep_forever()
        assert [type(error) for error in caught.value.exceptions] == [ValueError]
        await trio.lowlevel.checkpoint()
        raise AssertionError("the cancellation is not lost")
    assert scope.cancelled_caught


async def test_an_opening_that_is_cancelled_at_its_last_step_leaves_nothing_waiting() -> None:
    @asynccontextmanager
    async def cancelled_just_now() -> AsyncGenerator[None]:
        scope.cancel()
        yield

    with trio.CancelScope() as scope:
        async with open_lasting(cancelled_just_now()):
            await trio.lowlevel.checkpoint()
            raise AssertionError
    assert scope.cancelled_caught
