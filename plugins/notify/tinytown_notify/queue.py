"""What waits in the town to be delivered, and what could not be: operations on a function library of the plugin's own. Pure.

Items are known by the ids of their events, so what is put twice waits once, and order is that of the events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from tinytown.errors import UsageError
from tinytown.model.hash_codec import pairs
from tinytown.model.ids import new_id
from tinytown.model.text import shown
from tinytown.model.time import rfc3339
from tinytown.protocol import FunctionLibrary, Keys, Operation, Reply, function_call

LIBRARY = FunctionLibrary("notify", Path(__file__).with_name("functions.lua"))


class Item(NamedTuple):
    """What is sent for one event: JSON of `News` or of the event."""

    id: str
    content: bytes

    @property
    def happened_s(self) -> float:
        """When, in seconds since 1970."""
        return int(self.id.partition("-")[0]) / 1000


class Waiting(NamedTuple):
    """The oldest items of a channel, and when it last delivered some (0: never), in seconds since 1970."""

    last_s: float
    items: tuple[Item, ...]


class DeadItem(msgspec.Struct, frozen=True, kw_only=True):
    """What could not be delivered, and why."""

    id: str
    at: str
    channel: str
    reason: str
    content: msgspec.Raw


class ChannelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a channel is: counts, and since when and why delivering fails. `dropped` counts dead letters beyond the bound."""

    name: str
    queued: int = 0
    dead: int = 0
    delivered: int = 0
    dropped: int = 0
    delivered_at: str | None = None
    failing_since: str | None = None
    failure: str | None = None


def put(keys: Keys, channel: str, items: Sequence[Item], *, bound: int) -> Operation[bool]:
    """Let `items`, oldest first, wait for delivery; False, and nothing is done, if more than `bound` would wait then."""
    flat = [part for item in items for part in (_padded(item.id), item.content)]
    return function_call(LIBRARY, "notify_put", keys.base, bool, channel, bound, *flat)


def take(keys: Keys, channel: str, count: int) -> Operation[Waiting]:
    """The oldest items that wait, at most `count`. They wait until they are settled."""

    def decode(reply: Reply) -> Waiting:
        items = zip(reply[1::2], reply[2::2], strict=True)
        return Waiting(int(reply[0]) / 1000, tuple(Item(_event_id(id_), content) for id_, content in items))

    return function_call(LIBRARY, "notify_take", keys.base, decode, channel, count)


def settle(
    keys: Keys,
    channel: str,
    *,
    delivered: Sequence[str] = (),
    dead: Mapping[str, str] = {},
    failure: str = "",
    dead_bound: int,
) -> Operation[bool]:
    """Record what became of items: `delivered` ids, `dead` ones with their reasons, and the present `failure`."""
    words = [*map(_padded, delivered)]
    for id_, reason in dead.items():
        words += [_padded(id_), reason]
    return function_call(
        LIBRARY, "notify_settle", keys.base, bool, new_id(), channel, dead_bound, failure, len(delivered), *words
    )


def dead_letters(keys: Keys, channel: str, *, limit: int) -> Operation[tuple[DeadItem, ...]]:
    """The dead letters of a channel, oldest first."""

    def decode(reply: Reply) -> tuple[DeadItem, ...]:
        return tuple(
            DeadItem(
                id=_event_id(id_),
                at=rfc3339(int(id_.partition(b"-")[0])),
                channel=channel,
                reason=reason.decode(),
                content=msgspec.Raw(content),
            )
            for id_, content, reason in zip(reply[::3], reply[1::3], reply[2::3], strict=True)
        )

    return function_call(LIBRARY, "notify_dead", keys.base, decode, channel, limit)


def redeliver(keys: Keys, channel: str, letter: str) -> Operation[tuple[str, ...]]:
    """Let a dead letter (or ``all``) wait for delivery again, before all that happened later; their ids."""
    return function_call(LIBRARY, "notify_redeliver", keys.base, _event_ids, new_id(), channel, _reference(letter))


def drop(keys: Keys, channel: str, letter: str) -> Operation[tuple[str, ...]]:
    """Delete a dead letter (or ``all``); their ids."""
    return function_call(LIBRARY, "notify_drop", keys.base, _event_ids, new_id(), channel, _reference(letter))


def statuses(keys: Keys) -> Operation[tuple[ChannelStatus, ...]]:
    """How each channel is that ever had something to deliver, by name."""

    def decode(reply: Reply) -> tuple[ChannelStatus, ...]:
        found: list[ChannelStatus] = []
        for name, queued, dead, flat in reply:
            state = pairs(flat)
            found.append(
                ChannelStatus(
                    name=name.decode(),
                    queued=queued,
                    dead=dead,
                    delivered=int(state.get("delivered", 0)),
                    dropped=int(state.get("dropped", 0)),
                    delivered_at=_moment(state.get("delivered_at")),
                    failing_since=_moment(state.get("failing_since")),
                    failure=state.get("failure"),
                )
            )
        return tuple(found)

    return function_call(LIBRARY, "notify_status", keys.base, decode)


def _moment(ms: str | None) -> str | None:
    return rfc3339(int(ms)) if ms else None


def _padded(event_id: str) -> str:
    """An event's id in a form whose order as text is the order of the events."""
    ms, _, sequence = event_id.partition("-")
    return f"{ms:0>13}-{sequence:0>6}"


def _event_id(padded: bytes) -> str:
    ms, _, sequence = padded.decode().partition("-")
    return f"{int(ms)}-{int(sequence)}"


def _event_ids(reply: Reply) -> tuple[str, ...]:
    return tuple(_event_id(id_) for id_ in reply)


def _reference(letter: str) -> str:
    """What a person typed for a dead letter. Raises: UsageError for what is neither ``all`` nor the beginning of an id."""
    if letter == "all":
        return letter
    ms, dash, sequence = letter.partition("-")
    if not ms.isdecimal() or (sequence and not sequence.isdecimal()):
        raise UsageError(f"expected the id of a dead letter or 'all', got {shown(letter)!r}", hint="tt notify dead")
    return _padded(letter) if dash and sequence else ms
