"""What is given to the agents: tasks, mail, questions, and what they write to each other."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import trio
from tinytown.model.ids import SUPERVISOR, new_id
from tinytown.model.messages import PRIORITIES, Informational, Priority, Query
from tinytown.town import Town

from tests.chaos.stage import insist

from .seats import Seat

#: What an agent may have to do at once: an outage is not to leave it more than the time after it can do.
_OPEN_AT_MOST = 3
#: An agent whose command is running gets urgent mail while it has less to do than this.
_OPEN_AT_WORK = 5


@dataclass(frozen=True, slots=True)
class Letter:
    """Mail with a word that nothing else has. `sent_at` is 0 for what an agent is to write itself."""

    word: str
    agent: str
    priority: Priority
    sent_at: float
    message: str = field(default_factory=new_id)

    @property
    def is_question(self) -> bool:
        return self.word.startswith("question-")


class Work:
    """What has been given so far: ids and agents of tasks by their numbers, and letters.

    `begun` says which agents' commands have begun and are not done.
    """

    def __init__(
        self, town: Town, seats: Sequence[Seat], chance: random.Random, begun: Callable[[], Collection[str]]
    ) -> None:
        self._begun = begun
        self._town = town
        self._seats = seats
        self._chance = chance
        self._number = 0
        self.tasks: dict[int, str] = {}
        self.agents: dict[int, str] = {}
        self.letters: list[Letter] = []

    async def give(self, pause_s: float) -> None:
        """Something for an agent that has little to do, every `pause_s` seconds, more or less, until cancelled."""
        kinds = (self._task, self._task, self._letter, self._letter, self._question)
        while True:
            status = await insist(self._town, self._town.operations.status())
            open_ = {agent.name: agent.open_tasks + agent.mail.total for agent in status.agents}
            begun = self._begun()
            at_work = {agent.name for agent in status.agents if agent.state == "working" and agent.name in begun}
            takers = [
                each
                for each in self._seats
                if each.takes_mail and each.name in at_work and open_[each.name] < _OPEN_AT_WORK
            ]
            if takers and self._chance.random() < 0.6:
                await self._write(self._chance.choice(takers), "urgent")
            elif free := [seat for seat in self._seats if open_[seat.name] < _OPEN_AT_MOST]:
                await self._chance.choice(kinds)(free)
            await trio.sleep(self._chance.uniform(0.5, 1.5) * pause_s)

    async def _task(self, free: Sequence[Seat]) -> None:
        seat = self._chance.choice(free)
        number, seconds = self._next(), self._chance.choice(["0.2", "4", "7", "12"])
        to, word = "-", "-"
        others = [each.name for each in self._seats if each is not seat]
        if others and seat.sees_tools and self._chance.random() < 0.4:
            to, word = self._chance.choice(others), f"letter-{number}"
            self.letters.append(Letter(word, to, "normal", 0.0))
        call = self._town.operations.add_task(
            f"Do it.\n\n[[task {number} {seconds} {to} {word}]]", agent=seat.name, title=f"number {number}"
        )
        self.agents[number] = seat.name
        self.tasks[number] = (await insist(self._town, call)).task.id

    async def _letter(self, free: Sequence[Seat]) -> None:
        await self._write(self._chance.choice(free), self._chance.choice(PRIORITIES))

    async def _write(self, seat: Seat, priority: Priority) -> None:
        word = f"letter-{self._next()}"
        await self._send(Letter(word, seat.name, priority, time.time()), Informational(summary=f"Remember {word}."))

    async def _question(self, free: Sequence[Seat]) -> None:
        seat = self._chance.choice([each for each in free if each.has_shell] or self._seats)
        number = self._next()
        letter = Letter(f"question-{number}", seat.name, "normal", time.time())
        order = f"[[question {number} {letter.message}]]"
        await self._send(letter, Query(question=f"What about {letter.word}? {order}"))

    async def _send(self, letter: Letter, body: Informational | Query) -> None:
        self.letters.append(letter)
        call = self._town.operations.send(
            letter.agent, body, sender=SUPERVISOR, priority=letter.priority, message_id=letter.message
        )
        await insist(self._town, call)

    def _next(self) -> int:
        self._number += 1
        return self._number
