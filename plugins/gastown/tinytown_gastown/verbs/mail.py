"""``tt mail``: the mail of a town, in the words of Gastown. ``tt send`` and ``tt inbox`` can do more."""

from __future__ import annotations

import click
from tinytown.errors import NotFound, UsageError
from tinytown.model.messages import Informational, Priority, Query
from tinytown.model.results import MailboxEntry
from tinytown.model.text import counted
from tinytown_cli import administration
from tinytown_cli.public import (
    MESSAGE,
    CliContext,
    TownClient,
    TownGroup,
    no_start_option,
    pass_cli_context,
    read_text,
    start_where_needed,
    table,
)

from tinytown_gastown.verbs.addresses import find_recipient

_PRIORITIES: tuple[Priority, ...] = ("urgent", "high", "normal", "low", "low")
_MOST = 1000


@click.group(
    cls=TownGroup,
    examples=["tt mail inbox", "tt mail send mayor/ -s 'Stuck' -m 'the key is missing'", "tt mail read 6d2c"],
)
def mail() -> None:
    """Send, list and read mail. Addresses such as shop/polecats/nux mean the agent at their end."""


@mail.command(
    "send",
    examples=["tt mail send shop/polecats/nux -s 'Rebase' -m 'before you push'", "tt mail send --human -s Help"],
    scope="town.write",
    local_options=["stdin"],
)
@click.argument("to", metavar="[ADDRESS]", required=False, default="")
@click.option("--to", "named", default="", metavar="ADDRESS", help="The recipient.")
@click.option("--human", is_flag=True, help="To the person: the supervisor.")
@click.option("--self", "to_self", is_flag=True, help="To the caller.")
@click.option("-s", "--subject", default="", help="The subject.")
@click.option("-m", "--message", "--body", "message", default="", help="The text; - reads standard input.")
@click.option("--stdin", is_flag=True, help="Read the text from standard input.")
@click.option("--priority", type=click.IntRange(0, 4), default=2, show_default=True, help="0 (urgent) to 4.")
@click.option("--urgent", is_flag=True, help="The same as --priority 0.")
@click.option("-n", "--notify", is_flag=True, help="The same as --priority 1.")
@click.option(
    "--type", "type_", default="notification", help="task, scavenge, notification, reply: task asks for an answer."
)
@click.option("--cc", multiple=True, metavar="ADDRESS", help="Send it to this one, too.")
@click.option("--reply-to", type=MESSAGE, metavar="MESSAGE", help="The message that it answers.")
@click.option(
    "--permanent",
    "--pinned",
    "--wisp",
    "--no-notify",
    "kept",
    is_flag=True,
    help="Has no effect: mail waits until it is read.",
)
@no_start_option
@pass_cli_context
def send(
    context: CliContext, to: str, named: str, human: bool, to_self: bool, subject: str, message: str, stdin: bool,
    priority: int, urgent: bool, notify: bool, type_: str, cc: tuple[str, ...], reply_to: str | None, kept: bool, no_start: bool,
) -> None:  # fmt: skip
    """Send mail to an agent, or to a person: mayor/ and --human are the supervisor."""
    text = "\n\n".join(part for part in (subject.strip(), read_text("-" if stdin else message).strip()) if part)
    if not text:
        raise UsageError("expected a subject or a message", hint="tt mail send ADDRESS -s SUBJECT -m TEXT")
    with context.open_town() as town:
        caller = town.caller.agent_name or "supervisor"
        address = to or named or ("supervisor" if human else caller if to_self else "")
        if not address:
            raise UsageError("expected an address", hint="tt list shows agents; mayor/ is the supervisor")
        recipients = [find_recipient(town, word) for word in (address, *cc)]
        body = Query(question=text) if type_ == "task" else Informational(summary=text)
        rank = 0 if urgent else min(priority, 1) if notify else priority
        sent = town.run_all(
            [
                town.operations.send(
                    name, body, sender=town.caller.address, priority=_PRIORITIES[rank], correlation_id=reply_to
                )
                for name in dict.fromkeys(recipients)
            ]
        )
        start_where_needed(context, town, may_start=not no_start)
    rows = [{"message_id": each.message_id, "to": each.to} for each in sent]
    context.emit({"sent": rows}, [f"sent to {row['to']}: {row['message_id']}" for row in rows])


@mail.command("inbox", examples=["tt mail inbox", "tt mail inbox shop/polecats/nux --json"], scope="town.read")
@click.argument("address", required=False, default="")
@click.option("--identity", "--address", "named", default="", metavar="ADDRESS", help="Whose mail.")
@click.option("-u", "--unread", "-a", "--all", "unread", is_flag=True, help="Has no effect: what is read is removed.")
@pass_cli_context
def inbox(context: CliContext, address: str, named: str, unread: bool) -> None:
    """List the mail that waits for an agent, by default the caller or the supervisor."""
    with context.open_town() as town:
        owner = _owner(town, address or named)
        letters = _letters(town, owner)
    rows = [
        (entry.message.id[:8], entry.message.sender, entry.message.priority, _subject(entry))
        for entry in letters
        if entry.message
    ]
    shapes = [_shape(entry) for entry in letters]
    context.emit(
        {"inbox": owner, "messages": shapes},
        table(("id", "from", "priority", "subject"), rows) if rows else [f"no mail for {owner}"],
    )


