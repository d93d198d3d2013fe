"""Tools for mail: look into the mailbox, read, answer, send, ask the person in charge. An agent sends as itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from tinytown.errors import NotFound, UsageError
from tinytown.model.ids import SUPERVISOR
from tinytown.model.messages import Body, Informational, Message, Query, TaskOrder, confirmation_from, message_fields
from tinytown.model.text import shown

from tinytown_mcp.mcp import ToolResult
from tinytown_mcp.office import ToolSession
from tinytown_mcp.toolbox import BEGINNING, LOOK_THROUGH, Arguments, Limit, Text, Urgent, tool


class InboxArguments(Arguments, frozen=True):
    limit: Limit = 20


@tool(InboxArguments, changes=False)
def inbox(office: ToolSession, given: InboxArguments) -> ToolResult:
    """Shows your mailbox: the messages of this round (leased) and those that wait for the next one (queued), each with its
    id, sender and beginning. Nothing is taken out. read_message has the whole text of one."""
    messages = [
        {
            "id": message.id, "type": message.type, "from": message.sender, "priority": message.priority,
            "place": place, "text": shown(message.text, BEGINNING),
        }
        for message, place in _mailbox(office, given.limit)
    ]  # fmt: skip
    lines = [f"{each['id']} {each['type']} from {each['from']} ({each['place']}): {each['text']}" for each in messages]
    return ToolResult("\n".join(lines) or "your mailbox is empty", {"messages": messages})


class ReadMessageArguments(Arguments, frozen=True):
    message: Annotated[str, msgspec.Meta(description="The message's id or an unambiguous beginning of it.")]


@tool(ReadMessageArguments, changes=False)
def read_message(office: ToolSession, given: ReadMessageArguments) -> ToolResult:
    """Reads one message of your mailbox in full."""
    message = _message(office, given.message)
    head = f"{message.type} from {message.sender}, {message.priority}, message {message.id}"
    return ToolResult(f"{head}\n\n{message.text}", {"message": message_fields(message)})


class ReplyArguments(Arguments, frozen=True):
    message: Annotated[str, msgspec.Meta(description="The id of the message to answer.")]
    text: Text
    kind: Annotated[
        Literal["info", "query", "ack"],
        msgspec.Meta(description="info answers; query asks back; ack is a receipt: approved, thanks, 'rejected: why'."),
    ] = "info"
    urgent: Urgent = False


@tool(ReplyArguments, changes=True)
def reply(office: ToolSession, given: ReplyArguments) -> ToolResult:
    """Answers a message of your mailbox; the answer goes to whoever sent it."""
    message = _message(office, given.message)
    return _send(office, message.sender, _body(given.kind, given.text), urgent=given.urgent, answers=message.id)


class SendArguments(Arguments, frozen=True):
    to: Annotated[str, msgspec.Meta(description="An agent's name, or supervisor for the person in charge.")]
    text: Text
    kind: Annotated[
        Literal["order", "query", "info"],
        msgspec.Meta(description="order is work to do; query wants an answer; info is only to know."),
    ]
    urgent: Urgent = False
    reply_to: Annotated[str, msgspec.Meta(description="The id of a message that this one answers.")] = ""


@tool(SendArguments, changes=True)
def send(office: ToolSession, given: SendArguments) -> ToolResult:
    """Sends a message to another agent. It reads it in its next round. For work that is to be followed up, task_assign is
    better than an order: a task has a state and a result."""
    return _send(office, given.to, _body(given.kind, given.text), urgent=given.urgent, answers=given.reply_to)


class AskSupervisorArguments(Arguments, frozen=True):
    question: Annotated[str, msgspec.Meta(description="The question, with what one must know to answer it.")]
    urgent: Urgent = False


@tool(AskSupervisorArguments, changes=True)
def ask_supervisor(office: ToolSession, given: AskSupervisorArguments) -> ToolResult:
    """Asks the person in charge, for decisions that are not yours. The answer comes as mail in a later round: say in your
    result or failure what waits for it, and do not wait yourself."""
    return _send(office, SUPERVISOR, Query(question=given.question), urgent=given.urgent, answers="")


MAIL_TOOLS = (inbox, read_message, reply, send, ask_supervisor)


def _mailbox(office: ToolSession, limit: int) -> Iterator[tuple[Message, str]]:
    for each in office.run(office.operations.peek(office.caller.agent, limit=limit)).messages:
        if each.message is not None:
            yield each.message, each.place


def _message(office: ToolSession, word: str) -> Message:
    """The message of the caller's mailbox whose id is `word` or begins with it. Raises: NotFound, UsageError."""
    found = [message for message, _ in _mailbox(office, LOOK_THROUGH) if word and message.id.startswith(word)]
    if exact := [message for message in found if message.id == word]:
        return exact[0]
    if len(found) > 1:
        raise UsageError(f"{shown(word)!r} is the beginning of several messages", hint="give the whole id")
    if not found:
        raise NotFound(
            f"no message {shown(word)!r} in your mailbox",
            hint="inbox lists them; send, with reply_to, answers older ones",
        )
    return found[0]


def _body(kind: Literal["order", "query", "info", "ack"], text: str) -> Body:
    if not text.strip():
        raise UsageError("expected a message, got an empty text")
    match kind:
        case "order":
            return TaskOrder(description=text)
        case "query":
            return Query(question=text)
        case "info":
            return Informational(summary=text)
        case "ack":
            return confirmation_from(text)


def _send(office: ToolSession, to: str, body: Body, *, urgent: bool, answers: str) -> ToolResult:
    call = office.operations.send(
        to,
        body,
        sender=office.caller.address,
        priority="urgent" if urgent else "normal",
        correlation_id=answers or None,
    )
    sent = office.run(call)
    return ToolResult(f"message {sent.message_id} to {sent.to}", {"message_id": sent.message_id, "to": sent.to})
