"""A clock that can be paused, and time limits by it. Knows trio only; pausing is up to the caller."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from math import inf

import trio


class PausableClock:
    """Makes time limits; `pause` and `resume` affect those in progress and those to come."""

    def __init__(self) -> None:
        self._limits: set[trio.CancelScope] = set()
        self._paused_at: float | None = None
        self._paused_s = 0.0
        self._left_s: dict[trio.CancelScope, float] = {}

    @property
    def paused(self) -> bool:
        """Whether the clock is paused."""
        return self._paused_at is not None

    def now(self) -> float:
        """A moment in seconds, without the pauses. Only differences mean something."""
        return (trio.current_time() if self._paused_at is None else self._paused_at) - self._paused_s

    def pause(self) -> None:
        """Stop time, until `resume`."""
        if self._paused_at is None:
            self._paused_at = trio.current_time()
            for scope in self._limits:
                self._hold(scope)

    def resume(self) -> None:
        """Continue every limit with the time that was left."""
        if self._paused_at is not None:
            self._paused_s += trio.current_time() - self._paused_at
            self._paused_at = None
        for scope, left_s in self._left_s.items():
            scope.deadline = trio.current_time() + left_s
        self._left_s.clear()

    @contextmanager
    def move_on_after(self, seconds: float) -> Generator[trio.CancelScope]:
        """Like `trio.move_on_after`, by this clock."""
        with trio.move_on_after(seconds) as scope:
            self._limits.add(scope)
            if self.paused:
                self._hold(scope)
            try:
                yield scope
            finally:
                self._limits.discard(scope)
                self._left_s.pop(scope, None)

    @contextmanager
    def fail_after(self, seconds: float) -> Generator[trio.CancelScope]:
        """Like `trio.fail_after`, by this clock. Raises: TimeoutError."""
        with self.move_on_after(seconds) as scope:
            yield scope
        if scope.cancelled_caught:
            raise TimeoutError(f"not done within {seconds:g} s")

    def set_deadline(self, limit: trio.CancelScope, at: float) -> None:
        """Let a limit of this clock end at the moment `at` of `now`; inf is never."""
        if self.paused:
            self._left_s[limit] = at - self.now()
        else:
            limit.deadline = trio.current_time() + at - self.now()

    def _hold(self, scope: trio.CancelScope) -> None:
        self._left_s[scope] = scope.deadline - trio.current_time()
        scope.deadline = inf
