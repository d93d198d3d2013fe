"""Tinytown from asyncio: results, errors and cancellation cross between the loops, and nothing is left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio
import trio.lowlevel
from tinytown_api import Town, TrioThread, open_trio_thread

pytestmark = pytest.mark.usefixtures("deadline")


def on_asyncio(function):
    """Run a test on asyncio; at its end the thread with the trio loop is gone."""

    def test(*args, **kwargs):
        asyncio.run(function(*args, **kwargs))
        # trio keeps idle workers for a while, which belong to no loop.
        assert [each.name for each in threading.enumerate() if each.name == "tinytown"] == []

    test.__name__ = function.__name__
    return test


async def double(number: int, *, plus: int = 0) -> int:
    await trio.lowlevel.checkpoint()
    return 2 * number + plus


async def run_out_of_time(thread: TrioThread, manager: AbstractAsyncContextManager[object]) -> None:
    async with asyncio.timeout(None) as limit, thread.open(manager):
        limit.reschedule(0)  # it is over
        await asyncio.sleep(60)


def test_a_function_runs_in_trio_and_returns_or_raises() -> None:
    async def main() -> None:
        async with open_trio_thread() as thread:
            assert await thread.run(double, 4, plus=1) == 9
            with pytest.raises(TypeError):
                await thread.run(double, "x", plus=1)  # type: ignore[arg-type]
            assert await asyncio.gather(*(thread.run(double, each) for each in range(20))) == list(range(0, 40, 2))

    on_asyncio(main)()


def test_cancelling_a_call_cancels_the_function_and_waits_for_its_end() -> None:
    events: list[str] = []

    async def main() -> None:
        async with open_trio_thread() as thread:
            began = asyncio.Event()
            loop = asyncio.get_running_loop()

            async def forever() -> None:
                try:
                    loop.call_soon_threadsafe(began.set)
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(0.01)
                    events.append("ended")

            task = asyncio.create_task(thread.run(forever))
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            events.append("raised")

    on_asyncio(main)()
    assert events == ["ended", "raised"]


def test_a_context_manager_is_held_open_and_gets_what_the_block_raises() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def manager(*, suppresses: bool = False) -> AsyncGenerator[str]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                yield "value"
            except ZeroDivisionError:
                events.append("saw it")
                if not suppresses:
                    raise
            except trio.Cancelled:
                events.append("cancelled")
                raise
            finally:
                nursery.cancel_scope.cancel()

    async def main() -> None:
        async with open_trio_thread() as thread:
            async with thread.open(manager()) as value:
                assert value == "value"
            with pytest.raises((ZeroDivisionError, ExceptionGroup)):
                async with thread.open(manager()):
                    _ = 1 / 0
            async with thread.open(manager(suppresses=True)):
                _ = 1 / 0
            with pytest.raises(TimeoutError):
                await run_out_of_time(thread, manager())

    on_asyncio(main)()
    assert events == ["saw it", "saw it", "cancelled"]


def test_a_context_manager_that_fails_ends_the_block_with_its_error() -> None:
    @asynccontextmanager
    async def failing() -> AsyncGenerator[None]:
        raised: ZeroDivisionError | None = None
        with trio.move_on_after(0.02):
            yield
            return
        raised = ZeroDivisionError("in the background")
        raise raised

    @asynccontextmanager
    async def never() -> AsyncGenerator[None]:
        raise LookupError
        yield

    async def main() -> None:
        async with open_trio_thread() as thread:
            with pytest.raises((ZeroDivisionError, RuntimeError)):
                async with thread.open(failing()):
                    await asyncio.sleep(60)
            with pytest.raises(LookupError):
                async with thread.open(never()):
                    pass
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

    on_asyncio(main)()


def test_an_async_generator_is_read_and_closed() -> None:
    closed: list[bool] = []

    async def numbers() -> AsyncGenerator[int]:
        try:
            for number in range(1_000):
                await trio.lowlevel.checkpoint()
                yield number
        finally:
            closed.append(True)

    async def main() -> None:
        async with open_trio_thread() as thread:
            got = []
            async for number in (source := thread.iterate(numbers())):
                got.append(number)
                if number == 3:
                    break
            await source.aclose()
            assert got == [0, 1, 2, 3]
            assert closed == [True]

    on_asyncio(main)()


def test_what_runs_when_the_thread_ends_is_cancelled() -> None:
    async def main() -> None:
        async with open_trio_thread() as thread:
            task = asyncio.create_task(thread.run(trio.sleep_forever))
            await thread.run(double, 1)
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(asyncio.CancelledError):
            await thread.run(double, 1)

    on_asyncio(main)()


def test_a_town_with_its_kernel_runs_beside_asyncio(town_dir) -> None:
    town_dir.configure('default_cli = "echo"\n')

    async def main() -> None:
        async with open_trio_thread() as thread, thread.open(Town.open(town_dir.root)) as town:
            ada = await thread.run(town.spawn, "ada")
            events = thread.iterate(town.events())
            first = asyncio.ensure_future(anext(events))
            reply = await thread.run(ada.ask, "which port?")
            assert reply.text == "echo: which port?"
            assert (await first).type
            await events.aclose()
            async with thread.open(town.open_mailbox()) as mailbox:
                await thread.run(town.send, "supervisor", "hello")
                letter = await thread.run(mailbox.receive)
                async with thread.open(letter):
                    assert letter.text == "hello"

    on_asyncio(main)()
