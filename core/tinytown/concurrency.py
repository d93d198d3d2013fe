"""Background tasks behind a context manager that raises no exception groups, and values that can be awaited. Knows trio only."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from tinytown.interrupts import is_from_outside

T = TypeVar("T")

_log = logging.getLogger("tinytown")

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

__all__ = ["AsyncValue", "Escaped", "leaves_of", "notify", "open_background", "open_lasting", "plugin_code"]


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
        causes = [raised] if isinstance(raised, Exception) else [*leaves_of(group)]
        cause = next((error for error in causes if not isinstance(error, trio.Cancelled)), causes[0])
        raise cause from cause.__cause__


@asynccontextmanager
async def open_lasting(manager: AbstractAsyncContextManager[T]) -> AsyncGenerator[T]:
    """The value of `manager`, whose tasks outlive a cancellation: cleaning up at the end of the block can still use them."""
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


class Escaped(Exception):
    """What a plugin's code raised that is no Exception, such as SystemExit, and would have ended more than its own work."""


@contextmanager
def plugin_code() -> Generator[None]:
    """Around a plugin's code: whatever it raises comes out as an Exception; of errors and cancellations in a group, the errors.

    Only a cancellation from around the block and a person's Ctrl-C pass. After an error the next checkpoint raises the
    cancellation again. Raises: Escaped for what is no Exception, as its `__cause__`; what the plugin raises.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        leaves = [*leaves_of(error)]
        foreign = [leaf for leaf in leaves if not isinstance(leaf, trio.Cancelled)]
        if any(is_from_outside(leaf) for leaf in foreign):
            raise
        if not foreign and trio.current_effective_deadline() == float("-inf"):
            raise
        whole: Any = error
        errors: Any = whole.split(trio.Cancelled)[1] if isinstance(error, BaseExceptionGroup) else None
        if isinstance(errors, ExceptionGroup):
            raise errors from None
        culprit = next((leaf for leaf in foreign if not isinstance(leaf, Exception)), leaves[0])
        raise Escaped(repr(culprit)) from culprit


def notify(callback: Callable[[T], object], argument: T) -> None:
    """Call a subscribed function. What it raises is logged, and does not affect other subscribers."""
    try:
        with plugin_code():
            callback(argument)
    except Exception:
        _log.exception("%r failed at %r", callback, argument)


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """What an error consists of: itself, or the errors of a group and of the groups in it."""
    if isinstance(error, BaseExceptionGroup):
        for nested in error.exceptions:  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            yield from leaves_of(nested)  # pyright: ignore[reportUnknownArgumentType] - what a group of anything holds
    else:
        yield error
