"""Reading a CLI that prints one JSON object a line, whatever else it prints between them.

A `Record` answers for a missing or misshapen member as for an empty one: CLIs change from week to week, and a line that
is not understood must cost that line alone. What the members mean is the reader's that uses this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, cast

import msgspec
from tinytown.process import Exit, Line

from tinytown_adapters.run_state import RunState


class Record:
    """A JSON object. Members are named by a path of keys; whatever is not there, or is of another type, is empty."""

    __slots__ = ("_members",)

    def __init__(self, members: dict[str, object]) -> None:
        self._members = members

    def __bool__(self) -> bool:
        return bool(self._members)

    def get(self, *path: str) -> object:
        """The member as it is; None when there is none. The path has one key at least."""
        *parents, last = path
        members = self._members
        for key in parents:
            below = members.get(key)
            members = cast(dict[str, object], below) if isinstance(below, dict) else {}
        return members.get(last)

    def text(self, *path: str) -> str:
        value = self.get(*path)
        return value if isinstance(value, str) else ""

    def number(self, *path: str) -> float | None:
        value = self.get(*path)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def count(self, *path: str) -> int:
        """A number as one that is whole and not negative."""
        value = self.number(*path)
        return int(value) if value is not None and 0 <= value < 2**53 else 0

    def flag(self, *path: str) -> bool:
        return self.get(*path) is True

    def record(self, *path: str) -> Record:
        value = self.get(*path)
        return Record(cast(dict[str, object], value)) if isinstance(value, dict) else Record({})

    def values(self) -> Iterator[Record]:
        """The objects among its members, whatever these are called."""
        for value in self._members.values():
            if isinstance(value, dict):
                yield Record(cast(dict[str, object], value))

    def records(self, *path: str) -> Iterator[Record]:
        """The objects in a list."""
        value = self.get(*path)
        if isinstance(value, list):
            for item in cast(list[object], value):
                if isinstance(item, dict):
                    yield Record(cast(dict[str, object], item))

    def brief(self, *path: str, keys: tuple[str, ...] = ()) -> str:
        """A member for one line: the first of `keys` that has a text, else the whole as JSON."""
        value = self.get(*path)
        if isinstance(value, str):
            return value
        record = self.record(*path)
        for key in keys:
            if value := record.text(key):
                return value
        return msgspec.json.encode(value).decode() if value else ""


def record_of(text: str) -> Record | None:
    """The JSON object in a text; None if the text is not one."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value: Any = msgspec.json.decode(text)
    except (ValueError, RecursionError):  # ValueError: msgspec's own, and a lone surrogate
        return None
    return Record(cast(dict[str, object], value)) if isinstance(value, dict) else None


class JsonLinesReader(ABC):
    """A `Reader` for such CLIs: give it `on_record` for the records, and `on_stderr` or `end` where there is more to see."""

    def __init__(self, state: RunState) -> None:
        self.state = state

    def read(self, line: Line) -> None:
        if line.stream == "stderr":
            self.on_stderr(line.text)
        elif line.cut:
            self.state.log_line(f"[a line of output was too long to read: {line.text[:80]}]")
        elif (record := record_of(line.text)) is not None:
            self.on_record(record)
        elif line.text.strip():
            self.state.log_line(line.text)

    @abstractmethod
    def on_record(self, record: Record) -> None:
        """One record of the standard output."""

    def on_stderr(self, text: str) -> None:  # noqa: B027 - nothing is what most readers do
        """A line of the standard error. It is in the log and in the exit's tail; nothing else is made of it here."""

    def end(self, ended: Exit) -> None:  # noqa: B027
        """The CLI has ended."""
