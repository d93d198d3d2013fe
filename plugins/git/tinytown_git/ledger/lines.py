"""The lines of the ledger: which there are, how they are written, and what they say together. Pure; knows no git.

Agents and tasks are the records of `tinytown_snapshots`, each written again when it has changed: the last one of an id counts.
Rounds and verdicts are written once. A ``position`` says up to which event of the town the lines before it reach.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec
from tinytown.errors import UsageError
from tinytown.model.text import shown
from tinytown_snapshots.records import AgentRecord, TaskRecord

FORMAT = "tinytown-ledger"
VERSION = 1

_DIGEST_BYTES = 16


class _Line(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True, forbid_unknown_fields=True
):
    pass


class Header(_Line, frozen=True, kw_only=True, tag="ledger"):
    """The first line, and one more wherever one of its members has changed: ``schema`` is that of the town's data."""

    format: str
    version: int
    town: str
    schema: str


class Position(_Line, frozen=True, kw_only=True, tag="position"):
    """The last line of each commit: the lines before it hold what happened up to the event ``event``, at ``at``."""

    event: str
    at: str


class RoundLine(_Line, frozen=True, kw_only=True, tag="round"):
    """How a round ended and what it cost. ``text`` is the last line of its answer; ``usage`` as its backend reported it."""

    round_id: str
    outcome: str
    agent: str = ""
    cli: str = ""
    task: str = ""
    reason: str = ""
    text: str = ""
    began_at: str = ""
    ended_at: str = ""
    duration_s: float = 0.0
    usage: Mapping[str, int | float | None] = {}


class VerdictLine(_Line, frozen=True, kw_only=True, tag="verdict"):
    """What a declared ``check`` (named by ``by``), a ``review``, all ``gates`` together or a ``merge`` said of a task's work."""

    kind: Literal["check", "review", "gates", "merge"]
    task: str
    passed: bool
    at: str
    by: str = ""
    reason: str = ""
    commit: str = ""


class RemovedLine(_Line, frozen=True, kw_only=True, tag="removed"):
    """A person removed the agent of this name, or deleted the task of this id."""

    kind: Literal["agent", "task"]
    id: str
    at: str


class GapLine(_Line, frozen=True, kw_only=True, tag="gap"):
    """Events between two ids were gone before they were written: rounds and verdicts may be missing here."""

    after: str
    before: str


Line: TypeAlias = Header | Position | AgentRecord | TaskRecord | RoundLine | VerdictLine | RemovedLine | GapLine

_decode = msgspec.json.Decoder(Line).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def to_line(line: Line) -> bytes:
    """One line, with its end."""
    return _encode(line) + b"\n"


def bad_line(place: str, reason: str) -> UsageError:
    """The error of an invalid line; `place` is ``FILE:NUMBER``."""
    return UsageError(
        f"the ledger is invalid at {place}: {reason}",
        hint="go back to a commit before it, see git log: tt ledger restore --at COMMIT",
        code="bad_ledger",
    )


def digest(line: bytes) -> bytes:
    """What tells a line from another one in less room."""
    return hashlib.blake2b(line.rstrip(b"\n"), digest_size=_DIGEST_BYTES).digest()


@dataclass(slots=True)
class Ledger:
    """What the lines so far say. With `whole`, their records are kept, not only what is needed to write on."""

    whole: bool = False
    header: Header | None = None
    position: Position | None = None
    #: By id: the digest of the last line, so that only changed records are written.
    digests: dict[str, bytes] = field(default_factory=dict[str, bytes])
    #: The names of agents that are there, in lower case.
    names: set[str] = field(default_factory=set[str])
    agents: dict[str, AgentRecord] = field(default_factory=dict[str, AgentRecord])
    tasks: dict[str, TaskRecord] = field(default_factory=dict[str, TaskRecord])
    history: list[RoundLine | VerdictLine | GapLine] = field(default_factory=list[RoundLine | VerdictLine | GapLine])
    #: Rounds and verdicts that are written, which are not to be written again when an event is read twice.
    written: set[bytes] = field(default_factory=set[bytes])

    def add_file(self, name: str, content: bytes) -> None:
        """Add the lines of a file. Raises: UsageError with code ``bad_ledger`` for the first invalid one."""
        lines = content.split(b"\n")
        if lines.pop():
            raise bad_line(f"{name}:{len(lines) + 1}", "the line does not end")
        for number, line in enumerate(lines, 1):
            try:
                self.add(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise bad_line(f"{name}:{number}", shown(str(error), 200)) from error
            except ValueError as error:
                raise bad_line(f"{name}:{number}", str(error)) from error

    def add(self, line: bytes) -> None:
        """Add one line. Raises: msgspec.DecodeError; ValueError for a ledger that this version does not know."""
        record = _decode(line)
        if self.header is None and not isinstance(record, Header):
            raise ValueError("it does not begin with a header")
        match record:
            case Header():
                if record.format != FORMAT or record.version > VERSION:
                    raise ValueError(
                        f"it is {shown(record.format)!r} version {record.version}, not {FORMAT!r} {VERSION}"
                    )
                self.header = record
            case Position():
                self.position = record
            case AgentRecord():
                self.digests[f"agent {record.id}"] = digest(line)
                self.names.add(record.name.lower())
                if self.whole:
                    self.agents[record.name.lower()] = record  # a name belongs to one agent at a time
            case TaskRecord():
                self.digests[f"task {record.id}"] = digest(line)
                if self.whole:
                    self.tasks[record.id] = record
            case RemovedLine():
                self._remove(record)
            case RoundLine() | VerdictLine() | GapLine():
                self.written.add(_once(record))
                if self.whole:
                    self.history.append(record)

    def _remove(self, line: RemovedLine) -> None:
        if line.kind == "task":
            self.digests.pop(f"task {line.id}", None)
            self.tasks.pop(line.id, None)
        else:
            self.names.discard(line.id.lower())
            self.agents.pop(line.id.lower(), None)

    def lacks(self, line: RoundLine | VerdictLine | GapLine) -> bool:
        """Whether a line that is written once is not there yet."""
        return _once(line) not in self.written

    def has(self, kind: Literal["agent", "task"], id_: str) -> bool:
        """Whether an agent of this name, or a task of this id, is there and was not removed."""
        return id_.lower() in self.names if kind == "agent" else f"task {id_}" in self.digests

    def changed(self, records: Iterable[tuple[str, bytes]]) -> list[bytes]:
        """The lines, given with their kinds and ids, that are not the last ones of their ids."""
        return [line for name, line in records if self.digests.get(name) != digest(line)]


def _once(line: RoundLine | VerdictLine | GapLine) -> bytes:
    """What a line that is written once is known by: a round by its id, a verdict by all but its time."""
    if isinstance(line, RoundLine):
        return digest(b"round " + line.round_id.encode())
    return digest(_encode(msgspec.structs.replace(line, at="") if isinstance(line, VerdictLine) else line))
