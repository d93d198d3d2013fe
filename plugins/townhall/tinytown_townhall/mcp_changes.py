"""Which resources of MCP an event changes, reported to those who have subscribed to them.

Changes are collected for a moment, so that a burst of events is one notice for each resource.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from tinytown.concurrency import open_background
from tinytown.model.events import AgentActivity, Event, event_fields

from tinytown_townhall.hall import Hall

TOWN = "tinytown://town/current"
ATTENTION = "tinytown://attention"
AGENTS = "tinytown://agents"
BACKLOG = "tinytown://backlog"

_COLLECT_S = 0.2
_SUBSCRIPTIONS = 1_000
_SEND_S = 10.0


def changed_resources(event: Event) -> set[str]:
    """The addresses of what an event has changed. Pure."""
    if isinstance(event, AgentActivity):  # what an agent just did is in its log
        return set()
    fields: dict[str, Any] = event_fields(event)
    changed = {TOWN, ATTENTION}
    for name in {fields.get("agent"), fields.get("recipient")} - {None, ""}:
        changed |= {AGENTS, f"{AGENTS}/{name}"}
    if task := fields.get("task"):
        changed |= {BACKLOG, f"tinytown://tasks/{task}"}
    if round_id := fields.get("round_id"):
        changed.add(f"tinytown://rounds/{round_id}")
    return changed


class ResourceChanges:
    """The subscriptions of one server: `listen` serves streams, `subscribe` the sessions of the protocol before today's."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._bus = InMemorySubscriptionBus()
        self.listen = ListenHandler(self._bus, max_subscriptions=_SUBSCRIPTIONS)
        self._sessions: dict[str, ServerSession] = {}
        self._changed: set[str] = set()
        self._happened = trio.Event()

    def subscribe(self, uri: str, session: ServerSession) -> None:
        """Tell this session of changes of the resource at `uri`; beyond some number of them, of no more."""
        if len(self._sessions) < _SUBSCRIPTIONS:
            self._sessions[uri] = session

    def unsubscribe(self, uri: str) -> None:
        """Tell nobody any more."""
        self._sessions.pop(uri, None)

    def take(self, event: Event) -> None:
        """Note what an event has changed, see `Town.subscribe`."""
        self._changed |= changed_resources(event)
        self._happened.set()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Tell subscribers until the block is left, or the townhall closes, which ends their streams."""
        async with open_background() as nursery:
            with self._hall.town.subscribe(self.take):
                nursery.start_soon(self._publish)
                nursery.start_soon(self._close)
                yield

    async def _publish(self) -> None:
        while True:
            await self._happened.wait()
            await trio.sleep(_COLLECT_S)
            self._happened = trio.Event()
            changed, self._changed = self._changed, set()
            for uri in sorted(changed):
                await self._bus.publish(ResourceUpdated(uri=uri))
                if session := self._sessions.get(uri):
                    with trio.move_on_after(_SEND_S), suppress(trio.ClosedResourceError, trio.BrokenResourceError):
                        await session.send_resource_updated(uri)

    async def _close(self) -> None:
        await self._hall.closing.wait()
        self.listen.close()
