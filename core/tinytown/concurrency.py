"""Background tasks behind a context manager, without exception groups reaching those who use it; awaited values.

Knows trio and trio-util, nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

T = TypeVar("T")

if TYPE_CHECKING:  # trio-util has no types that a checker finds; this is the part of it that the kernel uses

    class AsyncValue(Generic[T]):
        """A `value` that may be awaited."""

        value: T

        def __init__(self, value: T) -> None: ...

        async def wait_value(self, good: Callable[[T], bool]) -> T:
            """The value once `good` agrees, at once if it does already; transient ones count."""
            ...

else:
    from trio_util import AsyncValue

__all__ = ["AsyncValue", "open_background", "open_lasting", "without_cancellations"]


@asynccontextmanager
async def open_background() -> AsyncGenerator[trio.Nursery]:
    """A nursery whose tasks are cancelled when the block ends.

    What the block raises comes out as it is. If a background task raises, the block is cancelled and that error comes
    out instead; of several, the first that is no cancellation.
    """
    raised: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:
                raised = error
                raise
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        telling = raised if isinstance(raised, Exception) else _telling(group)
        raise telling from telling.__cause__


@asynccontextmanager
async def open_lasting(manager: AbstractAsyncContextManager[T]) -> AsyncGenerator[T]:
    """What `manager` gives, with its background tasks alive until the block has ended.

    Without this, when everything around the block is cancelled, they would end at once; with it, whoever puts things in
    order on the way out of the block can still use what they serve. Opening may be cancelled as ever.
    """
    over = trio.Event()
    scope = trio.CancelScope()

    async def hold(task_status: trio.TaskStatus[T]) -> None:
        with scope:
            async with manager as value:
                task_status.started(value)
                await over.wait()

    async with open_background() as nursery:
        value: T = await nursery.start(hold)
        scope.shield = True  # not before: if opening is cancelled, `start` waits for the end of the task
        try:
            yield value
        finally:
            over.set()


@contextmanager
def without_cancellations() -> Generator[None]:
    """Around a plugin's code: a group of errors and cancellations comes out as the errors alone.

    Such a group is no Exception, so it would pass by whoever answers for what plugins raise. The cancellation is not
    lost: the next checkpoint raises it again.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        errors = group.split(trio.Cancelled)[1]
        if errors is None or not isinstance(errors, ExceptionGroup):
            raise
        raise errors from None


def _telling(group: BaseExceptionGroup[BaseException]) -> BaseException:
    leaves: list[BaseException] = []

    def collect(found: BaseExceptionGroup[BaseException]) -> None:
        for error in found.exceptions:
            if isinstance(error, BaseExceptionGroup):
                collect(error)  # pyright: ignore[reportUnknownArgumentType] - what a group of anything holds
            else:
                leaves.append(error)

    collect(group)
    return next((error for error in leaves if not isinstance(error, trio.Cancelled)), leaves[0])
