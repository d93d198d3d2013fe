"""From the event stream to status sinks, each at its own pace, never holding up an agent.

The stream on the server is the buffer: a sink's position is kept there, so a slow sink lags and a restart goes on where
the last one stopped. Only the kernel that holds the ``noticeboard`` lease feeds sinks. Knows nothing of what sinks do.
"""

from __future__ import annotations

import trio

from tinytown.concurrency import without_cancellations
from tinytown.contracts import StatusSink
from tinytown.errors import ServerUnreachable
from tinytown.kernel.context import report_fault
from tinytown.plugin import Plugins
from tinytown.town import Town

_LEASE = "noticeboard"
_BATCH = 200
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 60.0
_PUT_BOUND_S = 30.0
_REMEMBER_BOUND_S = 1.0


async def feed_sinks(town: Town, plugins: Plugins, host: str) -> None:
    """Feed all sinks until cancelled, whenever this kernel holds the lease."""
    if not plugins.sinks:
        return
    lease_ms = int(town.config.lease_s * 1000)
    while True:
        try:
            mine = await town.run(town.operations.acquire_lease(_LEASE, host, lease_ms=lease_ms))
        except ServerUnreachable:
            mine = False
        if not mine:
            await trio.sleep(town.config.lease_s / 2)
            continue
        async with trio.open_nursery() as nursery:
            for name, sink in plugins.sinks.items():
                nursery.start_soon(_feed, town, plugins, name, sink)
            await _keep_lease(town, host, lease_ms)
            nursery.cancel_scope.cancel()


async def flush_sinks(town: Town, plugins: Plugins, host: str) -> None:
    """Hand over what has happened until now, then give the lease up: the last act of a kernel. Callers set the deadline."""
    if not plugins.sinks:
        return
    if await town.run(town.operations.acquire_lease(_LEASE, host, lease_ms=int(town.config.lease_s * 1000))):
        try:
            async with trio.open_nursery() as nursery:
                for name, sink in plugins.sinks.items():
                    nursery.start_soon(_flush, town, plugins, name, sink)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
                await town.run(town.operations.release_lease(_LEASE, host))


async def _flush(town: Town, plugins: Plugins, name: str, sink: StatusSink) -> None:
    try:
        with without_cancellations():
            async with sink.open():
                while await _hand_over(town, name, sink):
                    pass
    except ServerUnreachable:
        return
    except Exception as error:  # it gets them from the next kernel
        await report_fault(town, plugins, sink, f"sink {name}", error)


async def _keep_lease(town: Town, host: str, lease_ms: int) -> None:
    while True:
        await trio.sleep(lease_ms / 3000)
        try:
            if not await town.run(town.operations.acquire_lease(_LEASE, host, lease_ms=lease_ms)):
                return
        except ServerUnreachable:
            return


async def _feed(town: Town, plugins: Plugins, name: str, sink: StatusSink) -> None:
    """One sink, for ever: opened again with growing delays when it raises, with the same batch once more."""
    failures = 0
    while True:
        try:
            with without_cancellations():
                async with sink.open():
                    while True:
                        seen = town.position.value
                        if await _hand_over(town, name, sink):
                            failures = 0
                            continue
                        await town.wait_for_news(seen)
        except ServerUnreachable:
            pass
        except Exception as error:  # a stranger's sink may raise anything; the others go on
            failures += 1
            if failures == 1:  # what it says every time after is the same, and telling is an event for it, too
                await report_fault(town, plugins, sink, f"sink {name}", error, so="it is tried again")
        await trio.sleep(min(_FIRST_RETRY_S * 2 ** min(failures, 16), _LONGEST_RETRY_S))


async def _hand_over(town: Town, name: str, sink: StatusSink) -> bool:
    """Give the sink its next batch and remember its new position; False when there is none."""
    cursor = await town.run(town.operations.cursor(name)) or "0"
    events = await town.run(town.operations.events_after(cursor, count=_BATCH))
    if not events:
        return False
    with trio.fail_after(_PUT_BOUND_S):
        await sink.put(events)
    # Shielded: what the sink has taken should not come again only because this kernel ends now.
    with trio.CancelScope(shield=True, deadline=trio.current_time() + _REMEMBER_BOUND_S):
        await town.run(town.operations.set_cursor(name, events[-1].id))
    return True
