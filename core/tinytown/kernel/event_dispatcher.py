"""Dispatches the event stream to status sinks, each at its own pace, never blocking an agent.

The stream on the server is the buffer: a sink's position is kept there, so a slow sink lags, and a restart resumes where
the last one stopped. Only the kernel that holds the ``noticeboard`` lease (the key's name of old) feeds sinks.
"""

from __future__ import annotations

import trio

from tinytown.concurrency import without_cancellations
from tinytown.contracts import StatusSink
from tinytown.errors import ServerUnreachable
from tinytown.kernel.context import KernelContext
from tinytown.town import Town

_LEASE = "noticeboard"
_BATCH = 200
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 60.0
_PUT_BOUND_S = 30.0
_CURSOR_BOUND_S = 1.0


async def feed_sinks(context: KernelContext) -> None:
    """Feed all sinks until cancelled, whenever this kernel holds the lease."""
    lease_s = context.town.config.lease_s
    while context.plugins.sinks:
        if not await _holds_lease(context):
            await trio.sleep(lease_s / 2)
            continue
        async with trio.open_nursery() as nursery:
            for name, sink in context.plugins.sinks.items():
                nursery.start_soon(_feed, context, name, sink)
            while await _holds_lease(context):  # noqa: ASYNC110 - nothing announces its loss
                await trio.sleep(lease_s / 3)
            nursery.cancel_scope.cancel()


async def flush_sinks(context: KernelContext) -> None:
    """Deliver the events until now, then release the lease: the last act of a kernel. Callers set the deadline."""
    if not context.plugins.sinks or not await _holds_lease(context):
        return
    try:
        async with trio.open_nursery() as nursery:
            for name, sink in context.plugins.sinks.items():
                nursery.start_soon(_flush, context, name, sink)
    finally:
        with trio.CancelScope(shield=True, relative_deadline=1.0):
            await context.town.run(context.town.operations.release_lease(_LEASE, context.host_id))


async def _holds_lease(context: KernelContext) -> bool:
    """Take or renew the lease; whether this kernel has it now."""
    town, lease_ms = context.town, int(context.town.config.lease_s * 1000)
    try:
        return await town.run(town.operations.acquire_lease(_LEASE, context.host_id, lease_ms=lease_ms))
    except ServerUnreachable:
        return False


async def _flush(context: KernelContext, name: str, sink: StatusSink) -> None:
    try:
        with without_cancellations():
            async with sink.open():
                while await _deliver(context.town, name, sink):
                    pass
    except ServerUnreachable:
        return
    except Exception as error:  # the next kernel delivers them
        await context.report_fault(sink, f"sink {name}", error)


async def _feed(context: KernelContext, name: str, sink: StatusSink) -> None:
    """Feed one sink until cancelled. One that raises is reopened with growing delays and gets the same batch again."""
    town, failures = context.town, 0
    while True:
        try:
            with without_cancellations():
                async with sink.open():
                    while True:
                        seen = town.position.value
                        if await _deliver(town, name, sink):
                            failures = 0
                            continue
                        await town.wait_for_change(seen)
        except ServerUnreachable:
            pass
        except Exception as error:  # a sink may raise anything; the others continue
            failures += 1
            if failures == 1:  # later reports would be the same, and each is an event for the sink, too
                await context.report_fault(sink, f"sink {name}", error, consequence="retrying")
        await trio.sleep(min(_FIRST_RETRY_S * 2 ** min(failures, 16), _LONGEST_RETRY_S))


async def _deliver(town: Town, name: str, sink: StatusSink) -> bool:
    """Pass the sink its next batch and store its new position; False when there is none."""
    cursor = await town.run(town.operations.cursor(name)) or "0"
    events = await town.run(town.operations.events_after(cursor, count=_BATCH))
    if not events:
        return False
    with trio.fail_after(_PUT_BOUND_S):
        await sink.put(events)
    # Shielded: a batch that was taken should not come again because this kernel is ending.
    with trio.CancelScope(shield=True, deadline=trio.current_time() + _CURSOR_BOUND_S):
        await town.run(town.operations.set_cursor(name, events[-1].id))
    return True
