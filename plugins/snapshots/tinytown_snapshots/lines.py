"""Snapshots as the bytes of a file: one record a line, in the order of `Snapshot`, always the same for the same town.

Reading refuses invalid records by the number of their line; `checks` validates them together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import msgspec
from tinytown.errors import UsageError
from tinytown.model.text import shown
from tinytown.protocol import SCHEMA

from tinytown_snapshots.records import (
    FORMAT,
    VERSION,
    AgentRecord,
    DeadLetterRecord,
    Header,
    MessageRecord,
    PluginDataRecord,
    Record,
    Settings,
    Snapshot,
    TaskRecord,
)

T = TypeVar("T", bound=Record)

#: The schema of towns whose snapshots have version 1; their records need nothing but other words.
_OLD_SCHEMA = "1"

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode: Callable[[bytes], Record] = msgspec.json.Decoder(Record).decode


class Numbered(NamedTuple):
    """A record and the number of its line, from 1."""

    line: int
    record: Record


def to_bytes(snapshot: Snapshot) -> bytes:
    """The whole file."""
    records: list[Record] = [Header(format=FORMAT, version=VERSION, schema=snapshot.schema)]
    if snapshot.settings:
        records.append(Settings(values=snapshot.settings))
    records += [*snapshot.agents, *snapshot.tasks, *snapshot.messages, *snapshot.dead_letters, *snapshot.plugin_data]
    return b"".join(_encode(record) + b"\n" for record in records)


def bad_line(number: int, reason: str) -> UsageError:
    """The error of an invalid line."""
    return UsageError(
        f"line {number} of the snapshot is invalid: {reason}",
        hint="nothing was restored; fix the line or use an older snapshot",
        code="bad_snapshot",
        line=number,
    )


def read_lines(content: bytes) -> list[Numbered]:
    """The records of a file, the header first.

    Raises: UsageError with code ``bad_snapshot`` (field ``line``) for another format, a newer version, or a line
    that is incomplete, not a record, or has a member unknown to this version.
    """
    if not content:
        raise bad_line(1, "the file is empty")
    *lines, last = content.split(b"\n")
    records_read: list[Numbered] = []
    for number, line in enumerate(lines, 1):
        records_read.append(Numbered(number, _read_line(number, line)))
        if number == 1:
            _check_header(records_read[0].record)
        elif isinstance(records_read[-1].record, Header):
            raise bad_line(number, "a second header")
    if last or not records_read:
        raise bad_line(len(lines) + 1, "it does not end with a newline, so the file is truncated")
    return records_read


def _read_line(number: int, line: bytes) -> Record:
    try:
        line.decode()
        return _decode(_with_present_words(line))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if number == 1:
            raise _other_format() from error
        raise bad_line(number, shown(str(error), 200)) from error


def _with_present_words(line: bytes) -> bytes:
    """A line in the words of this version: version 1 said ``wanted`` for an agent's desired state, and ``cold`` for suspended."""
    if b'"wanted"' not in line or b'"type":"agent"' not in line:
        return line
    fields = msgspec.json.decode(line)
    if fields.get("type") != "agent" or "wanted" not in fields:
        return line
    fields["desired_state"] = fields.pop("wanted")
    if fields.get("state") == "cold":
        fields["state"] = "suspended"
    return msgspec.json.encode(fields)


def _check_header(header: Record) -> None:
    if not isinstance(header, Header) or header.format != FORMAT:
        raise _other_format()
    if header.version > VERSION:
        raise UsageError(
            f"the snapshot has version {header.version} of the format; this Tinytown supports {VERSION}",
            hint="use the Tinytown that saved it, or a newer one",
            code="bad_snapshot",
            line=1,
        )


def _other_format() -> UsageError:
    return UsageError(
        f"line 1 of the snapshot is invalid: expected a header of the format {FORMAT!r}",
        hint="name a file that tt save wrote",
        code="bad_snapshot",
        line=1,
    )


def gather(numbered: list[Numbered]) -> Snapshot:
    """The snapshot of a file's records, each kind in its order whatever the order of the lines."""

    def all_of(kind: type[T]) -> list[T]:
        return [record.record for record in numbered if isinstance(record.record, kind)]

    header = all_of(Header)[0]
    settings = [record.values for record in all_of(Settings)]
    agents = sorted(all_of(AgentRecord), key=lambda record: record.seq)
    place = {record.name: record.seq for record in agents}
    return Snapshot(
        schema=SCHEMA if header.schema == _OLD_SCHEMA else header.schema,
        settings=settings[0] if settings else {},
        agents=tuple(agents),
        tasks=tuple(sorted(all_of(TaskRecord), key=lambda record: record.seq)),
        messages=in_order(all_of(MessageRecord), place),
        dead_letters=tuple(sorted(all_of(DeadLetterRecord), key=lambda record: (record.at, record.id))),
        plugin_data=tuple(sorted(all_of(PluginDataRecord), key=lambda record: (record.plugin, record.field))),
    )


def in_order(messages: list[MessageRecord], place: dict[str, int]) -> tuple[MessageRecord, ...]:
    """Messages by mailbox (the human side's first, then by the agent's `place`) and, inside one, as they are delivered."""
    rank = ("urgent", "high", "normal", "low").index
    return tuple(sorted(messages, key=lambda record: (place.get(record.agent, 0), rank(record.priority), record.seq)))


def is_snapshot(text: str) -> bool:
    """Whether a file with `text` may be replaced by a snapshot: it is one, of any version, or empty."""
    head = text.partition("\n")[0].encode()
    try:
        record = _decode(head)
    except (msgspec.DecodeError, RecursionError):
        return text == ""
    return isinstance(record, Header) and record.format == FORMAT
