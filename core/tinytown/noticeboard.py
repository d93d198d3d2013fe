"""From the event stream to status sinks, each at its own pace, never holding up an agent.

The stream on the server is the buffer: a sink's position is kept there, so a slow sink lags and a restart goes on where
the last one stopped. Only the kernel that holds the ``noticeboard`` lease feeds sinks. Knows nothing of what sinks do.
"""

from __future__ import annotations

import trio

from tinytown.contracts import StatusSink
from tinytown.errors import ServerUnreachable, TinytownError
from tinytown.names import shown
from tinytown.plugin_registry import Plugins
from tinytown.town import Town

_LEASE = "noticeboard"
_BATCH = 200
_LOOK_AGAIN_S = 5.0
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 60.0
_PUT_BOUND_S = 30.0


async def feed_sinks(town: Town, plugins: Plugins, host: str) -> None:
    """Feed all sinks until cancelled, whenever this kernel holds the lease."""
    if not plugins.sinks:
        return
    lease_ms = int(town.config.lease_s * 1000)
    while True:
        try:
            mine = await town.run(town.calls.take_lease(_LEASE, host, lease_ms=lease_ms))
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
    if await town.run(town.calls.take_lease(_LEASE, host, lease_ms=int(town.config.lease_s * 1000))):
        for name, sink in plugins.sinks.items():
            try:
                async with sink.open():
                    while await _hand_over(town, name, sink):
                        pass
            except TinytownError:
                raise
            except Exception as error:
                plugins.mark_faulty(name, "put", error)
        await town.run(town.calls.give_up_lease(_LEASE, host))


async def _keep_lease(town: Town, host: str, lease_ms: int) -> None:
    while True:
        await trio.sleep(lease_ms / 3000)
        try:
            if not await town.run(town.calls.take_lease(_LEASE, host, lease_ms=lease_ms)):
                return
        except ServerUnreachable:
            return


async def _feed(town: Town, plugins: Plugins, name: str, sink: StatusSink) -> None:
    """One sink, for ever: opened again with growing delays when it raises, with the same batch once more."""
    failures = 0
    while True:
        try:
            async with sink.open():
                while True:
                    seen = town.position.value
                    if await _hand_over(town, name, sink):
                        failures = 0
                        continue
                    with trio.move_on_after(_LOOK_AGAIN_S):
                        await town.position.wait_value(lambda position, seen=seen: position != seen)
        except ServerUnreachable:
            pass
        except Exception as error:  # a stranger's sink may raise anything; the others go on
            failures += 1
            plugins.mark_faulty(name, "put", error)
            if failures == 1:
                await _tell(town, name, f"the sink raised {shown(repr(error), 300)}; it is tried again")
        await trio.sleep(min(_FIRST_RETRY_S * 2**failures, _LONGEST_RETRY_S))


async def _hand_over(town: Town, name: str, sink: StatusSink) -> bool:
    """Give the sink its next batch and remember its new position; False when there is none."""
    cursor = await town.run(town.calls.cursor(name)) or "0"
    events = await town.run(town.calls.events_after(cursor, count=_BATCH))
    if not events:
        return False
    with trio.fail_after(_PUT_BOUND_S):
        await sink.put(events)
    await town.run(town.calls.set_cursor(name, events[-1].id))
    return True


async def _tell(town: Town, name: str, text: str) -> None:
    try:
        await town.run(town.calls.emit("plugin_reported", {"plugin": name, "text": text}))
    except TinytownError:
        return
