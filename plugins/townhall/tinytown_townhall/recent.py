"""An expensive picture of the town that many ask for: read again when something has happened, or when it is a second old."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio
from tinytown.town import Town

T = TypeVar("T")

_OLD_S = 1.0


class Recent(Generic[T]):
    """The latest value of `read`. Changes that this process made itself are reported by `forget`; others by the town's events."""

    def __init__(self, town: Town, read: Callable[[], Awaitable[T]]) -> None:
        self._town = town
        self._read = read
        self._kept: tuple[str, float, T] | None = None
        self._lock = trio.Lock()

    def forget(self) -> None:
        """Read it anew the next time."""
        self._kept = None

    async def value(self) -> T:
        """The value as it is now. Several that ask at once wait for one reading. Raises: what `read` raises."""
        async with self._lock:
            position, now = self._town.position.value, time.monotonic()
            if self._kept is not None and self._kept[0] == position and now - self._kept[1] < _OLD_S:
                return self._kept[2]
            value = await self._read()
            self._kept = (position, now, value)
            return value
