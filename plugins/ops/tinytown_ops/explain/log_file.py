"""Reading an agent's log file: its last lines, its rounds, and what is appended, across rotation."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tinytown.process import older_log
from tinytown_cli.terminal_text import without_sequences

#: A longer line is split.
_LINE_BYTES = 64 * 1024
#: No notification of file growth works on all systems; a stat takes a few microseconds.
_POLL_S = 0.1
_BLOCK_BYTES = 64 * 1024


def readable(text: str) -> str:
    """A line of output without control sequences; of a line that overwrites itself, the last state."""
    return without_sequences(text).rpartition("\r")[2]


class Log:
    """A log file that grows and is rotated; remembers how far it has been read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._position = 0

    def last_lines(self, count: int) -> Iterator[bytes]:
        """The last `count` lines; the older log supplies what the newer one lacks."""
        newer = self._tail(self._path, count, remember=True)
        older = self._tail(older_log(self._path), count - len(newer)) if len(newer) < count else []
        yield from older
        yield from newer

    def lines_from(self, path: Path, position: int) -> Iterator[bytes]:
        """The lines from a byte position in this log or the older one, to the end of this one."""
        if path != self._path:
            yield from self._read(path, position)
            position = 0
        yield from self._read(self._path, position, remember=True)

    def follow(self) -> Iterator[bytes]:
        """New lines after those already read, endlessly. Blocks while there are none."""
        while True:
            yield from self.new_lines()
            time.sleep(_POLL_S)

    def new_lines(self) -> Iterator[bytes]:
        """The whole lines that were written since those already read."""
        with contextlib.suppress(OSError):
            status = self._path.stat()
            if status.st_ino != self._inode:
                older = older_log(self._path)
                with contextlib.suppress(OSError):
                    if older.stat().st_ino == self._inode:
                        yield from self._read(older, self._position)
                self._inode, self._position = status.st_ino, 0
            if status.st_size < self._position:
                self._position = 0
            if status.st_size > self._position:
                yield from self._read(self._path, self._position, remember=True, whole=True)

    def _read(self, path: Path, position: int, *, remember: bool = False, whole: bool = False) -> Iterator[bytes]:
        """Lines from a byte position. With `whole` a last line without its newline is left for later."""
        try:
            file = open(path, "rb")  # noqa: SIM115 - closed by the block below
        except OSError:
            return
        with file:
            if remember:
                self._inode = os.fstat(file.fileno()).st_ino
            file.seek(position)
            while line := file.readline(_LINE_BYTES):
                if whole and not line.endswith(b"\n") and len(line) < _LINE_BYTES:
                    return
                if remember:
                    self._position = file.tell()
                yield line

    def _tail(self, path: Path, count: int, *, remember: bool = False) -> list[bytes]:
        try:
            file = open(path, "rb")  # noqa: SIM115 - closed by the block below
        except OSError:
            return []
        with file:
            end = position = file.seek(0, os.SEEK_END)
            blocks: list[bytes] = []
            newlines = 0
            while position > 0 and newlines <= count and (end - position) < _LINE_BYTES * max(count, 1):
                step = min(_BLOCK_BYTES, position)
                position -= step
                file.seek(position)
                blocks.append(file.read(step))
                newlines += blocks[-1].count(b"\n")
            if remember:
                self._inode, self._position = os.fstat(file.fileno()).st_ino, end
        *whole, rest = b"".join(reversed(blocks)).split(b"\n")
        lines = [line + b"\n" for line in whole] + ([rest] if rest else [])
        return lines[len(lines) - count :] if count < len(lines) else lines
