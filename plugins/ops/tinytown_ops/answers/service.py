"""The service by which a question gets an answer: the final text of a round that was there for it, if it has not replied.

The first reply to a message has an id of its own (`answer_id`). So what this sends is a repetition, and nothing, where the agent
has replied by itself, and when another kernel has sent it before. A question that the supervisor has answered leaves the
supervisor's mailbox.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from typing import Literal

import trio
from tinytown.contracts import Service
from tinytown.errors import ServerUnreachable, TinytownError
from tinytown.model.events import Event, MessageSent, RoundEnded
from tinytown.model.ids import SUPERVISOR, SUPERVISOR_NAMES
from tinytown.model.messages import Informational
from tinytown.town import Town
from tinytown_cli.administration import remove_message, rounds
from tinytown_cli.replies import answer_id, answered_by
from tinytown_sinks import events_from

_PAUSE_S = 1.0
_KEPT = 10_000  # questions without an answer, of which the oldest is forgotten


class QuestionAnswers(Service):
    """Sends the final text of a round without a task to those whose questions it was about."""

    name = "answers"
    scope: Literal["host", "town"] = "town"

    async def run(self, town: Town) -> None:
        """Follow the town's events until cancelled."""
        asked: dict[str, str] = {}  # question -> who asked
        for event in await town.run(town.operations.latest_events(_KEPT)):
            _note(asked, event)
        while True:
            with suppress(ServerUnreachable):
                async with aclosing(
                    events_from(town, "answers", lambda e: isinstance(e, MessageSent | RoundEnded))
                ) as events:
                    async for event in events:
                        _note(asked, event)
                        if isinstance(event, MessageSent) and (question := answered_by(event.message)):
                            await _settle(town, asked, question, event.sender)
                        if isinstance(event, RoundEnded) and event.outcome == "finished" and not event.task:
                            await _answer(town, asked, event)
            await trio.sleep(_PAUSE_S)


def _note(asked: dict[str, str], event: Event) -> None:
    if isinstance(event, MessageSent) and event.category == "query":
        asked[event.message] = event.sender
        if len(asked) > _KEPT:
            del asked[next(iter(asked))]


async def _settle(town: Town, asked: dict[str, str], question: str, answered: str) -> None:
    asked.pop(question, None)
    if answered in SUPERVISOR_NAMES:
        with suppress(TinytownError):  # it is gone
            await town.run(remove_message(town.operations.keys, SUPERVISOR, question))


async def _answer(town: Town, asked: dict[str, str], ended: RoundEnded) -> None:
    found = await town.run(rounds(town.operations.keys, ended.agent, round_id=ended.round_id, limit=1))
    for record in found:
        for question in record.messages:
            sender = asked.pop(question, None)
            if sender is None or not record.text.strip() or sender == ended.agent:
                continue
            with suppress(TinytownError):  # no such agent is left, or the mailbox is full
                await town.send(
                    sender,
                    Informational(summary=record.text),
                    sender=ended.agent,
                    message_id=answer_id(question),
                    correlation_id=question,
                )
