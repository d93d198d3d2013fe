"""Questions and their answers: an answer is known by its id, and goes to who waits for it, whoever reads the mailbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import trio
from tinytown.errors import TinytownError, WaitFailed
from tinytown.model.events import Event, MessageDead
from tinytown.model.ids import SUPERVISOR, new_id
from tinytown.model.messages import Message, Priority, Query
from tinytown.town import Town
from tinytown_cli.administration import find_message, remove_message
from tinytown_cli.replies import answer_id

#: The questions of this process that are not answered, and what a mailbox that meets an answer calls with it.
Asked: TypeAlias = dict[str, Callable[[Message], None]]


class NoAnswer(WaitFailed):
    """A question to which no answer will come, for the reason that ``code`` names: ``agent_stopped`` or ``question_dead``."""

    code = "agent_stopped"


def hand_over(asked: Asked, question: str, answer: Message) -> bool:
    """Give an answer to the one who waits for it in this process; False if none does."""
    if waiting := asked.get(question):
        waiting(answer)
    return waiting is not None


class _Question:
    """One question that waits for its answer."""

    def __init__(self) -> None:
        self.id = new_id()
        self.answer: Message | None = None
        self.dead = ""
        self.waiting = trio.CancelScope()

    def take(self, answer: Message) -> None:
        self.answer = answer
        self.waiting.cancel()

    def on_event(self, event: Event) -> None:
        if isinstance(event, MessageDead) and event.message == self.id:
            self.dead = event.reason or "it became a dead letter"


async def ask(town: Town, asked: Asked, agent: str, question: str, *, priority: Priority) -> Message:
    """Send a question as the supervisor and wait for the answer, which leaves the mailbox. See `Town.ask`."""
    pending = _Question()
    asked[pending.id] = pending.take
    try:
        with town.subscribe(pending.on_event):
            await town.send(agent, Query(question=question), message_id=pending.id, priority=priority)
            while pending.answer is None:
                position, pending.waiting = town.position.value, trio.CancelScope()
                if answer := await _fetch(town, pending.id):
                    return answer
                await _check_will_answer(town, agent, pending)
                with pending.waiting:  # cancelled by `take`
                    await town.wait_for_change(position)
            return pending.answer
    finally:
        del asked[pending.id]


async def _fetch(town: Town, question: str) -> Message | None:
    """The answer, taken out of the supervisor's mailbox; None if there is none, or a reader of the mailbox was quicker."""
    reply = answer_id(question) or ""
    found = await town.run(find_message(town.operations, SUPERVISOR, reply))
    if not found.messages:
        return None
    try:
        removed = await town.run(remove_message(town.operations.keys, SUPERVISOR, reply))
    except TinytownError:
        return None
    return found.messages[0].message if removed else None


async def _check_will_answer(town: Town, agent: str, pending: _Question) -> None:
    """Raises: NoAnswer."""
    now = await town.run(town.operations.agent(agent))
    if pending.dead:
        raise NoAnswer(
            f"agent {now.name!r} did not take the question: {pending.dead}", code="question_dead", question=pending.id
        )
    if now.state in ("stopped", "error"):
        raise NoAnswer(
            f"agent {now.name!r} will not answer: it is {now.state} ({now.reason or 'no reason given'})",
            hint=f"to continue: tt resume {now.name}",
            agent=now.name,
            question=pending.id,
        )
