"""Work that only one kernel of the town does at a time: under a lease of the town, which it renews while it works."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from tinytown.errors import TinytownError
from tinytown.kernel.context import KernelContext

_RELEASE_BOUND_S = 1.0


async def run_under_lease(context: KernelContext, name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work`, which does not end by itself, whenever this kernel has the lease `name`, until cancelled.

    It is cancelled before another kernel can have the lease; until it has ended then, both may be at it.
    """
    town, lease_s = context.town, context.town.config.lease_s

    async def take() -> bool:
        with trio.move_on_after(lease_s / 3), suppress(TinytownError):
            return await town.run(town.operations.acquire_lease(name, context.kernel_id, lease_ms=int(lease_s * 1000)))
        return False

    try:
        while True:
            if await take():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(work)
                    await trio.sleep(lease_s / 3)
                    while await take():  # noqa: ASYNC110 - nothing announces its loss
                        await trio.sleep(lease_s / 3)
                    nursery.cancel_scope.cancel()
            await trio.sleep(lease_s / 3)
    finally:  # so that another kernel need not wait for its end
        with trio.CancelScope(shield=True, relative_deadline=_RELEASE_BOUND_S), suppress(TinytownError):
            await town.run(town.operations.release_lease(name, context.kernel_id))
