"""The functions that read, write and empty a whole town, and one operation for each. Pure, no IO.

They are a function library of their own beside the town's: a kernel never needs them, and few commands do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from tinytown.model.ids import new_id
from tinytown.protocol import Argument, FunctionLibrary, Keys, Operation, Reply, function_call

#: How much one call reads or writes: messages, tasks and agents together. Milliseconds for the server.
PAGE = 1000

#: The lease of the command that restores or resets a town; see `TownOperations.acquire_lease`.
LEASE = "moving"
LEASE_MS = 60_000


class Page(NamedTuple):
    """A part of a town: `items` as they came, `cursor` for the next page ('' = none), `event` the newest one's id."""

    cursor: str
    event: str
    items: list[list[Any]]


class Emptied(NamedTuple):
    """How much a reset took out of the town."""

    agents: int
    tasks: int
    messages: int
    dead_letters: int
    plugin_data: int


class Row(NamedTuple):
    """One record to write: its kind and the values that ``functions.lua`` takes for it, and the body of a message or a value."""

    values: list[Any]
    body: bytes = b""


LIBRARY = FunctionLibrary("snapshots", Path(__file__).with_name("functions.lua"))


def plugins_with_data(keys: Keys) -> Operation[tuple[str, ...]]:
    """The names of the plugins that have data in the town."""
    return Operation(("SMEMBERS", keys.plugins), lambda reply: tuple(sorted(name.decode() for name in reply)))


class SnapshotOperations:
    """Makes the operations for the town whose keys are `keys`. All are safe to repeat."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys

    def _call(self, function: str, decode: Any, *args: Argument) -> Operation[Any]:
        return function_call(LIBRARY, function, self.keys.base, decode, *args)

    def page(self, cursor: str = "", *, size: int = PAGE) -> Operation[Page]:
        """One page of the town as it is, from the place where the page with `cursor` ended."""

        def decode(reply: Reply) -> Page:
            return Page(reply[0].decode(), reply[1].decode(), reply[2:])

        return self._call("snapshot", decode, cursor, size)

    def put(self, holder: str, rows: Iterable[Row]) -> Operation[int]:
        """Write rows where nobody sees them yet; how many."""
        flat = [part for row in rows for part in (msgspec.msgpack.encode(row.values), row.body)]
        return self._call("restore_put", int, holder, *flat)

    def list_all(self, holder: str, *, event: str, highest: int, settings: Mapping[str, str]) -> Operation[int]:
        """Make all that was put a part of the town, in one step.

        `event` is the newest one that the caller knows of; refused when something happened since. '' refuses unless
        the town is empty. `highest` is the highest place (``seq``) among the records.
        """
        packed = msgspec.msgpack.encode(dict(settings))
        return self._call("restore_list", int, new_id(), holder, event, highest, packed)

    def sweep(self, holder: str) -> Operation[bool]:
        """Remove a page of what was put and not listed, or reset away; whether there may be more."""
        return self._call("sweep", bool, holder)

    def plugin_keys(self, cursor: int = 0) -> Operation[tuple[int, list[bytes]]]:
        """Some of the keys that plugins have beside their data, and the cursor for the next ones (0: that was all)."""

        def decode(reply: Reply) -> tuple[int, list[bytes]]:
            return int(reply[0]), reply[1]

        return Operation(("SCAN", cursor, "MATCH", f"{self.keys.base}:plugin:*:*", "COUNT", PAGE), decode)

    def unlink(self, keys: Sequence[bytes]) -> Operation[int]:
        """Remove keys."""
        return Operation(("UNLINK", *keys), int)

    def reset(self, holder: str) -> Operation[Emptied]:
        """Take everything out of the town but its settings and counters, in one step; refused while a kernel takes part.

        Records of tasks are only unlisted by it: `sweep` removes them.
        """

        def decode(reply: Reply) -> Emptied:
            return Emptied(*(int(count) for count in reply))

        return self._call("reset", decode, new_id(), holder)
