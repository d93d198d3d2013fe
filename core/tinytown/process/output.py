"""What comes out of a process, made safe to hold: lines cut at a bound, a limit on the whole, tails and a log.

Pure but for the log file. Reads no pipes (`runner` does) and keeps control characters: escaping them is up to
what displays a line.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from tinytown.errors import HostFailure

TAIL_BYTES = 16 * 1024
_LOG_END = b"\n[the log ends here: the output limit was reached]\n"


class Line(NamedTuple):
    """One line without its newline, not UTF-8 as U+FFFD; `cut` if longer than the bound. A named tuple, for speed."""

    stream: Literal["stdout", "stderr"]
    text: str
    cut: bool


class Channel:
    """One of the two streams of a process: cuts it into lines and keeps its tail."""

    def __init__(
        self, stream: Literal["stdout", "stderr"], line_limit_bytes: int, deliver: Callable[[Line], object]
    ) -> None:
        self._stream: Literal["stdout", "stderr"] = stream
        self._limit = line_limit_bytes
        self._deliver = deliver
        self._rest = bytearray()
        self._dropping = False  # the beginning of this line was delivered, the rest is dropped
        self._tail = b""

    @property
    def tail(self) -> str:
        """The last `TAIL_BYTES` of the stream."""
        return self._tail.decode("utf-8", "replace")

    def remember(self, chunk: bytes) -> None:
        """Add `chunk` to the tail."""
        self._tail = (self._tail + chunk)[-TAIL_BYTES:] if len(chunk) < TAIL_BYTES else chunk[-TAIL_BYTES:]

    def feed(self, chunk: bytes) -> None:
        """Deliver the lines that `chunk` completes, and the beginning of one that has grown past the bound."""
        if self._dropping:
            _, newline, chunk = chunk.partition(b"\n")
            if not newline:
                return
            self._dropping = False
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = bytes(self._rest + lines[0])
            self._rest.clear()
        for line in lines:
            self._emit(line)
        self._rest += rest
        if len(self._rest) > self._limit:
            self._dropping = True
            self._flush()

    def close(self) -> None:
        """Deliver a last line that had no newline."""
        if self._rest:
            self._flush()

    def _flush(self) -> None:
        line = bytes(self._rest)
        self._rest.clear()
        self._emit(line)

    def _emit(self, line: bytes) -> None:
        cut = len(line) > self._limit
        self._deliver(Line(self._stream, (line[: self._limit] if cut else line).decode("utf-8", "replace"), cut))


class Output:
    """Both streams of a process. Past `output_limit_bytes` of both, only the tails are kept. Raises what `on_line` raises."""

    def __init__(
        self,
        on_line: Callable[[Line], object],
        *,
        line_limit_bytes: int,
        output_limit_bytes: int,
        log_path: Path | None,
        log_limit_bytes: float = float("inf"),
    ) -> None:
        self.stdout = Channel("stdout", line_limit_bytes, on_line)
        self.stderr = Channel("stderr", line_limit_bytes, on_line)
        self._remaining = output_limit_bytes
        self._log = Log(log_path, log_limit_bytes) if log_path is not None else None

    def take(self, channel: Channel, chunk: bytes) -> None:
        """Log and deliver what was read from one of the streams."""
        channel.remember(chunk)
        accepted = chunk[: self._remaining]
        self._remaining -= len(accepted)
        self._write_log(accepted)
        if len(accepted) < len(chunk):
            self._write_log(_LOG_END)
            self.close()
        if accepted:
            channel.feed(accepted)

    def _write_log(self, chunk: bytes) -> None:
        """Append while that works: a full disk must not end the run. Not in a thread: the page cache is quicker."""
        if self._log is not None:
            try:
                self._log.write(chunk)
            except OSError:
                self.close()

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.file.close()
            self._log = None


class Log:
    """The log of an agent, rotated when one run wrote more than `limit_bytes`; the one before is kept. Raises: HostFailure."""

    def __init__(self, path: Path, limit_bytes: float) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        try:
            self._open()
        except OSError as error:
            raise HostFailure(
                f"cannot write the log {path}: {error.strerror}",
                hint="make room for it, or its directory writable",
                code="log_not_writable",
            ) from error

    def _open(self) -> None:
        # An agent may put a link or a pipe there.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, 0o600)
        self.file = open(descriptor, "ab", buffering=0)  # noqa: SIM115 - closed by its owner
        self._written_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Append a chunk. Raises: OSError."""
        if self._written_bytes and self._written_bytes + len(chunk) > self._limit_bytes:
            self._path.replace(older_log(self._path))
            self.file.close()
            self._open()
        self._written_bytes += self.file.write(chunk)


def older_log(log: Path) -> Path:
    """The rotated log: what was in it before is lost."""
    return log.with_name(f"{log.name}.1")
