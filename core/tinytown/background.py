"""Background tasks behind a context manager, without exception groups reaching those who use it. Knows trio, nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_background() -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks are cancelled when the block ends.

    What the block raises comes out as it is. If a background task raises, the block is cancelled and that error comes
    out instead; of several, the first that is no cancellation.
    """
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        error = _telling(group)
        raise error from error.__cause__


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
