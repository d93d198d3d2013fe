"""Operations on the town as a whole: settings, status, ledger, plugin data, events. Pure, no IO."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from tinytown.errors import Refused
from tinytown.model.hash_codec import pairs
from tinytown.model.ids import check_id
from tinytown.model.results import Status
from tinytown.protocol import decoders
from tinytown.protocol.operation import Operation
from tinytown.protocol.operation_base import OperationBase, flat

if TYPE_CHECKING:
    from tinytown.model.events import Event

#: Form of the town's data. Clients of another one are refused.
SCHEMA = "2"

#: Type and members of an event of a plugin's own.
OwnEvent = tuple[str, Mapping[str, str]]

_SORTED = msgspec.json.Encoder(order="sorted")
_value = msgspec.json.decode


def _kept(value: Any) -> bytes:
    """A plugin's value as it is stored, always written the same way; nothing for None."""
    return b"" if value is None else _SORTED.encode(value)


class WholeTownOperations(OperationBase):
    """The town itself, its ledger, the data of plugins and the event stream."""

    def setup(self, settings: Mapping[str, int | str]) -> Operation[str]:
        """Create the town's data if there is none, and store the bounds; the schema of the data.

        Raises: Refused with code ``older_data`` for data that `tinytown.state.migration` brings to this schema, ``other_schema``
        for data that this version does not know.
        """

        def check(reply: Any) -> str:
            if (schema := decoders.to_text(reply)) != SCHEMA:
                raise Refused(
                    f"the town's data has the schema {schema!r}, this version of Tinytown knows {SCHEMA!r}",
                    hint="use the version of Tinytown that made it",
                    code="older_data" if schema < SCHEMA else "other_schema",
                )
            return schema

        return self._call("town_setup", check, SCHEMA, *flat(settings))

    def status(self, *, agents: bool = True) -> Operation[Status]:
        """The whole town in one answer."""
        return self._call("status", decoders.to_status, int(agents))

    def charge_round(self, agent_id: str, round_id: str, charge: str, task_ids: Iterable[str] = ()) -> Operation[int]:
        """Enter what a round has cost whose outcome is not accepted any more; for others `settle_round` does it."""
        return self._call("round_charge", int, agent_id, check_id("a round id", round_id), charge, *task_ids)

    def set_budgets(self, numbers: Mapping[str, int]) -> Operation[tuple[str, ...]]:
        """Set these budgets and no others, see `BudgetsConfig.server_numbers`; names of what has changed."""
        return self._once("budgets_set", decoders.to_texts, *flat(numbers))

    def plugin_data(self, plugin: str) -> Operation[Mapping[str, Any]]:
        """All data of a plugin in the town: field -> value."""
        key = self.keys.plugin(check_id("a plugin's name", plugin))
        return Operation(("HGETALL", key), lambda reply: {name: _value(text) for name, text in pairs(reply).items()})

    def plugin_field(self, plugin: str, field: str) -> Operation[Any]:
        """One value of a plugin; None if there is none."""
        command = ("HGET", self.keys.plugin(check_id("a plugin's name", plugin)), check_id("a field", field))
        return Operation(command, lambda reply: None if reply is None else _value(reply))

    def set_plugin_field(
        self, plugin: str, field: str, value: Any, *, expected: Any = msgspec.UNSET, event: OwnEvent | None = None
    ) -> Operation[bool]:
        """Store `value`, anything that JSON can hold, for a plugin; None removes the field. Whether it was done.

        With `expected` only if the field holds just that, as it was read (None: nothing): so that concurrent writers do
        not overwrite each other. An `event` of the plugin's own, type and members, is written in the same
        step, when something changed.
        """
        own = (check_id("an event type", event[0]), *flat(event[1])) if event else ()
        compared = (0, b"") if expected is msgspec.UNSET else (1, _kept(expected))
        check_id("a plugin's name", plugin)
        return self._once("plugin_set", bool, plugin, check_id("a field", field), _kept(value), *compared, *own)

    def emit(self, type_: str, members: Mapping[str, str]) -> Operation[int]:
        """Add an event of a plugin's or kernel's own to the stream."""
        return self._once("emit", int, check_id("an event type", type_), *flat(members))

    def latest_events(self, count: int, *, begin: str = "-") -> Operation[tuple[Event, ...]]:
        """The newest `count` events, oldest of them first; from the position `begin` on, which may be a time in ms."""
        command = ("XREVRANGE", self.keys.events, "+", begin, "COUNT", count)
        return Operation(command, lambda reply: decoders.to_events(reply)[::-1])

    def events_after(self, cursor: str, *, count: int = 500) -> Operation[tuple[Event, ...]]:
        """Events behind the position `cursor` (``0`` = from the oldest), at most `count`."""
        return self.events_from(f"({cursor}" if cursor != "0" else "-", count=count)

    def events_from(self, cursor: str, *, count: int) -> Operation[tuple[Event, ...]]:
        """Events at and behind the position `cursor`, at most `count`."""
        return Operation(("XRANGE", self.keys.events, cursor, "+", "COUNT", count), decoders.to_events)

    def wait_for_events(self, cursor: str, *, block_ms: int, count: int = 500) -> Operation[tuple[Event, ...]]:
        """Like `events_after`, waiting on the server for up to `block_ms`; needs a connection of its own."""
        command = ("XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", self.keys.events, cursor)
        return Operation(command, decoders.to_stream_events)
