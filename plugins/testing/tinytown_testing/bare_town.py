"""A town without a kernel on a real server, for tests of operations: every key of it can be inspected.

Meant for a server of the tests' own: `fresh_town` removes whatever else is on it.
"""

from __future__ import annotations

import itertools
import re
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from tinytown.errors import NotFound, Refused, TinytownError, UsageError
from tinytown.protocol import Argument, Operation, Reply, TownOperations, load_library
from tinytown.redis import parse_url
from tinytown_cli.blocking_client import BlockingClient
from tinytown_server.server import EmbeddedServer

from tinytown_testing.keys import KEYS

T = TypeVar("T")
#: The content of a town: key below its base -> type and value.
Dump: TypeAlias = dict[str, tuple[str, Any]]

#: Everything below a base in one answer: [key, type, time to live in ms, value] each.
_DUMP = """
local rows = {}
local read = {
  string = function(key) return redis.call('GET', key) end,
  hash = function(key) return redis.call('HGETALL', key) end,
  set = function(key) return redis.call('SMEMBERS', key) end,
  list = function(key) return redis.call('LRANGE', key, 0, -1) end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
  stream = function(key) return redis.call('XRANGE', key, '-', '+') end,
}
for i, key in ipairs(redis.call('KEYS', ARGV[1] .. ':*')) do
  local type = redis.call('TYPE', key).ok
  rows[i] = { key, type, redis.call('PTTL', key), read[type](key) }
end
return rows
"""

_MOMENT = re.compile(r"1[789]\d{11}(-\d+)?|20\d\d-\d\d-\d\dT[\d:.]+Z")
_PATTERNS = {
    re.compile(":".join("[^:]+" if part.startswith("<") else re.escape(part) for part in pattern.split(":"))): kind
    for pattern, kind in KEYS.items()
}
#: A literal key wins over a pattern: `tasks:ids` is no `tasks:<x>`.
_LITERAL = {pattern: kind for pattern, kind in KEYS.items() if "<" not in pattern}
_numbers = itertools.count(1)


class BareTown:
    """A town on a server, by its operations and its keys."""

    def __init__(self, client: BlockingClient, name: str) -> None:
        self.client = client
        self.operations = TownOperations(name)
        self.base = self.operations.keys.base

    def run(self, operation: Operation[T]) -> T:
        """What the operation answers. Raises: TinytownError."""
        return self.client.run(operation)

    def command(self, *words: Argument) -> Reply:
        """The reply to a command of Redis."""
        return self.client.command(*words)

    def key(self, below: str) -> str:
        """The full key of one below the town's base."""
        return f"{self.base}:{below}"

    def refusal(self, operation: Operation[Any]) -> TinytownError:
        """The error that an operation must raise: of the caller or of the town's state, and without any change."""
        before = self.dump()
        try:
            self.run(operation)
        except (UsageError, NotFound, Refused) as error:
            assert self.dump() == before, "a refused operation changed the town"
            return error
        raise AssertionError(f"{operation} was not refused")

    def rows(self) -> list[tuple[str, str, int, Any]]:
        """Every key below the town's base with its type, time to live in ms (-1: none) and value."""
        raw = self.command("EVAL", _DUMP, 0, self.base)
        skipped = len(self.base) + 1
        return [(key.decode()[skipped:], kind.decode(), ttl, _value(kind, value)) for key, kind, ttl, value in raw]

    def dump(self) -> Dump:
        """All keys with type and value, without those that only remember answers."""
        return {key: (kind, value) for key, kind, _, value in self.rows() if not key.startswith("op:")}

    def events(self) -> list[dict[str, str]]:
        """The fields of the town's events, oldest first."""
        return [_pairs(fields) for _, fields in self.command("XRANGE", self.operations.keys.events, "-", "+")]


@contextmanager
def open_server_client() -> Generator[BlockingClient]:
    """A client of a new server with the functions of the protocol. It ends with the block, and its data with it."""
    directory = Path(tempfile.mkdtemp(prefix="tt-server-", dir="/tmp"))
    server = EmbeddedServer(directory / "state")
    try:
        server.ensure()
        with BlockingClient(parse_url(server.url)) as client:
            client.command("CONFIG", "SET", "appendonly", "no")
            client.run(load_library())
            yield client
    finally:
        server.stop()
        shutil.rmtree(directory)


def add_town(client: BlockingClient, **settings: int) -> BareTown:
    """A new, empty town, beside those that are on the server."""
    town = BareTown(client, f"town-{next(_numbers)}")
    town.run(town.operations.setup(settings))
    return town


def fresh_town(client: BlockingClient, **settings: int) -> BareTown:
    """A new, empty town; everything else on the server is removed."""
    client.command("FLUSHALL")
    return add_town(client, **settings)


def key_type(key: str) -> str | None:
    """The type that a key below a town's base must have, or ``any``; None for a key that the protocol does not have."""
    if key in _LITERAL:
        return _LITERAL[key]
    return next((kind for pattern, kind in _PATTERNS.items() if pattern.fullmatch(key)), None)


def expect_known_keys(town: BareTown) -> None:
    """Raises: AssertionError if the town has a key that the protocol does not have, or of another type."""
    for key, kind, _, _ in town.rows():
        assert key_type(key) in (kind, "any"), f"{key} is a {kind}, and the table of keys says {key_type(key)}"


def without_times(dump: Dump) -> str:
    """A dump as text in which all moments are the same."""
    return _MOMENT.sub("TIME", repr(sorted(dump.items())))


def _pairs(flat: list[bytes] | dict[bytes, bytes]) -> dict[str, str]:
    items = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
    return {name.decode(): value.decode("utf-8", "surrogateescape") for name, value in items}


def _value(kind: bytes, value: Any) -> Any:
    if kind == b"hash":
        return _pairs(value)
    if kind == b"zset":
        return {member.decode(): float(score) for member, score in zip(value[::2], value[1::2], strict=True)}
    if kind == b"set":
        return {member.decode() for member in value}
    if kind == b"stream":
        return [(entry.decode(), tuple(_pairs(fields).items())) for entry, fields in value]
    if kind == b"list":
        return [item.decode() for item in value]
    return value.decode()
