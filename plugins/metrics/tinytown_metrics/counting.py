"""Follows the town's events for the counters. Which one was counted last is kept in a key of the plugin's own."""

from __future__ import annotations

from contextlib import aclosing, suppress

import trio
from redis.exceptions import RedisError
from tinytown.errors import NotFound, ServerUnreachable
from tinytown.model.events import Event, RoundEnded
from tinytown.model.round_records import RoundRecord
from tinytown.town import Town
from tinytown_cli import administration

from tinytown_metrics.address import PLUGIN
from tinytown_metrics.counters import TownCounters

_PAUSE_S = 1.0
#: What happened while no kernel counted for longer than this is not counted.
_KEPT_S = 86_400


async def count_events(town: Town, counters: TownCounters) -> None:
    """Count until cancelled, from where the service before left off: neither an outage nor a failover leaves a gap."""
    redis = town.redis(PLUGIN)
    counted = redis.key("counted")
    after = ""
    while True:
        with suppress(ServerUnreachable):
            after = after or str(await redis.get(counted) or town.opened_at)
            async with aclosing(town.events(after)) as events:
                while True:
                    with suppress(RedisError):  # a server that is full: counting continues
                        await redis.set(counted, after, ex=_KEPT_S)
                    event = await anext(events)
                    counters.add(event, await _record(town, event))
                    after = event.id
        await trio.sleep(_PAUSE_S)


async def _record(town: Town, event: Event) -> RoundRecord | None:
    """The record of the round that ends, if it is still there."""
    if not isinstance(event, RoundEnded):
        return None
    read = administration.rounds(town.operations.keys, event.agent, round_id=event.round_id, limit=1)
    try:
        records = await town.run(read)
    except NotFound:  # its agent was removed
        return None
    return records[0] if records else None
