"""``tt send`` and ``tt inbox``: send messages and show mailboxes."""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime
from typing import Any

import click
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.model.ids import SUPERVISOR, SUPERVISOR_ID, SUPERVISOR_NAMES, check_id
from tinytown.model.messages import Body, Informational, Priority, Query, TaskOrder
from tinytown.model.results import Inbox, MailboxEntry
from tinytown.model.text import counted, shown

from tinytown_cli.client import TownClient
from tinytown_cli.confirmation import confirmation_from
from tinytown_cli.context import CliContext, pass_cli_context, start_where_needed
from tinytown_cli.formatting import brief_id, brief_ids, table
from tinytown_cli.framework import TownCommand
from tinytown_cli.message_ids import whole_message_id
from tinytown_cli.params import AGENT, MESSAGE, PRIORITY, no_start_option, read_text
from tinytown_cli.replies import send_reply
from tinytown_cli.serializers import mailbox_entry_shape

_PREVIEW = 120


@click.command(
    cls=TownCommand,
    examples=[
        "tt send worker 'rebase before you push' --info",
        "tt send rita 'is the importer good to merge?' --query",
        "tt send supervisor 'approved' --ack --reply-to 6d2c41f0",
        "tt send worker - --urgent < incident.txt",
    ],
)
@click.argument("to", type=AGENT)
@click.argument("text")
@click.option("--query", is_flag=True, help="A question that expects an answer.")
@click.option("--info", is_flag=True, help="Information; it waits for the next round, see [wake].")
@click.option(
    "--ack", is_flag=True, help="A confirmation: received, approved, thanks, or 'rejected: reason'; starts no round."
)
@click.option("--urgent", is_flag=True, help="The same as --priority urgent.")
@click.option("--priority", type=PRIORITY, help="Higher priority is delivered first.  [default: normal]")
@click.option("--from", "sender", metavar="AGENT", type=AGENT, help="Send as this agent.  [default: the caller]")
@click.option(
    "--reply-to", type=MESSAGE, metavar="MESSAGE", help="The message that this one answers: its id or a prefix."
)
@click.option("--delay", "delay_s", type=click.FloatRange(0, 31_536_000), default=0.0, metavar="SECONDS",
              help="Deliver it after this long.")  # fmt: skip
@no_start_option
@pass_cli_context
def send(
    context: CliContext,
    to: str,
    text: str,
    query: bool,
    info: bool,
    ack: bool,
    urgent: bool,
    priority: Priority | None,
    sender: str | None,
    reply_to: str | None,
    delay_s: float,
    no_start: bool,
) -> None:
    """Send TEXT (- reads standard input) to an agent, or to supervisor, the human side.

    Without --query, --info or --ack it is an order in free text. Use tt assign for work that is tracked as a task.
    """
    if query + info + ack > 1:
        raise UsageError("expected one of --query, --info and --ack, got several")
    if urgent and priority not in (None, "urgent"):
        raise UsageError(f"expected --urgent or --priority {priority}, got both")
    body = _body(read_text(text), query=query, info=info, ack=ack)
    with context.open_town() as town:
        sent = send_reply(
            town.run,
            town.operations,
            to,
            body,
            answers=reply_to and check_id("a message's id", whole_message_id(town, reply_to)),
            sender=_sender(town, sender),
            priority="urgent" if urgent else priority or "normal",
            not_before_ms=town.now_ms() + int(delay_s * 1000) if delay_s else 0,
        )
        if sent.agent_id != SUPERVISOR_ID:
            start_where_needed(context, town, may_start=not no_start)
    context.emit({"message_id": sent.message_id, "to": sent.to}, f"message {sent.message_id} to {sent.to}")


def _body(text: str, *, query: bool, info: bool, ack: bool) -> Body:
    if query:
        return Query(question=text)
    if info:
        return Informational(summary=text)
    if ack:
        if not text.strip():
            raise UsageError("expected a message, got an empty text")
        return confirmation_from(text)
    return TaskOrder(description=text)


def _sender(town: TownClient, named: str | None) -> str:
    """The address to send from. An agent can only send as itself."""
    caller = town.caller
    if named is None or not caller.is_agent or named.lower() in (caller.agent, caller.agent_name.lower()):
        return caller.address if named is None or caller.is_agent else named
    human = named.lower() in SUPERVISOR_NAMES
    if human or town.run(town.operations.agent(named)).id != town.run(town.operations.agent(caller.agent)).id:
        raise Refused(f"agent {caller.agent_name!r} cannot send as {shown(named)!r}", hint="leave out --from")
    return caller.agent


