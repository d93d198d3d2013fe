"""What is given to the agents of a trial, and in which order."""

from __future__ import annotations

import random
from dataclasses import replace

from tinytown.model.ids import SUPERVISOR
from tinytown.model.messages import PRIORITIES, Informational, Priority
from tinytown.town import Town

from .findings import Given
from .stage import insist

AGENTS = 20
NOTES_A_TASK = 0.5
NEEDING = 0.2  # of the tasks


class Work:
    """What is given to the agents, and in which order."""

    def __init__(self, town: Town, chance: random.Random) -> None:
        self._town = town
        self._chance = chance
        self.tasks: list[Given] = []
        self.notes: list[Given] = []
        self.note_ids: dict[int, str] = {}
        self.ids: list[str] = []
        #: Tasks whose turn somebody changed.
        self.waiting: set[str] = set()
        self._number = 0

    async def give(self, count: int) -> None:
        """So many more tasks, and mail in between."""
        chance = self._chance
        for _ in range(count):
            while chance.random() < NOTES_A_TASK / (1 + NOTES_A_TASK):
                note = self._given(chance.choice(PRIORITIES))
                body = Informational(summary=f"chaos-note {note.priority} {note.number}")
                call = self._town.operations.send(note.agent, body, sender=SUPERVISOR, priority=note.priority)
                self.note_ids[note.number] = (await insist(self._town, call)).message_id
                self.notes.append(note)
            needs = (
                chance.sample(self.ids, min(len(self.ids), chance.randint(1, 3))) if chance.random() < NEEDING else []
            )
            task = self._given(chance.choice(PRIORITIES), waits=bool(needs))
            way = chance.choice(["plain", "plain", "shelled", "straying"])
            duration_s = chance.choice(["0", "0.02", "0.1"])
            call = self._town.operations.add_task(
                f"chaos-task {task.number} {task.priority} {duration_s} {way}",
                agent=task.agent,
                priority=task.priority,
                needs=needs,
            )
            self.ids.append((await insist(self._town, call)).task.id)
            self.tasks.append(task)

    @property
    def given_tasks(self) -> list[Given]:
        """The tasks, with those that wait marked."""
        pairs = zip(self.tasks, self.ids, strict=True)
        return [replace(task, waits=task.waits or id_ in self.waiting) for task, id_ in pairs]

    def _given(self, priority: Priority, *, waits: bool = False) -> Given:
        self._number += 1
        return Given(self._number, f"a{self._chance.randrange(AGENTS)}", priority, waits)
