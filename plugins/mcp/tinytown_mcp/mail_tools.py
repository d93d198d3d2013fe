"""Tools for mail: list, read, reply, send, ask the supervisor. An agent sends as itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from tinytown.errors import NotFound, UsageError
from tinytown.model.ids import SUPERVISOR
from tinytown.model.messages import Body, Informational, Message, Query, TaskOrder
from tinytown.model.text import shown
from tinytown_cli.confirmation import confirmation_from
from tinytown_cli.replies import send_reply
from tinytown_cli.serializers import message_fields

from tinytown_mcp.agent_tools import EXCERPT_LENGTH, READ_LIMIT, Arguments, Limit, Text, Urgent, tool
from tinytown_mcp.contracts import ToolResult, ToolSession


class InboxArguments(Arguments, frozen=True):
    limit: Limit = 20


@tool(InboxArguments, changes=False)
def inbox(session: ToolSession, arguments: InboxArguments) -> ToolResult:
    """Lists your mailbox: the messages of this round (leased) and those waiting for the next one (queued), each with id,
    sender and an excerpt. Removes nothing. read_message shows a whole message."""
    messages = [
        {
            "id": message.id, "type": message.type, "from": message.sender, "priority": message.priority,
            "place": place, "text": shown(message.text, EXCERPT_LENGTH),
        }
        for message, place in _mailbox(session, arguments.limit)
    ]  # fmt: skip
    lines = [f"{item['id']} {item['type']} from {item['from']} ({item['place']}): {item['text']}" for item in messages]
    return ToolResult("\n".join(lines) or "your mailbox is empty", {"messages": messages})


class ReadMessageArguments(Arguments, frozen=True):
    message: Annotated[str, msgspec.Meta(description="The message's id or an unambiguous prefix of it.")]


@tool(ReadMessageArguments, changes=False)
def read_message(session: ToolSession, arguments: ReadMessageArguments) -> ToolResult:
    """Shows one message of your mailbox in full."""
    message = _message(session, arguments.message)
    head = f"{message.type} from {message.sender}, {message.priority}, message {message.id}"
    return ToolResult(f"{head}\n\n{message.text}", {"message": message_fields(message)})


class ReplyArguments(Arguments, frozen=True):
    message: Annotated[str, msgspec.Meta(description="The id of the message to answer.")]
    text: Text
    kind: Annotated[
        Literal["info", "query", "ack"],
        msgspec.Meta(description="info answers; query asks back; ack acknowledges: approved, thanks, 'rejected: why'."),
    ] = "info"
    urgent: Urgent = False


@tool(ReplyArguments, changes=True)
def reply(session: ToolSession, arguments: ReplyArguments) -> ToolResult:
    """Replies to the sender of a message in your mailbox."""
    message = _message(session, arguments.message)
    return _send(
        session, message.sender, _body(arguments.kind, arguments.text), urgent=arguments.urgent, answers=message.id
    )


class SendArguments(Arguments, frozen=True):
    to: Annotated[str, msgspec.Meta(description="An agent's name, or supervisor for the human in charge.")]
    text: Text
    kind: Annotated[
        Literal["order", "query", "info"],
        msgspec.Meta(description="order requests work; query requests an answer; info needs neither."),
    ]
    urgent: Urgent = False
    reply_to: Annotated[str, msgspec.Meta(description="The id of the message that this one answers.")] = ""


@tool(SendArguments, changes=True)
def send(session: ToolSession, arguments: SendArguments) -> ToolResult:
    """Sends a message to another agent, delivered in its next round. To follow the work up, prefer task_assign to an order:
    a task has a state and a result."""
    return _send(
        session,
        arguments.to,
        _body(arguments.kind, arguments.text),
        urgent=arguments.urgent,
        answers=arguments.reply_to,
    )


class AskSupervisorArguments(Arguments, frozen=True):
    question: Annotated[str, msgspec.Meta(description="The question, with the context needed to answer it.")]
    urgent: Urgent = False


@tool(AskSupervisorArguments, changes=True)
def ask_supervisor(session: ToolSession, arguments: AskSupervisorArguments) -> ToolResult:
    """Asks the human in charge, for decisions that are not yours. The answer arrives as mail in a later round: do not wait
    for it, and state in your result or failure reason what depends on it."""
    return _send(session, SUPERVISOR, Query(question=arguments.question), urgent=arguments.urgent, answers="")


MAIL_TOOLS = (inbox, read_message, reply, send, ask_supervisor)


def _mailbox(session: ToolSession, limit: int) -> Iterator[tuple[Message, str]]:
    for entry in session.run(session.operations.peek(session.caller.agent, limit=limit)).messages:
        if entry.message is not None:
            yield entry.message, entry.place


def _message(session: ToolSession, word: str) -> Message:
    """The message of the caller's mailbox whose id is `word` or starts with it. Raises: NotFound; UsageError if ambiguous."""
    matches = [message for message, _ in _mailbox(session, READ_LIMIT) if word and message.id.startswith(word)]
    if exact := [message for message in matches if message.id == word]:
        return exact[0]
    if len(matches) > 1:
        raise UsageError(f"{shown(word)!r} is the prefix of several messages", hint="give the whole id")
    if not matches:
        raise NotFound(
            f"no message {shown(word)!r} in your mailbox",
            hint="inbox lists them; send, with reply_to, answers older ones",
        )
    return matches[0]


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


def _send(session: ToolSession, to: str, body: Body, *, urgent: bool, answers: str) -> ToolResult:
    sent = send_reply(
        session.run,
        session.operations,
        to,
        body,
        answers=answers,
        sender=session.caller.address,
        priority="urgent" if urgent else "normal",
    )
    return ToolResult(f"message {sent.message_id} to {sent.to}", {"message_id": sent.message_id, "to": sent.to})
