"""Tinytown for programs on asyncio: a thread with a trio loop, in which functions run and context managers are held open.

Both directions of failure work: what is cancelled in asyncio is cancelled in trio and awaited, and what fails in trio ends the
block in asyncio. Knows nothing of towns.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

import trio

P = ParamSpec("P")
T = TypeVar("T")

_END: Any = object()


class TrioThread:
    """A trio loop in a thread of its own, as an asyncio loop sees it. Made by `open_trio_thread`; use it in that loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, token: trio.lowlevel.TrioToken, nursery: trio.Nursery) -> None:
        self._loop = loop
        self._token = token
        self._nursery = nursery

    async def run(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a coroutine function of trio returns or raises: ``await thread.run(town.send, "ada", "hello")``.

        Cancelling the call cancels the function, and ends when that has ended.
        """
        future, cancel = self._start(partial(function, *args, **kwargs))
        return await _settled(future, cancel)

    @asynccontextmanager
    async def open(self, manager: AbstractAsyncContextManager[T]) -> AsyncGenerator[T]:
        """The value of a context manager of trio, which is held open in the thread for the block.

        What the block raises, the manager gets. If the manager fails meanwhile, the block is cancelled and that error is raised.
        """
        entered: asyncio.Future[T] = self._loop.create_future()
        left = trio.Event()
        raised: list[Exception] = []

        async def hold() -> bool:
            async with manager as value:
                self._loop.call_soon_threadsafe(_resolve, entered, value)
                await left.wait()
                if raised:
                    raise raised[0]
                return True
            return False  # it has suppressed the error of the block

        holding, cancel = self._start(hold)
        try:
            waited: list[asyncio.Future[Any]] = [entered, holding]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _end(holding, cancel)
            raise
        if not entered.done():
            await holding  # raises why
        block, over = asyncio.current_task(), False
        assert block is not None

        def on_end(_: object) -> None:
            if not over:
                block.cancel()

        holding.add_done_callback(on_end)
        try:
            yield entered.result()
        except asyncio.CancelledError:
            if holding.done():  # it is why
                block.uncancel()
                await holding
            over = True
            await _end(holding, cancel)
            raise
        except Exception as error:
            over = True
            raised.append(error)
            self._soon(left.set)
            if await _settled(holding, cancel):
                raise
        else:
            over = True
            self._soon(left.set)
            await _settled(holding, cancel)

    async def iterate(self, source: AsyncGenerator[T]) -> AsyncGenerator[T]:
        """The values of an async generator of trio, such as ``town.events()``, which is closed with this one."""

        async def step() -> T:
            return await anext(source, _END)

        try:
            while (value := await self.run(step)) is not _END:
                yield value
        finally:
            await self.run(source.aclose)

    def _start(self, function: Callable[[], Awaitable[T]]) -> tuple[asyncio.Future[T], Callable[[], None]]:
        """Start a function in the thread: the future of its result, and what cancels it."""
        future: asyncio.Future[T] = self._loop.create_future()
        scope = trio.CancelScope()

        async def work() -> None:
            try:
                with scope:
                    value = await function()
                    self._loop.call_soon_threadsafe(_resolve, future, value)
                    return
            except Exception as error:
                self._loop.call_soon_threadsafe(_fail, future, error)
            except BaseException:  # the thread ends
                self._loop.call_soon_threadsafe(future.cancel)
                raise
            else:
                self._loop.call_soon_threadsafe(future.cancel)

        try:
            self._token.run_sync_soon(self._nursery.start_soon, work)
        except trio.RunFinishedError:
            future.cancel()
        return future, partial(self._soon, scope.cancel)

    def stop(self) -> None:
        """Cancel all that runs in the thread, which ends. Called once, by `open_trio_thread`."""
        self._soon(self._nursery.cancel_scope.cancel)

    def _soon(self, function: Callable[[], object]) -> None:
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function)


@asynccontextmanager
async def open_trio_thread() -> AsyncGenerator[TrioThread]:
    """A thread with a trio loop for the block, in a program on asyncio. What runs in it at the end is cancelled."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[TrioThread] = loop.create_future()
    ended: asyncio.Future[None] = loop.create_future()

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            token = trio.lowlevel.current_trio_token()
            loop.call_soon_threadsafe(_resolve, ready, TrioThread(loop, token, nursery))
            await trio.sleep_forever()

    def main() -> None:
        try:
            trio.run(serve)
        except BaseException as error:
            loop.call_soon_threadsafe(_fail, ready, error)
            loop.call_soon_threadsafe(_fail, ended, error)
        else:
            loop.call_soon_threadsafe(_resolve, ended, None)

    worker = threading.Thread(target=main, name="tinytown")
    worker.start()
    try:
        yield await asyncio.shield(ready)
    finally:
        thread = await ready  # also where waiting for it was cancelled
        thread.stop()
        try:
            await asyncio.shield(ended)
        finally:
            worker.join()


def _resolve(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


async def _settled(future: asyncio.Future[T], cancel: Callable[[], None]) -> T:
    """The result of what runs in the thread. Cancelled, it cancels that and waits for its end."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await _end(future, cancel)
        raise


async def _end(future: asyncio.Future[Any], cancel: Callable[[], None]) -> None:
    cancel()
    await asyncio.wait([future])
    if not future.cancelled():
        future.exception()  # seen; the cancellation is what is reported
