"""The service that forgets finished tasks and events beyond the bounds of the settings, so that a town does not grow for ever."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

import trio
from tinytown.contracts import Service
from tinytown.errors import TinytownError
from tinytown.town import Town
from tinytown_cli.administration import apply_retention

_EVERY_S = 60.0
_DAY_MS = 86_400_000


class Retention(Service):
    """The service ``retention``, of one kernel of the town."""

    name = "retention"
    scope: Literal["host", "town"] = "town"

    async def run(self, town: Town) -> None:
        """Forget once a minute, until cancelled."""
        limits = town.config.limits
        call = apply_retention(
            town.operations.keys,
            finished_age_ms=int(limits.finished_days * _DAY_MS),
            finished_count=limits.finished_tasks,
            events=limits.events,
        )
        while True:
            with suppress(TinytownError):
                while await town.run(call):
                    pass
            await trio.sleep(_EVERY_S)
