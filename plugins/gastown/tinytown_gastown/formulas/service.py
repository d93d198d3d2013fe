"""Opens the gates of formulas where a program can decide, and asks a person about the others, once for each.

Holds end at their time in the core; this knows nothing of clocks. A gate for a pull request or a CI run is
looked up if the setting `gh` names a program; otherwise, and if it can never open by itself, a person is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

import trio
from tinytown.contracts import Service
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.model.messages import Query
from tinytown.model.tasks import FINISHED, Task
from tinytown.town import Town
from tinytown_beads.forge import look
from tinytown_beads.groups.record import PLUGIN, Group, groups_in
from tinytown_beads.groups.service import group_changes
from tinytown_cli import administration

from tinytown_gastown.formulas.run import TABLE

_FORGE = ("gh:pr", "gh:run")


class GateReconciler(Service):
    """The service ``formula-gates``. `gh` is the program that queries a forge, '' for none; it runs every `every_s` seconds."""

    name = "formula-gates"
    scope = "town"

    def __init__(self, gh: str = "", *, every_s: float = 60.0) -> None:
        self.gh = gh
        self.every_s = every_s

    async def run(self, town: Town) -> None:
        """Ask about each gate once its needs are done, and look up those of a forge, until cancelled."""
        if not self.gh:
            await self._follow(town)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_again, town)
            nursery.start_soon(self._follow, town)

    async def _follow(self, town: Town) -> None:
        gated: dict[str, tuple[str, ...]] = {}
        async with aclosing(group_changes(town)) as groups:
            async for group, event in groups:
                if event is not None and event.new not in FINISHED:
                    continue  # only what ends opens the way for others
                steps = _open_steps(group)
                with_gate = gated.get(group.name)
                if with_gate is None:
                    with_gate = await _gated(town, steps)
                    if group.origin.get("made"):  # until then some of its tasks are not there yet
                        gated[group.name] = with_gate
                for id_ in with_gate:
                    if id_ in steps:
                        await self._ask_where_needed(town, id_, group.owner)

    async def _ask_where_needed(self, town: Town, id_: str, owner: str) -> None:
        task = await _waiting(town, id_)
        gate: Mapping[str, Any] = _gate(task) if task else {}
        if task is not None and gate and gate.get("type") != "timer" and not (self.gh and gate.get("type") in _FORGE):
            await _ask(town, task, owner)

    async def _look_again(self, town: Town) -> None:
        while True:
            data = await town.run(town.operations.plugin_data(PLUGIN))
            for group in groups_in(data):
                for id_ in _open_steps(group):
                    await self._look_up(town, id_, group.owner)
            await trio.sleep(self.every_s)

    async def _look_up(self, town: Town, id_: str, owner: str) -> None:
        task = await _waiting(town, id_)
        if task is None or _gate(task).get("type") not in _FORGE:
            return
        verdict = await look(self.gh, _gate(task), str(town.root))
        if verdict == "open":
            with suppress(Refused):  # somebody else has let it go meanwhile
                await town.run(administration.release_task(town.operations.keys, task.id))
        elif verdict == "lost":
            await _ask(town, task, owner)


def _open_steps(group: Group) -> tuple[str, ...]:
    """The tasks of a run that are not finished; none of a group that is no run."""
    if not group.origin.get("formula") or group.state != "open":
        return ()
    return tuple(id_ for id_ in group.tasks if id_ not in group.ended)


async def _gated(town: Town, steps: Sequence[str]) -> tuple[str, ...]:
    """The steps that have a gate, among those whose tasks are there."""
    with_gate: list[str] = []
    for id_ in steps:
        try:
            task = await town.task(id_)
        except (NotFound, UsageError):
            continue
        if task.id == id_ and _gate(task):
            with_gate.append(id_)
    return tuple(with_gate)


async def _waiting(town: Town, id_: str) -> Task | None:
    """The task if a gate, and nothing else, holds it."""
    try:
        task = await town.task(id_)
    except (NotFound, UsageError):
        return None
    return task if task.id == id_ and task.held and not task.open_needs and _gate(task) else None


def _gate(task: Task) -> Mapping[str, Any]:
    table: Mapping[str, Any] = task.meta.get(TABLE) or {}
    return table.get("gate") or {}


async def _ask(town: Town, task: Task, owner: str) -> None:
    """Ask the human side and the owner of the run, unless they were asked."""
    table: Mapping[str, Any] = task.meta.get(TABLE) or {}
    if table.get("asked"):
        return
    # The same question again is the same message: it may be sent again when this was cut off here.
    words = f"{task.id}\n{task.created_at}"
    message_id = f"gate-{hashlib.sha256(words.encode()).hexdigest()[:24]}"
    for number, recipient in enumerate(dict.fromkeys(("supervisor", owner))):
        try:
            await town.send(recipient, Query(question=_question(task)), message_id=f"{message_id}-{number}")
        except (NotFound, Refused):
            continue
    await town.run(administration.set_task_meta(town.operations.keys, task.id, TABLE, {**table, "asked": True}))


def _question(task: Task) -> str:
    return (
        f"{task.headline}: everything before it is done, and it {task.held}. Let it begin with tt task release {task.id}, "
        f"or, when it is not to be done, go past it with tt task complete {task.id}"
    )
