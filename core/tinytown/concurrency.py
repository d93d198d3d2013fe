"""Background tasks behind a context manager that raises no exception groups; values that can be awaited.

Knows trio and trio-util only.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

T = TypeVar("T")

if TYPE_CHECKING:  # trio-util has no types; this is the part that the kernel uses

    class AsyncValue(Generic[T]):
        """A `value` that may be awaited."""

        value: T

        def __init__(self, value: T) -> None: ...

        async def wait_value(self, condition: Callable[[T], bool]) -> T:
            """The first value that satisfies `condition`, transient ones included."""
            ...

else:
    from trio_util import AsyncValue

__all__ = ["AsyncValue", "open_background", "open_lasting", "without_cancellations"]


@asynccontextmanager
async def open_background() -> AsyncGenerator[trio.Nursery]:
    """A nursery whose tasks are cancelled when the block ends.

    An exception of the block is raised unchanged. If a background task raises, the block is cancelled and that error
    is raised instead; of several, the first that is not a cancellation.
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
        causes = [raised] if isinstance(raised, Exception) else [*_leaves(group)]
        cause = next((error for error in causes if not isinstance(error, trio.Cancelled)), causes[0])
        raise cause from cause.__cause__


@asynccontextmanager
async def open_lasting(manager: AbstractAsyncContextManager[T]) -> AsyncGenerator[T]:
    """The value of `manager`, with its background tasks alive until the block has ended, even when all is cancelled.

    So cleaning up at the end of the block can still use them. Opening can be cancelled as usual.
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
    """Around a plugin's code: reduce a group of errors and cancellations to the errors.

    Such a group is no Exception, so it would escape the handlers of plugin errors. The cancellation is not lost: the
    next checkpoint raises it again.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        errors = group.split(trio.Cancelled)[1]
        if errors is None or not isinstance(errors, ExceptionGroup):
            raise
        raise errors from None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """What an error consists of: itself, or the errors of a group and of the groups in it."""
    if isinstance(error, BaseExceptionGroup):
        for nested in error.exceptions:  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            yield from _leaves(nested)  # pyright: ignore[reportUnknownArgumentType] - what a group of anything holds
    else:
        yield error
