"""What happens in the town: events as a page, and as a stream that continues where it was cut."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from starlette.requests import HTTPConnection
from starlette.responses import Response
from tinytown.errors import UsageError
from tinytown.model.events import event_fields
from tinytown.model.text import shown

from tinytown_townhall.event_stream import EventStream, sse
from tinytown_townhall.feed import FeedEvent
from tinytown_townhall.routing import Call, Endpoints

EVENTS = Endpoints("events")

_POSITION = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")


class EventQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events: those behind the position `after`, else the latest. `type`, `agent` and `task` choose among them."""

    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100
    type: str = ""
    agent: str = ""
    task: str = ""


class StreamQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to begin: behind the position `after` (``0``: the oldest), else with the next event. The rest as `EventQuery`."""

    after: str = ""
    type: str = ""
    agent: str = ""
    task: str = ""


class EventList(msgspec.Struct, frozen=True, kw_only=True):
    """Events, the oldest first. `next` is the position to ask behind for what follows.

    An event has ``type``, ``at``, ``id``, one line of ``text``, and the members of its type.
    """

    events: Sequence[dict[str, Any]]
    next: str


@EVENTS.get("/v1/events")
async def list_events(call: Call, query: EventQuery) -> EventList:
    """The latest events, or those behind a position."""
    operations = call.town.operations
    if query.after:
        _check(query.after)
        events = await call.run(operations.events_after(query.after, count=query.limit))
    else:
        events = await call.run(operations.latest_events(query.limit))
    chosen = [event.shape for event in map(call.hall.feed.shaped, events) if matches(event, query)]
    return EventList(events=chosen, next=events[-1].id if events else query.after or "0")


@EVENTS.get("/v1/events/stream", media_type="text/event-stream")
async def stream_events(call: Call, query: StreamQuery) -> Response:
    """Events as server-sent events, as they happen. After a cut a client sends ``Last-Event-ID``, and misses none."""
    after = begin_of(call.http, query) or call.town.position.value

    async def read() -> AsyncGenerator[bytes]:
        async with aclosing(call.hall.feed.follow(after)) as batches:
            async for batch in batches:
                chosen = b"".join(
                    sse(event.encoded, event=event.event.type, id_=event.id) for event in batch if matches(event, query)
                )
                if chosen:
                    yield chosen

    return EventStream(read, call.hall.closing)


def begin_of(connection: HTTPConnection, query: StreamQuery) -> str:
    """Behind which position a client wants to continue; empty for the next event. Raises: UsageError."""
    if begin := connection.headers.get("last-event-id") or query.after:
        _check(begin)
    return begin


def _check(position: str) -> None:
    if not _POSITION.fullmatch(position):
        raise UsageError(
            f"expected the position of an event, got {shown(position)!r}", hint="the member id of an event, or 0"
        )


def matches(event: FeedEvent, query: EventQuery | StreamQuery) -> bool:
    """Whether an event is among those that are wanted."""
    if query.type and event.event.type != query.type:
        return False
    if not query.agent and not query.task:
        return True
    fields = event_fields(event.event)
    of_agent = not query.agent or query.agent in (fields.get("agent"), fields.get("recipient"), fields.get("sender"))
    return of_agent and (not query.task or fields.get("task") == query.task)
