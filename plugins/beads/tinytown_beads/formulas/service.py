"""Asks a person when a run has come to a gate that only a person opens, once for each gate.

Holds end by themselves at their time, in the core; this knows nothing of clocks. A gate for a pull request or a CI run is
asked of a person too: nothing here looks at a forge.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from tinytown.errors import NotFound, Refused, UsageError
from tinytown.messages import Query
from tinytown.tasks import Task
from tinytown.town import Town

from tinytown_beads.formulas.running import TABLE
from tinytown_beads.groups.service import changing_groups


class GateKeeper:
    """The service ``formula-gates``."""

    name = "formula-gates"

    async def run(self, town: Town) -> None:
        """Ask for each gate when nothing else is before it, until cancelled."""
        async with aclosing(changing_groups(town)) as groups:
            async for group in groups:
                if group.origin.get("formula") and group.state == "open":
                    for id_ in group.tasks:
                        if id_ not in group.ended:
                            await self._look(town, id_, group.owner)

    async def _look(self, town: Town, id_: str, owner: str) -> None:
        try:
            task = await town.task(id_)
        except (NotFound, UsageError):
            return
        table: Mapping[str, Any] = task.meta.get(TABLE) or {}
        gate: Mapping[str, Any] = table.get("gate") or {}
        if task.id != id_ or not task.held or task.open_needs or not gate or gate.get("type") == "timer":
            return
        if table.get("asked"):
            return
        # The same question again is the same message: it may be sent again when this was cut off here.
        words = f"{task.id}\n{task.created_at}"
        message_id = f"gate-{hashlib.sha256(words.encode()).hexdigest()[:24]}"
        for recipient in dict.fromkeys(("supervisor", owner)):
            try:
                await town.send(
                    recipient, Query(question=_question(task)), message_id=f"{message_id}-{recipient}"[:128]
                )
            except (NotFound, Refused):
                continue
        await town.run(town.calls.set_task_meta(task.id, TABLE, {**table, "asked": True}))


def _question(task: Task) -> str:
    return (
        f"{task.headline}: everything before it is done, and it {task.held}. Let it begin with tt task release {task.id}, "
        f"or end it with tt task cancel {task.id}"
    )
