"""Mail: send, read, answer, dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Literal

import msgspec
from tinytown.errors import NotFound
from tinytown.model.ids import SUPERVISOR, SUPERVISOR_ID
from tinytown.model.messages import Body, Informational, Priority, Query, TaskOrder
from tinytown.model.text import shown
from tinytown_cli import administration
from tinytown_cli.administration import TraceLine
from tinytown_cli.confirmation import confirmation_from
from tinytown_ops.questions.record import Question

from tinytown_townhall.questions import answer_question, open_questions
from tinytown_townhall.routing import Call, Endpoints
from tinytown_townhall.views import DeadLetterView, Ids, Inbox, dead_letter_view, entry_view

MAIL = Endpoints("mail")

Limit = Annotated[int, msgspec.Meta(ge=1, le=1_000)]
_INBOX = 1_000


class MailQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many at most."""

    limit: Limit = 100


class NewMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message to an agent, or to ``supervisor``. A ``task`` is an order in words; an ``ack`` approves,
    rejects with a reason (``rejected: why``), or thanks.

    `reply_to` is the id of the message that it answers; the same `message_id` twice is one message.
    """

    to: str
    message: str
    kind: Literal["task", "query", "info", "ack"] = "task"
    priority: Priority = "normal"
    urgent: bool = False
    reply_to: str | None = None
    message_id: str | None = None


class SentMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The message is in the mailbox."""

    message_id: str
    to_agent: str
    urgent: bool
    new: bool


class Reply(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer to a message that somebody sent to the supervisor."""

    text: str
    kind: Literal["info", "ack", "task"] = "info"


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message has been and when; empty if it is unknown or its history has expired."""

    steps: tuple[TraceLine, ...]


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that were given up, the newest first."""

    dead: Sequence[DeadLetterView]


class Questions(msgspec.Struct, frozen=True, kw_only=True):
    """What agents ask in rounds that wait for the answer."""

    questions: Sequence[Question]


@MAIL.post("/v1/messages", status=201)
async def send_message(call: Call, body: NewMessage) -> SentMessage:
    """Send a message in the name of the supervisor."""
    priority: Priority = "urgent" if body.urgent else body.priority
    sent = await call.town.send(
        body.to,
        _body(body.kind, body.message),
        priority=priority,
        correlation_id=body.reply_to,
        message_id=body.message_id,
    )
    if sent.agent_id != SUPERVISOR_ID:
        await call.hall.start_kernel()
    return SentMessage(message_id=sent.message_id, to_agent=sent.to, urgent=priority == "urgent", new=sent.new)


@MAIL.post("/v1/messages/send", status=201, is_tool=False)
async def send_message_as_before(call: Call, body: NewMessage) -> SentMessage:
    """The same, at the path of the Rust Tinytown."""
    answer: SentMessage = await send_message(call, body)
    return answer


def _body(kind: str, text: str) -> Body:
    match kind:
        case "query":
            return Query(question=text)
        case "info":
            return Informational(summary=text)
        case "ack":
            return confirmation_from(text)
        case _:
            return TaskOrder(description=text)


@MAIL.get("/v1/messages/{message}/trace")
async def trace_message(call: Call, message: str) -> Trace:
    """Where a message has been and when."""
    return Trace(steps=await call.run(administration.trace(call.town.operations.keys, message)))


@MAIL.get("/v1/inbox")
async def show_supervisor_inbox(call: Call, query: MailQuery) -> Inbox:
    """The mailbox of the supervisor: what agents want of people."""
    return await _inbox(call, SUPERVISOR, query.limit)


@MAIL.get("/v1/agents/{agent}/inbox")
async def show_inbox(call: Call, agent: str, query: MailQuery) -> Inbox:
    """An agent's mailbox in the order of delivery; nothing is claimed."""
    return await _inbox(call, agent, query.limit)


async def _inbox(call: Call, owner: str, limit: int) -> Inbox:
    box = await call.run(call.town.operations.peek(owner, limit=limit))
    return Inbox(agent=box.agent, messages=[entry_view(entry) for entry in box.messages])


@MAIL.delete("/v1/agents/{agent}/inbox/{message}")
async def remove_message(call: Call, agent: str, message: str) -> Ids:
    """Delete a message that no round has leased, or ``all`` of them, from a mailbox."""
    return Ids(ids=await call.run(administration.remove_message(call.town.operations.keys, agent, message)))


@MAIL.get("/v1/questions")
async def list_questions(call: Call) -> Questions:
    """What agents ask; their rounds wait for the answer, which answer_message gives."""
    return Questions(questions=await open_questions(call.town, await call.town.agents()))


@MAIL.post("/v1/inbox/{message}/answer")
async def answer_message(call: Call, message: str, body: Reply) -> SentMessage:
    """Answer a message to the supervisor, and take it out of the mailbox.

    The answer to a question of a round that waits reaches that round.
    """
    if question := await answer_question(call.town, message, body.text):
        await _dismiss(call, message)
        return SentMessage(message_id=message, to_agent=question.agent, urgent=False, new=True)
    box = await call.run(call.town.operations.peek(SUPERVISOR, limit=_INBOX))
    asked = next((entry.message for entry in box.messages if entry.message and entry.message.id == message), None)
    if asked is None:
        raise NotFound(
            f"no message {shown(message)!r} in the mailbox of the supervisor", hint="it may be answered already"
        )
    sent = await call.town.send(asked.sender, _body(body.kind, body.text), priority="high", correlation_id=asked.id)
    await _dismiss(call, asked.id)
    await call.hall.start_kernel()
    return SentMessage(message_id=sent.message_id, to_agent=sent.to, urgent=False, new=sent.new)


async def _dismiss(call: Call, message: str) -> None:
    """Take a message that is answered out of the mailbox, if it is still there."""
    with suppress(NotFound):
        await call.run(administration.remove_message(call.town.operations.keys, SUPERVISOR, message))


@MAIL.get("/v1/dead-letters")
async def list_dead_letters(call: Call, query: MailQuery) -> DeadLetters:
    """Messages that were given up, the newest first."""
    letters = await call.run(administration.dead_letters(call.town.operations.keys, limit=query.limit))
    return DeadLetters(dead=[dead_letter_view(letter) for letter in letters])


@MAIL.get("/v1/dead-letters/{message}")
async def show_dead_letter(call: Call, message: str) -> DeadLetterView:
    """One dead letter in full, by its id or the beginning of it."""
    return await call.command("dead show", DeadLetterView, message=message)


@MAIL.post("/v1/dead-letters/{message}/redrive")
async def redrive_dead_letter(call: Call, message: str) -> Ids:
    """Return a dead letter, or ``all`` of them, to its mailbox."""
    return Ids(ids=await call.run(administration.redrive(call.town.operations.keys, message)))


@MAIL.delete("/v1/dead-letters/{message}")
async def drop_dead_letter(call: Call, message: str) -> Ids:
    """Delete a dead letter, or ``all`` of them, permanently."""
    return Ids(ids=await call.run(administration.drop(call.town.operations.keys, message)))
