"""``tt send`` and ``tt inbox``: send messages and show mailboxes."""

from __future__ import annotations

from typing import Any

import click
from tinytown.client import TownClient
from tinytown.errors import Refused, UsageError
from tinytown.model.ids import SUPERVISOR, SUPERVISOR_ID, SUPERVISOR_NAMES, check_id
from tinytown.model.messages import Body, Informational, Priority, Query, TaskOrder
from tinytown.model.results import Inbox
from tinytown.model.text import counted, shown

from tinytown_cli.confirmation import confirmation_from
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_cli.kernel_process import start_where_needed
from tinytown_cli.message_ids import whole_message_id
from tinytown_cli.params import AGENT, MESSAGE, PRIORITY, no_start_option, read_text
from tinytown_cli.serializers import mailbox_entry_shape

_SHORT = 8
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
@click.option("--info", is_flag=True, help="Information; no action expected.")
@click.option("--ack", is_flag=True, help="A confirmation: received, approved, thanks, or 'rejected: reason'.")
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
        sent = town.run(
            town.operations.send(
                to,
                body,
                sender=_sender(town, sender),
                priority="urgent" if urgent else priority or "normal",
                correlation_id=reply_to and check_id("a message's id", whole_message_id(town, reply_to)),
                not_before_ms=town.now_ms() + int(delay_s * 1000) if delay_s else 0,
            )
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
    examples=["tt inbox", "tt inbox worker --full", "tt inbox --all", "tt inbox worker --remove 6d2c"],
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
    "--remove", "removed", metavar="MESSAGE|all", help="Delete this message, or all that no round has leased."
)
@pass_cli_context
def inbox(context: CliContext, agent: str | None, everybody: bool, limit: int, full: bool, removed: str | None) -> None:
    """Show the messages in the mailbox of AGENT, in the order of delivery, without removing any.

    Default: inside a round the mailbox of the agent, otherwise that of the supervisor.
    """
    if everybody and (agent or removed):
        raise UsageError("expected --all without an agent or --remove")
    with context.open_town() as town:
        owner = agent or town.caller.address
        if removed is not None:
            _remove(context, town, owner, removed)
            return
        names = [SUPERVISOR, *(each.name for each in town.run(town.operations.agents()))] if everybody else [owner]
        boxes: list[Inbox] = town.run_all([town.operations.peek(name, limit=limit) for name in names])
    shapes = [_inbox_shape(box) for box in boxes]
    lines = [line for box in boxes for line in _box_lines(box, full=full, brief=everybody)]
    context.emit({"inboxes": shapes} if everybody else shapes[0], lines)


def _remove(context: CliContext, town: TownClient, owner: str, word: str) -> None:
    from tinytown_cli import administration

    name = town.run(town.operations.peek(owner, limit=1)).agent
    if not word:
        raise UsageError("expected a message's id or 'all', got an empty word", hint=f"tt inbox {name}")
    ids = town.run(administration.remove_message(town.operations.keys, name, word))
    context.emit({"agent": name, "removed": ids}, [f"removed {each}" for each in ids] or ["nothing to remove"])


def _inbox_shape(box: Inbox) -> dict[str, Any]:
    return {"agent": box.agent, "messages": [mailbox_entry_shape(each) for each in box.messages]}


def _box_lines(box: Inbox, *, full: bool, brief: bool) -> list[str]:
    if not box.messages:
        return [] if brief else [f"no mail for {box.agent}"]
    lines = [f"{box.agent}: {counted(len(box.messages), 'message')}"]
    if full:
        for each in box.messages:
            message = each.message
            head = (
                f"{message.id}  {message.type} from {message.sender}, {message.priority}"
                if message
                else "cannot be decoded"
            )
            text = message.text if message else each.raw.decode("utf-8", "replace")
            lines += ["", f"{head}, {each.place}", text]
        return [*lines, ""]
    rows = [
        (
            each.message.id[:_SHORT] if each.message else "?",
            each.message.priority if each.message else "?",
            each.message.type if each.message else "cannot be decoded",
            each.message.sender if each.message else "?",
            each.place,
            shown(each.message.text if each.message else each.raw.decode("utf-8", "replace"), _PREVIEW),
        )
        for each in box.messages
    ]
    return [*lines, *table(("message", "priority", "type", "from", "status", "text"), rows), *([""] if brief else [])]
