"""How much one caller may ask: a bucket of tokens that fills at a steady rate. Pure."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_CALLERS = 4_096
_BURST_S = 10


class RateLimit:
    """Bounds what each caller does to `per_minute`; 0 is no bound. `burst` may come at once, by default
    what comes in ten seconds."""

    def __init__(self, per_minute: int, *, burst: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60
        self._burst = burst or max(1.0, self._rate * _BURST_S)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, *, tokens: float = 1.0) -> float:
        """Take one token; 0 if there was one, else in how many seconds there will be. With `tokens` of 0 it only looks."""
        if not self._rate:
            return 0.0
        now = self._clock()
        left, at = self._buckets.pop(caller, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        wait_s = 0.0 if left >= 1 else (1 - left) / self._rate
        self._buckets[caller] = (left - (0.0 if wait_s else tokens), now)
        if len(self._buckets) > _CALLERS:
            self._buckets.popitem(last=False)
        return wait_s
