"""The service that forgets single days of the ledger beyond ``limits.costs_days``. Totals stay, also those of removed agents."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import trio
from tinytown.contracts import Service
from tinytown.errors import TinytownError
from tinytown.protocol import FunctionLibrary, Keys, Operation, function_call
from tinytown.town import Town

LIBRARY = FunctionLibrary("ledger_retention", Path(__file__).with_name("retention.lua"), extends="town")

_EVERY_S = 3600.0


def apply_cost_retention(keys: Keys, *, days: int) -> Operation[int]:
    """Delete the costs of one day that is older than so many; 1, or 0 when there is none. Repeat it until that is 0."""
    return function_call(LIBRARY, "costs_apply_retention", keys.base, int, days)


class CostRetention(Service):
    """The service ``cost-retention``, of one kernel of the town."""

    name = "cost-retention"
    scope = "town"

    async def run(self, town: Town) -> None:
        """Forget once an hour, until cancelled."""
        call = apply_cost_retention(town.operations.keys, days=town.config.limits.costs_days)
        while True:
            with suppress(TinytownError):
                while await town.run(call):
                    pass
            await trio.sleep(_EVERY_S)
