"""A bead file, line by line: the kind of each line, its bead, or why it is invalid. Every byte is kept.

Pure. Joining the lines gives the same file; a line changes only through `with_changes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from tinytown_beads.bead import Bead, InvalidBead, read_bead
from tinytown_beads.fields import ISSUE_KEYS
from tinytown_beads.json_text import as_object, decode, overlay

LineKind = Literal["bead", "tombstone", "memory", "header", "blank", "bad"]

#: `bd import` refuses longer ones.
LINE_LIMIT_BYTES = 64 << 20

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(msgspec.Struct, frozen=True):
    """One line with its line end. `key` names a bead, a tombstone or a memory; `problem` is the reason if it is invalid."""

    number: int
    raw: bytes
    kind: LineKind
    key: str = ""
    bead: Bead | None = None
    problem: str = ""

    @property
    def text(self) -> str:
        """The line without its end and without a byte order mark."""
        return self.raw.removeprefix(_BYTE_ORDER_MARK).rstrip(b"\r\n").decode("utf-8", "replace")

    def ended(self) -> Line:
        """The same line with a line end, which the last line of a file may lack."""
        return self if self.raw.endswith(b"\n") else msgspec.structs.replace(self, raw=self.raw + b"\n")


def read_lines(document: bytes) -> list[Line]:
    """The lines of a document. An invalid line never raises; of two beads with one id the later wins."""
    *whole, rest = document.split(b"\n")
    raws = [part + b"\n" for part in whole] + ([rest] if rest else [])
    lines = [_read_line(number, raw) for number, raw in enumerate(raws, 1)]
    latest: dict[str, int] = {}
    for index, line in enumerate(lines):
        if line.kind != "bead":
            continue
        if line.key in latest:
            earlier = lines[latest[line.key]]
            problem = f"{line.key} is repeated on line {line.number}, which wins"
            lines[latest[line.key]] = msgspec.structs.replace(earlier, kind="bad", bead=None, problem=problem)
        latest[line.key] = index
    return lines


def join(lines: Iterable[Line]) -> bytes:
    """The document of these lines."""
    return b"".join(line.raw for line in lines)


def extend(lines: list[Line], more: Iterable[Line]) -> None:
    """Append lines; a last line without a line end gets one."""
    for line in more:
        if lines:
            lines[-1] = lines[-1].ended()
        lines.append(line)


def beads_of(lines: Iterable[Line]) -> dict[str, Bead]:
    """The beads by their ids, in the order of their lines."""
    return {line.key: line.bead for line in lines if line.bead is not None}


def problems_of(lines: Iterable[Line]) -> list[str]:
    """The problems, with line numbers."""
    return [f"line {line.number}: {line.problem}" for line in lines if line.problem]


def with_changes(line: Line, changes: Mapping[str, Any]) -> Line:
    """The line of a bead with other values in some fields; see `json_text.overlay`."""
    if not changes:
        return line
    byte_order_mark = _BYTE_ORDER_MARK if line.raw.startswith(_BYTE_ORDER_MARK) else b""
    body = line.raw.removeprefix(byte_order_mark)
    end = body[len(body.rstrip(b"\r\n")) :]
    text = overlay(line.text, changes, ISSUE_KEYS)
    return _read_line(line.number, byte_order_mark + text.encode() + end)


def new_line(record: Mapping[str, Any], number: int = 0) -> Line:
    """A line for a new record."""
    known = {key: record[key] for key in ISSUE_KEYS if key in record}
    text = overlay("{}", {**known, **record})
    return _read_line(number, text.encode() + b"\n")


def _read_line(number: int, raw: bytes) -> Line:
    body = raw.removeprefix(_BYTE_ORDER_MARK).strip(b" \t\r\n")
    if not body:
        return Line(number, raw, "blank")
    if len(raw) > LINE_LIMIT_BYTES:
        return Line(number, raw, "bad", problem=f"longer than {LINE_LIMIT_BYTES:,} bytes")
    try:
        record = as_object(decode(body))
    except UnicodeDecodeError as error:
        return Line(number, raw, "bad", problem=f"not UTF-8 at byte {error.start + 1}")
    except ValueError as error:
        return Line(number, raw, "bad", problem=f"invalid JSON: {error}")
    if record is None:
        return Line(number, raw, "bad", problem="not a JSON object")
    if "_schema" in record:
        return Line(number, raw, "header")
    if record.get("_type") == "memory":
        return _memory(number, raw, record)
    if record.get("_type", "issue") != "issue":
        return Line(number, raw, "bad", problem=f"unknown _type: {record['_type']!r:.60}")
    if record.get("status") == "tombstone":
        return Line(number, raw, "tombstone", key=str(record.get("id", "")))
    try:
        bead = read_bead(record)
    except InvalidBead as error:
        return Line(number, raw, "bad", problem=str(error))
    return Line(number, raw, "bead", key=bead.id, bead=bead)


def _memory(number: int, raw: bytes, record: Mapping[str, Any]) -> Line:
    key, value = record.get("key"), record.get("value")
    if not (isinstance(key, str) and key and isinstance(value, str) and value):
        return Line(number, raw, "bad", problem="a memory needs a key and a value")
    return Line(number, raw, "memory", key=key)
