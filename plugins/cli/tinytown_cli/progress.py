"""How far a command is that takes long: one line on a terminal, overwritten as it goes and removed at the end.

A thread of its own draws it while the work does not say how far it is, as while it waits for a process.
"""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

#: Work that takes less shows nothing.
QUIET_S = 2.0
_REDRAW_S = 0.2
_TICK_S = 0.5


class Progress:
    """Shows what a command is doing once it has taken `QUIET_S`; a context manager. Draws nothing unless `is_shown`."""

    def __init__(self, doing: str, *, is_shown: bool) -> None:
        self._doing = doing
        self._state = ""
        self._is_shown = is_shown
        self._began = time.monotonic()
        self._next_draw = self._began + QUIET_S
        self._drawn = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ticking = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Progress:
        if self._is_shown:
            self._ticking.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        with self._lock:
            if self._drawn:
                self._write("")

    def update(self, state: str = "", *, done: int | None = None, total: int | None = None) -> None:
        """Say where the work is: in words, or by how much of it is `done`. To be called often, if there is something to say."""
        if done is not None:
            state = f"{done:,}" if total is None else f"{done:,} of {total:,}"
        self._state = state
        self._draw()

    def clear(self) -> None:
        """Make room for a line of other output."""
        with self._lock:
            if self._drawn:
                self._write("")
                self._next_draw = time.monotonic() + _TICK_S

    def _tick(self) -> None:
        while not self._ended.wait(_TICK_S):
            self._draw()

    def _draw(self) -> None:
        now = time.monotonic()
        with self._lock:
            if not self._is_shown or now < self._next_draw or self._ended.is_set():
                return
            self._next_draw = now + _REDRAW_S
            self._write(
                f"{self._doing}: {self._state}" if self._state else f"{self._doing} … {now - self._began:.0f} s"
            )

    def _write(self, line: str) -> None:
        sys.stderr.write(f"\r{line:<{self._drawn}}" + ("" if line else "\r"))
        sys.stderr.flush()
        self._drawn = len(line)
