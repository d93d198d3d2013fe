"""How a delivery may fail, and the delays between attempts. Pure."""

from __future__ import annotations

import random

_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 300.0


class Undelivered(Exception):
    """A receiver has not taken what was sent.

    `answered`: as far as one can tell because of what was sent, and not because the receiver is away; `final`: it would
    never take it. `wait_s` is how long it asks to wait.
    """

    def __init__(self, reason: str, *, answered: bool = False, final: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answered = answered
        self.final = final
        self.wait_s = wait_s


def retry_delay_s(attempt: int, asked_s: float = 0.0) -> float:
    """How long to wait after the first, second, ... attempt: twice as long each time, up to 5 min, the half of it by chance."""
    longest_s = min(_FIRST_RETRY_S * float(2 ** min(attempt - 1, 16)), _LONGEST_RETRY_S)
    return max(asked_s, random.uniform(0.5 * longest_s, longest_s))
