"""Time that stands still while a town is frozen, and limits by it. Knows trio alone; who freezes a town is the kernel's."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from math import inf

import trio


class PausableClock:
    """Makes time limits; `stop` and `go_on` hold for those in progress and those to come."""

    def __init__(self) -> None:
        self._limits: set[trio.CancelScope] = set()
        self._stopped_at: float | None = None
        self._stood_still_s = 0.0
        self._left_s: dict[trio.CancelScope, float] = {}

    @property
    def stopped(self) -> bool:
        """Whether time stands still."""
        return self._stopped_at is not None

    def now(self) -> float:
        """A moment in seconds. Only differences mean something: how much time has passed that counts."""
        return (trio.current_time() if self._stopped_at is None else self._stopped_at) - self._stood_still_s

    def stop(self) -> None:
        """Let time stand still."""
        if self._stopped_at is None:
            self._stopped_at = trio.current_time()
            for scope in self._limits:
                self._hold(scope)

    def go_on(self) -> None:
        """Let time go on, with what was left of it."""
        if self._stopped_at is not None:
            self._stood_still_s += trio.current_time() - self._stopped_at
            self._stopped_at = None
        for scope, left_s in self._left_s.items():
            scope.deadline = trio.current_time() + left_s
        self._left_s.clear()

    @contextmanager
    def move_on_after(self, seconds: float) -> Generator[trio.CancelScope]:
        """Like `trio.move_on_after`, by this clock."""
        with trio.move_on_after(seconds) as scope:
            self._limits.add(scope)
            if self.stopped:
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

    def _hold(self, scope: trio.CancelScope) -> None:
        self._left_s[scope] = scope.deadline - trio.current_time()
        scope.deadline = inf
