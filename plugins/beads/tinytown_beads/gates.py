"""Opens gates of imported beads where a program can decide: their tasks are completed.

A timer's gate opens at its time; a pull request or CI run is looked up if the setting `gh` names a program. All others wait
for a person. Gates of formulas are holds of tasks and belong to `tinytown_gastown`.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import trio
from tinytown.contracts import Service
from tinytown.errors import NotFound, Refused
from tinytown.model.tasks import Task
from tinytown.town import Town

from tinytown_beads.bead import Bead, InvalidBead, read_bead
from tinytown_beads.extra_fields import record_of
from tinytown_beads.forge import look
from tinytown_beads.mapping import opens_at

_GATE = "gate"
_AT_ONCE = 1000


class BeadGateReconciler(Service):
    """The service ``bead-gates``. `gh` is the program that queries a forge, '' for none; it runs every `every_s` seconds."""

    name = "bead-gates"
    scope = "town"

    def __init__(self, gh: str = "", *, every_s: float = 60.0) -> None:
        self.gh = gh
        self.every_s = every_s

    async def run(self, town: Town) -> None:
        """Look at all gates again and again, and at a timer's at its time, until cancelled."""
        while True:
            next_s = self.every_s
            for task in await town.tasks(state="blocked", tag=_GATE, limit=_AT_ONCE):
                bead = _gate(task)
                if bead is None:
                    continue
                left_s = await self._left_s(town, bead)
                if left_s > 0:
                    next_s = min(next_s, left_s)
                    continue
                with suppress(NotFound, Refused):  # somebody else has opened it meanwhile
                    await town.complete_task(task.id, f"gate opened: {bead.text('await_type')}")
            await trio.sleep(next_s)

    async def _left_s(self, town: Town, bead: Bead) -> float:
        """The seconds until a gate opens: 0 if it is open, infinity if unknown."""
        until = opens_at(bead)
        if until is not None:
            return (until - datetime.now(UTC)).total_seconds()
        kind = bead.text("await_type")
        if self.gh and kind in ("gh:pr", "gh:run"):
            verdict = await look(self.gh, {"type": kind, "await_id": bead.text("await_id")}, str(town.root))
            return 0.0 if verdict == "open" else float("inf")
        return float("inf")


def _gate(task: Task) -> Bead | None:
    """The gate that a task was imported from; None for any other task."""
    if not task.held or not task.origin:
        return None
    with suppress(InvalidBead):
        bead = read_bead(record_of(task))
        return bead if bead.kind == _GATE else None
    return None