@click.command(
    cls=TownCommand,
    examples=[
        "tt inbox",
        "tt inbox --follow",
        "tt inbox worker --full",
        "tt inbox --all",
        "tt inbox worker --remove 6d2c",
    ],
)
@click.argument("agent", required=False, type=AGENT)
@click.option("-a", "--all", "everybody", is_flag=True, help="Show the mailboxes of all agents and of the supervisor.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    help="The maximum per mailbox.",
)
@click.option("--full", is_flag=True, help="Show full texts.")
@click.option(
    "-f", "--follow", is_flag=True, help="Then print new messages as they arrive, and ring the bell, until Ctrl-C."
)
@click.option(
    "--remove", "removed", metavar="MESSAGE|all", help="Delete this message, or all that no round has leased."
)
@pass_cli_context
def inbox(
    context: CliContext,
    agent: str | None,
    everybody: bool,
    limit: int,
    full: bool,
    follow: bool,
    removed: str | None,
) -> None:
    """Show the messages in the mailbox of AGENT, in the order of delivery, without removing any.

    Default: inside a round the mailbox of the agent, otherwise that of the supervisor.
    """
    if everybody and (agent or removed):
        raise UsageError("expected --all without an agent or --remove")
    if follow and removed:
        raise UsageError("expected --follow without --remove")
    with context.open_town() as town:
        owner = agent or town.caller.address
        if removed is not None:
            _remove(context, town, owner, removed)
            return
        names = [SUPERVISOR, *(agent.name for agent in town.run(town.operations.agents()))] if everybody else [owner]
        cursor = town.cursor() if follow else ""
        boxes: list[Inbox] = town.run_all([town.operations.peek(name, limit=limit) for name in names])
        lines = [line for box in boxes for line in _box_lines(box, full=full, brief=everybody)]
        if follow and context.json:
            for entry in (entry for box in boxes for entry in box.messages):
                context.emit(mailbox_entry_shape(entry), "")
        else:
            shapes = [_inbox_shape(box) for box in boxes]
            context.emit({"inboxes": shapes} if everybody else shapes[0], lines)
        if follow:
            seen = {entry.message.id for box in boxes for entry in box.messages if entry.message}
            _follow(context, town, cursor, None if everybody else boxes[0].agent, seen, full=full)


def _follow(
    context: CliContext, town: TownClient, cursor: str, owner: str | None, seen: Set[str], *, full: bool
) -> None:
    """Print each message that is sent after `cursor` to `owner` (None: to anybody), but not those `seen`."""
    from tinytown.model.events import MessageSent  # late: its 30 types take 3 ms

    from tinytown_cli import administration

    for batch in town.follow(cursor):
        for event in batch:
            if not isinstance(event, MessageSent) or event.message in seen or owner not in (None, event.recipient):
                continue
            try:
                box = town.run(administration.find_message(town.operations, event.recipient, event.message))
            except NotFound:  # its agent was removed meanwhile
                continue
            for entry in box.messages:
                context.emit(mailbox_entry_shape(entry), _entry_lines(box.agent, entry, full=full))
                context.ring()


def _entry_lines(owner: str, entry: MailboxEntry, *, full: bool) -> list[str]:
    """A message that has just arrived."""
    message, text = entry.message, _text(entry)
    if message is None:
        return [f"{owner}: cannot be decoded: {shown(text, _PREVIEW)}"]
    clock = datetime.fromisoformat(message.created_at).astimezone()
    urgency = f"{message.priority} " if message.priority != "normal" else ""
    head = f"{clock:%H:%M:%S}  {message.sender} -> {owner}: {urgency}{message.type} {brief_id(message.id)}"
    return [head, text, ""] if full else [f"{head}: {shown(text, _PREVIEW)}"]


def _place(entry: MailboxEntry) -> str:
    return "with the next round" if entry.place == "delayed" and entry.until is None else entry.place


def _text(entry: MailboxEntry) -> str:
    return entry.message.text if entry.message else entry.raw.decode("utf-8", "replace")


def _remove(context: CliContext, town: TownClient, owner: str, word: str) -> None:
    from tinytown_cli import administration

    name = town.run(town.operations.peek(owner, limit=1)).agent
    if not word:
        raise UsageError("expected a message's id or 'all', got an empty word", hint=f"tt inbox {name}")
    ids = town.run(administration.remove_message(town.operations.keys, name, word))
    context.emit(
        {"agent": name, "removed": ids}, [f"removed {message_id}" for message_id in ids] or ["nothing to remove"]
    )


def _inbox_shape(box: Inbox) -> dict[str, Any]:
    return {"agent": box.agent, "messages": [mailbox_entry_shape(entry) for entry in box.messages]}


def _box_lines(box: Inbox, *, full: bool, brief: bool) -> list[str]:
    if not box.messages:
        return [] if brief else [f"no mail for {box.agent}"]
    lines = [f"{box.agent}: {counted(len(box.messages), 'message')}"]
    if full:
        for entry in box.messages:
            message = entry.message
            head = (
                f"{message.id}  {message.type} from {message.sender}, {message.priority}"
                if message
                else "cannot be decoded"
            )
            lines += ["", f"{head}, {_place(entry)}", _text(entry)]
        return [*lines, ""]
    ids = brief_ids(entry.message.id for entry in box.messages if entry.message)
    rows = [
        (
            ids[entry.message.id] if entry.message else "?",
            entry.message.priority if entry.message else "?",
            entry.message.type if entry.message else "cannot be decoded",
            entry.message.sender if entry.message else "?",
            _place(entry),
            shown(_text(entry), _PREVIEW),
        )
        for entry in box.messages
    ]
    return [*lines, *table(("message", "priority", "type", "from", "status", "text"), rows), *([""] if brief else [])]
