"""What comes out of a process, made safe to hold: lines cut at a bound, a limit on the whole, tails and a log.

Pure but for the log file. Reads no pipes (`runner` does) and keeps control characters: escaping them is up to
what displays a line.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from tinytown.errors import ProcessFailed

TAIL_BYTES = 16 * 1024
_LOG_END = b"\n[the log ends here: the output limit was reached]\n"


class Line(NamedTuple):
    """One line without its newline; what is not UTF-8 stands as U+FFFD. `cut`: it was longer than the bound.

    A named tuple, not a data class: a flood of output makes hundreds of thousands a second.
    """

    stream: Literal["stdout", "stderr"]
    text: str
    cut: bool


class Channel:
    """One of the two streams of a process: cuts it into lines and keeps its tail."""

    def __init__(
        self, stream: Literal["stdout", "stderr"], line_limit_bytes: int, deliver: Callable[[Line], None]
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
    """Both streams of a process under one limit.

    Past `output_limit_bytes` (of both together) lines are counted in `undelivered_lines` and nothing more is logged.
    Raises what `on_line` raises.
    """

    def __init__(
        self,
        on_line: Callable[[Line], None],
        *,
        line_limit_bytes: int,
        output_limit_bytes: int,
        log_path: Path | None,
    ) -> None:
        self.undelivered_lines = 0
        self.stdout = Channel("stdout", line_limit_bytes, on_line)
        self.stderr = Channel("stderr", line_limit_bytes, on_line)
        self._remaining = output_limit_bytes
        self._log = _open_log(log_path) if log_path is not None else None

    def take(self, channel: Channel, chunk: bytes) -> None:
        """Log and deliver what was read from one of the streams."""
        channel.remember(chunk)
        accepted, rest = chunk, b""
        if len(chunk) > self._remaining:
            accepted, rest = chunk[: self._remaining], chunk[self._remaining :]
            self.undelivered_lines += rest.count(b"\n")
        self._remaining -= len(accepted)
        self._write_log(accepted)
        if rest:
            self._write_log(_LOG_END)
            self.close()
        if accepted:
            channel.feed(accepted)

    def _write_log(self, chunk: bytes) -> None:
        """Append while that works: a full disk must not end the run.

        Not in a thread: the write goes to the page cache, which is cheaper than a thread switch.
        """
        if self._log is not None:
            try:
                os.write(self._log, chunk)
            except OSError:
                self.close()

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            os.close(self._log)
            self._log = None


def _open_log(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise ProcessFailed(
            f"cannot write the log {path}: {error.strerror}",
            hint="make its directory writable",
            code="log_not_writable",
        ) from error
