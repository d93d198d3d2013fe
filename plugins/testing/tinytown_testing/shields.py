"""The last resort against code that hides from cancellation for ever: without it a trial of such code could never end.

Knows trio's cancel scopes, and that a shield without a deadline is never right (the kernel's own have one, or are older
than the trial).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from math import inf

import trio


class Shields:
    """Remembers which shields there are, so that later ones can be told from them."""

    def __init__(self) -> None:
        self._earlier = list(_without_deadline())

    def take_later_ones_away(self) -> None:
        """Let cancellation reach what has hidden itself since then."""
        for scope in _without_deadline():
            if not any(scope is each for each in self._earlier):
                scope.shield = False


def _without_deadline() -> Iterator[trio.CancelScope]:
    for scope in gc.get_objects():
        if type(scope) is trio.CancelScope and scope.shield and scope.deadline == inf:  # a final class
            yield scope