@mail.command("read", examples=["tt mail read 6d2c41f0"], scope="town.write")
@click.argument("word", metavar="MESSAGE", type=MESSAGE)
@click.option("--identity", "--address", "named", default="", metavar="ADDRESS", help="Whose mail.")
@pass_cli_context
def read(context: CliContext, word: str, named: str) -> None:
    """Show a message in full."""
    with context.open_town() as town:
        entry = _find(town, _owner(town, named), word)
    assert entry.message is not None
    head = [f"from: {entry.message.sender}", f"id: {entry.message.id}", f"at: {entry.message.created_at}", ""]
    context.emit(_shape(entry), [*head, *entry.message.text.splitlines()])


@mail.command("archive", examples=["tt mail archive 6d2c41f0 77b01f3a"], scope="town.write")
@click.argument("words", nargs=-1, required=True, metavar="MESSAGE...", type=MESSAGE)
@click.option("--identity", "--address", "named", default="", metavar="ADDRESS", help="Whose mail.")
@pass_cli_context
def archive(context: CliContext, words: tuple[str, ...], named: str) -> None:
    """Remove messages. The mail of a round is acknowledged by itself when the round ends."""
    with context.open_town() as town:
        if town.caller.is_agent:
            context.emit({"archived": []}, "the mail of this round is acknowledged when the round ends")
            return
        owner = _owner(town, named)
        ids = [entry.message.id for word in words if (entry := _find(town, owner, word)).message]
        town.run_all([administration.remove_message(town.operations.keys, owner, id_) for id_ in ids])
    context.emit({"archived": ids}, [f"archived {id_}" for id_ in ids])


@mail.command("reply", examples=["tt mail reply 6d2c41f0 -m 'done'"], scope="town.write")
@click.argument("word", metavar="MESSAGE", type=MESSAGE)
@click.argument("text", required=False, default="")
@click.option("-s", "--subject", default="", help="The subject.")
@click.option("-m", "--message", "--body", "message", default="", help="The text; - reads standard input.")
@no_start_option
@pass_cli_context
def reply(context: CliContext, word: str, text: str, subject: str, message: str, no_start: bool) -> None:
    """Answer a message."""
    words = "\n\n".join(part for part in (subject.strip(), read_text(message or text).strip()) if part)
    if not words:
        raise UsageError("expected a text", hint="tt mail reply MESSAGE -m TEXT")
    with context.open_town() as town:
        entry = _find(town, _owner(town, ""), word)
        assert entry.message is not None
        to = find_recipient(town, entry.message.sender)
        body = Informational(summary=words)
        sent = town.run(
            town.operations.send(to, body, sender=town.caller.address, priority="high", correlation_id=entry.message.id)
        )
        start_where_needed(context, town, may_start=not no_start)
    context.emit({"message_id": sent.message_id, "to": sent.to}, f"sent to {sent.to}")


@mail.command("check", examples=["tt mail check"], scope="town.read")
@click.option("--inject", is_flag=True, help="Has no effect: mail is part of the prompt of a round.")
@click.option("--identity", "--address", "named", default="", metavar="ADDRESS", help="Whose mail.")
@pass_cli_context
def check(context: CliContext, inject: bool, named: str) -> None:
    """Count the mail that waits for an agent, by default the caller or the supervisor."""
    with context.open_town() as town:
        owner = _owner(town, named)
        number = len(_letters(town, owner))
    context.emit({"inbox": owner, "unread": number}, f"{counted(number, 'message')} for {owner}")


def _owner(town: TownClient, address: str) -> str:
    word = address or town.caller.agent or "supervisor"
    return "supervisor" if word == "supervisor" else find_recipient(town, word)


def _letters(town: TownClient, owner: str) -> list[MailboxEntry]:
    entries = town.run(town.operations.peek(owner, limit=_MOST)).messages
    return [entry for entry in entries if entry.message is not None and entry.message.type != "task_assign"]


def _find(town: TownClient, owner: str, word: str) -> MailboxEntry:
    """The only message of a mailbox whose id begins with `word`. Raises: NotFound; UsageError if there are several."""
    found = [entry for entry in _letters(town, owner) if entry.message and entry.message.id.startswith(word)]
    if len(found) > 1:
        raise UsageError(f"{word[:60]!r} means several messages, {len(found)} of them", hint="type more of the id")
    if not found:
        raise NotFound(f"no message {word[:60]!r} for {owner}", hint="tt mail inbox lists them")
    return found[0]


def _subject(entry: MailboxEntry) -> str:
    return entry.message.text.strip().partition("\n")[0][:100] if entry.message else ""


def _shape(entry: MailboxEntry) -> dict[str, object]:
    assert entry.message is not None
    message = entry.message
    return {
        "id": message.id, "from": message.sender, "to": message.recipient, "subject": _subject(entry), "body": message.text,
        "priority": message.priority, "at": message.created_at, "type": message.type,
    }  # fmt: skip
