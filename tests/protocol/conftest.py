"""A real server for the session, and a town on it to try the protocol's calls on, with all its keys open to inspection."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import hypothesis
import pytest
from tinytown.errors import NotFound, Refused, TinytownError, UsageError
from tinytown.protocol.keys import KEYS
from tinytown.protocol.operation import Argument, Operation, Reply
from tinytown.protocol.operations import TownOperations, load_library
from tinytown.redis.blocking_client import BlockingClient
from tinytown.redis.url import Address
from tinytown_server.server import EmbeddedServer

T = TypeVar("T")
Dump = dict[str, tuple[str, Any]]

#: More examples for a night of their own: TINYTOWN_EXAMPLES=2000. The few of every day are the same ones every day.
EXAMPLES = int(os.environ.get("TINYTOWN_EXAMPLES", "100"))
MACHINE = hypothesis.settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize="TINYTOWN_EXAMPLES" not in os.environ,
    suppress_health_check=list(hypothesis.HealthCheck),
)

#: Everything below a base in one answer: [key, type, time to live in ms, value] each.
_DUMP = """
local found = {}
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
  found[i] = { key, type, redis.call('PTTL', key), read[type](key) }
end
return found
"""

_MOMENT = re.compile(r"1[789]\d{11}(-\d+)?|20\d\d-\d\d-\d\dT[\d:.]+Z")
_PATTERNS = {
    re.compile(":".join("[^:]+" if part.startswith("<") else re.escape(part) for part in pattern.split(":"))): kind
    for pattern, kind in KEYS.items()
}
#: A literal key wins over a pattern: `tasks:ids` is no `tasks:<x>`.
_LITERAL = {pattern: kind for pattern, kind in KEYS.items() if "<" not in pattern}


class Town:
    """A town of its own name on the test's server."""

    def __init__(self, client: BlockingClient, name: str) -> None:
        self.client = client
        self.operations = TownOperations(name)
        self.base = self.operations.keys.base

    def run(self, operation: Operation[T]) -> T:
        return self.client.run(operation)

    def command(self, *words: Argument) -> Reply:
        return self.client.command(*words)

    def key(self, below: str) -> str:
        return f"{self.base}:{below}"

    def refusal(self, operation: Operation[Any]) -> TinytownError:
        """The error with which the town refuses `call`; it must be the caller's or the state's, and change nothing."""
        before = self.dump()
        with pytest.raises(TinytownError) as caught:
            self.run(operation)
        assert isinstance(caught.value, UsageError | NotFound | Refused), caught.value
        assert self.dump() == before, "a refusal left a trace"
        return caught.value

    def rows(self) -> list[tuple[str, str, int, Any]]:
        """Every key below the town's base with its type, time to live in ms and value."""
        raw = self.command("EVAL", _DUMP, 0, self.base)
        skipped = len(self.base) + 1
        return [(key.decode()[skipped:], kind.decode(), ttl, _value(kind, value)) for key, kind, ttl, value in raw]

    def dump(self) -> Dump:
        """All keys with type and value but those that only remember answers."""
        return {key: (kind, value) for key, kind, _, value in self.rows() if not key.startswith("op:")}

    def events(self) -> list[dict[str, str]]:
        return [_pairs(fields) for _, fields in self.command("XRANGE", self.operations.keys.events, "-", "+")]


def key_type(key: str) -> str | None:
    """The type that `KEYS` gives a key below the base; None for one that is not in the table."""
    if key in _LITERAL:
        return _LITERAL[key]
    return next((kind for pattern, kind in _PATTERNS.items() if pattern.fullmatch(key)), None)


def timeless(dump: Dump) -> str:
    """A dump as text in which one moment is like another."""
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


@pytest.fixture(scope="session")
def client() -> Iterator[BlockingClient]:
    home = Path(tempfile.mkdtemp(prefix="tt-protocol-"))
    server = EmbeddedServer(home / ".tt")
    try:
        server.ensure()
        with BlockingClient(Address("unix", path=str(server.socket_path))) as light:
            light.command("CONFIG", "SET", "appendonly", "no")
            light.run(load_library())
            yield light
    finally:
        server.stop()
        shutil.rmtree(home)


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    seconds = 240 * max(1, EXAMPLES // 100)  # it takes five on an idle machine

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"the test took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


_numbers = itertools.count(1)


def fresh_town(client: BlockingClient, **settings: int) -> Town:
    """A new, empty town; whatever was on the server before is gone."""
    client.command("FLUSHALL")
    town = Town(client, f"town-{next(_numbers)}")
    town.run(town.operations.setup(settings))
    return town


@pytest.fixture
def town(client: BlockingClient) -> Iterator[Town]:
    """A town of its own for a test; whatever the test did in it, only keys of the table may be left."""
    town = fresh_town(client)
    yield town
    for key, kind, _, _ in town.rows():
        assert key_type(key) in (kind, "any"), f"{key} is a {kind}, and the table of keys says {key_type(key)}"
