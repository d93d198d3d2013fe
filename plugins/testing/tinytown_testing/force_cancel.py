"""The last resort against code that shields itself from cancellation for ever: without it, its trial never ends.

A shield without a deadline is always a mistake here: those of the kernel have one, or are older than the trial.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from math import inf

import trio


class ForceCancel:
    """Removes the shields without a deadline that were made after it."""

    def __init__(self) -> None:
        self._earlier = list(_without_deadline())

    def remove_new_shields(self) -> None:
        """Let cancellation reach code that has shielded itself since then."""
        for scope in _without_deadline():
            if not any(scope is each for each in self._earlier):
                scope.shield = False


def _without_deadline() -> Iterator[trio.CancelScope]:
    for scope in gc.get_objects():
        if type(scope) is trio.CancelScope and scope.shield and scope.deadline == inf:  # a final class
            yield scope
