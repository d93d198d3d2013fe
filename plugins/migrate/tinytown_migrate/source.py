"""Reads and sorts the keys of a Tinytown 0.10 on its server. Changes nothing and decides nothing.

It had three layouts: keys before towns had names (``tt:agent:<id>``), then ``tt:<town>:agent:<id>`` with records as JSON
strings, then with records as hashes. One server may have all three. A town's name may hold anything, so keys are found
with SCAN over ``tt:*`` and taken apart here, never by a pattern with a name in it. Keys of this version begin with ``tt:{``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, cast

import msgspec
from tinytown.errors import TinytownError
from tinytown.protocol import Argument, Operation, Reply

_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_KINDS = "agent|inbox|urgent|task|activity|stop"
_NAMELESS = re.compile(rf"tt:(?P<kind>{_KINDS}):(?P<id>{_UUID})|tt:(?P<single>backlog|broadcast)")
_NAMED = re.compile(
    rf"tt:(?P<town>.+?):(?:(?P<kind>{_KINDS}):(?P<id>{_UUID})|(?P<single>backlog|broadcast)"
    rf"|(?P<other>events(?::(?:agent|mission):{_UUID})?|docket:(?:tasks|events)|mission:.+))",
    re.DOTALL,
)
_SCAN_COUNT = 1000
_AT_ONCE = 200
_ENTRIES = 1000

Fields = dict[str, Any]


class Client(Protocol):
    """What a client must offer; `BlockingClient` does."""

    def command(self, *words: Argument, timeout_s: float | None = None) -> Reply: ...

    def run_all(self, operations: Sequence[Operation[Any]], *, timeout_s: float | None = None) -> list[Any]: ...


class OldKey(NamedTuple):
    """A key taken apart: ``town`` is None for keys from before towns had names."""

    town: str | None
    kind: str
    id: str
    key: bytes


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """A key without a counterpart in this version, with its value."""

    key: str
    kind: str
    value: Any


@dataclass
class OldTown:
    """An old town on its server. Records have their old field names; mail is raw."""

    name: str | None
    agents: dict[str, Fields] = field(default_factory=dict[str, Fields])
    tasks: dict[str, Fields] = field(default_factory=dict[str, Fields])
    backlog: list[str] = field(default_factory=list[str])
    inboxes: dict[str, list[bytes]] = field(default_factory=dict[str, list[bytes]])
    urgent: dict[str, list[bytes]] = field(default_factory=dict[str, list[bytes]])
    stopped: set[str] = field(default_factory=set[str])
    leftovers: list[Leftover] = field(default_factory=list[Leftover])
    layouts: Counter[str] = field(default_factory=Counter[str])


def find_keys(client: Client) -> list[OldKey]:
    """Every key of a Tinytown 0.10 on the server, sorted."""
    all_keys: set[bytes] = set()
    cursor: Any = b"0"
    while True:
        cursor, keys = client.command("SCAN", cursor, "MATCH", "tt:*", "COUNT", _SCAN_COUNT)
        all_keys.update(keys)
        if int(cursor) == 0:
            break
    return [parsed for key in sorted(all_keys) if (parsed := parse_key(key)) is not None]


def parse_key(key: bytes) -> OldKey | None:
    """The parts of a key; None for a key that is not of Tinytown 0.10."""
    text = key.decode("utf-8", "replace")
    if match := _NAMELESS.fullmatch(text):
        return OldKey(None, match["kind"] or match["single"], (match["id"] or "").lower(), key)
    match = _NAMED.fullmatch(text)
    if match is None or match["town"].startswith("{"):
        return None
    other = match["other"] or ""
    return OldKey(match["town"], match["kind"] or match["single"] or other.partition(":")[0], match["id"] or "", key)


def town_names(keys: Iterable[OldKey]) -> dict[str | None, int]:
    """The towns with agents, tasks or mail, with the number of their keys."""
    return dict(Counter(key.town for key in keys if key.kind in ("agent", "task", "inbox", "urgent", "backlog")))


def read_town(client: Client, keys: Iterable[OldKey], name: str | None) -> OldTown:
    """The town `name` (None: the keys without a name)."""
    own_keys = [key for key in keys if key.town == name]
    types = _ask(client, [("TYPE", key.key) for key in own_keys])
    town = OldTown(name)
    reads = [_reading(key, _text(type_)) for key, type_ in zip(own_keys, types, strict=True)]
    values = _ask(client, reads)
    for key, type_, value in zip(own_keys, types, values, strict=True):
        _add_key(town, key, _text(type_), value)
    return town


def _reading(key: OldKey, type_: str) -> tuple[Argument, ...]:
    commands: dict[str, tuple[Argument, ...]] = {
        "string": ("GET", key.key),
        "hash": ("HGETALL", key.key),
        "list": ("LRANGE", key.key, 0, -1),
        "set": ("SMEMBERS", key.key),
        "zset": ("ZRANGE", key.key, 0, -1, "WITHSCORES"),
        "stream": ("XREVRANGE", key.key, "+", "-", "COUNT", _ENTRIES),
    }
    return commands.get(type_, ("TYPE", key.key))


def _ask(client: Client, commands: Sequence[tuple[Argument, ...]]) -> list[Any]:
    answers: list[Any] = []
    for begin in range(0, len(commands), _AT_ONCE):
        calls = [Operation(words, _unchanged) for words in commands[begin : begin + _AT_ONCE]]
        answers += client.run_all(calls)
    for answer in answers:
        if isinstance(answer, TinytownError):
            raise answer
    return answers


def _unchanged(reply: Reply) -> Reply:
    return reply


def _add_key(town: OldTown, key: OldKey, type_: str, value: Any) -> None:
    if key.kind in ("agent", "task") and (fields := _record(type_, value)) is not None:
        (town.agents if key.kind == "agent" else town.tasks)[key.id] = fields
        town.layouts["hash" if type_ == "hash" else "json"] += 1
    elif key.kind == "inbox" and type_ == "list":
        town.inboxes[key.id] = value
    elif key.kind == "urgent" and type_ == "list":
        town.urgent[key.id] = value
    elif key.kind == "backlog" and type_ == "list":
        town.backlog = [_text(item) for item in value]
    elif key.kind == "stop":
        town.stopped.add(key.id)
    elif type_ != "none":
        town.leftovers.append(Leftover(key=_text(key.key), kind=key.kind, value=_plain(value)))


def _record(type_: str, value: Any) -> Fields | None:
    """A record's fields from either layout; None for other values."""
    if type_ == "hash":
        return {name: text for name, text in _plain(value).items() if text != ""}
    if type_ != "string":
        return None
    try:
        fields = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    return {name: item for name, item in cast(Fields, fields).items() if item is not None}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    """A reply as JSON values."""
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return {_text(name): _plain(item) for name, item in items}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in cast("list[object]", value)]
    return _text(value) if isinstance(value, bytes) else value
