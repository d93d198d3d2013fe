"""``tt nudge``, ``tt peek`` and ``tt escalate``: messages to agents and people, and the reports of an agent."""

from __future__ import annotations

import re

import click
from tinytown.errors import UsageError
from tinytown.model.events import AgentReported
from tinytown.model.messages import Informational, Priority, Query
from tinytown_cli.public import (
    AGENT,
    CliContext,
    TownCommand,
    no_start_option,
    pass_cli_context,
    read_text,
    start_where_needed,
)

from tinytown_gastown.verbs.addresses import find_agent, find_recipient

_SEVERITIES: dict[str, Priority] = {"critical": "urgent", "high": "high", "medium": "normal", "low": "low"}
_EVENTS = 5000
_ESCALATED = re.compile(r"\[(critical|high|medium|low)\] (.*)", re.DOTALL)


@click.command(
    cls=TownCommand,
    examples=["tt nudge worker 'the fix is on main now'", "tt nudge worker -m 'stop and rebase' --now"],
    scope="town.write",
    local_options=["stdin"],
)
@click.argument("agent", type=AGENT)
@click.argument("text", required=False, default="")
@click.option("-m", "--message", default="", metavar="TEXT", help="The message.")
@click.option("--stdin", is_flag=True, help="Read the message from standard input.")
@click.option("--now", is_flag=True, help="Urgent: delivered first, and during a round if the town is configured so.")
@click.option(
    "--mode", type=click.Choice(["wait-idle", "queue", "immediate"]), default="wait-idle", help="immediate is --now."
)
@click.option("--priority", type=click.Choice(["normal", "urgent"]), default="normal", help="urgent is --now.")
@click.option("-f", "--force", "--if-fresh", "force", is_flag=True, help="Has no effect: every agent can be nudged.")
@no_start_option
@pass_cli_context
def nudge(
    context: CliContext, agent: str, text: str, message: str, stdin: bool, now: bool, mode: str, priority: str, force: bool,
    no_start: bool,
) -> None:  # fmt: skip
    """Send AGENT the message TEXT (- reads standard input); an idle agent reads it at once."""
    words = read_text("-" if stdin else message or text).strip()
    if not words:
        raise UsageError("expected a message, got an empty text")
    now = now or mode == "immediate" or priority == "urgent"
    with context.open_town() as town:
        name = find_recipient(town, agent)
        sent = town.run(
            town.operations.send(
                name, Informational(summary=words), sender=town.caller.address, priority="urgent" if now else "high"
            )
        )
        start_where_needed(context, town, may_start=not no_start)
    context.emit({"message_id": sent.message_id, "to": sent.to}, f"sent to {sent.to}")


@click.command(cls=TownCommand, examples=["tt peek worker", "tt peek worker 100"], scope="town.read")
@click.argument("agent", required=False, type=AGENT, default="")
@click.argument("count", required=False, type=click.IntRange(1, 1000))
@click.option(
    "-n", "--lines", type=click.IntRange(1, 1000), default=20, show_default=True, help="The maximum number of lines."
)
@pass_cli_context
def peek(context: CliContext, agent: str, count: int | None, lines: int) -> None:
    """Show the last COUNT lines that AGENT reported, on any machine. tt logs shows its full output on this one."""
    lines = count or lines
    with context.open_town() as town:
        word = agent or town.caller.agent
        if not word:
            raise UsageError("expected an agent", hint="tt list shows them")
        shown = find_agent(town, word)
        events = town.run(town.operations.latest_events(_EVENTS))
    reports = [event for event in events if isinstance(event, AgentReported) and event.agent == shown.name][-lines:]
    context.emit(
        {
            "agent": shown.name,
            "state": shown.state,
            "task": shown.current_task,
            "lines": [{"at": event.at, "text": event.text, "task": event.task} for event in reports],
        },
        [f"{shown.name} is {shown.state}", *(f"{event.at[11:19]}  {event.text}" for event in reports)],
    )


@click.command(
    cls=TownCommand,
    examples=[
        "tt escalate 'the staging key has expired'",
        "tt escalate 'main is broken' -s critical",
        "tt escalate list",
    ],
)
@click.argument("text", metavar="TEXT|list", required=False, default="")
@click.option(
    "-s",
    "--severity",
    type=click.Choice([*_SEVERITIES], case_sensitive=False),
    default="high",
    show_default=True,
    help="The severity.",
)
@click.option("-r", "-m", "--reason", "reason", default="", metavar="TEXT", help="More about it.")
@click.option("--stdin", is_flag=True, help="Read the reason from standard input.")
@click.option(
    "--related", default="", metavar="TASK", help="The task that it is about.  [default: the one of this round]"
)
@click.option("--source", default="", help="Where it comes from.")
@pass_cli_context
def escalate(
    context: CliContext, text: str, severity: str, reason: str, stdin: bool, related: str, source: str
) -> None:
    """Ask a person for help with TEXT (- reads standard input), or list what is open. A round's task is named."""
    if text == "list":
        _list_escalations(context)
        return
    more = read_text("-" if stdin else reason).strip()
    words = "\n\n".join(part for part in (read_text(text).strip(), more) if part)
    if not words:
        raise UsageError("expected a question, got an empty text")
    with context.open_town() as town:
        task_id = related or town.caller.task_id
        details = [f"task {task_id}"] * bool(task_id) + [f"from {source}"] * bool(source)
        about = f" ({', '.join(details)})" if details else ""
        question = Query(question=f"[{severity}] {words}{about}")
        sent, _ = town.run_all(
            [
                town.operations.send(
                    "supervisor", question, sender=town.caller.address, priority=_SEVERITIES[severity]
                ),
                town.operations.emit(
                    "escalated",
                    {"agent": town.caller.agent_name, "severity": severity, "text": words, "task": task_id},
                ),
            ]
        )
    context.emit(
        {"message_id": sent.message_id, "severity": severity, "task": task_id or None},
        "escalated to a person (tt inbox shows it, tt send answers)",
    )


def _list_escalations(context: CliContext) -> None:
    """The escalations among the supervisor's mail."""
    with context.open_town() as town:
        entries = town.run(town.operations.peek("supervisor", limit=1000)).messages
    rows: list[dict[str, str]] = []
    for entry in entries:
        match = _ESCALATED.match(entry.message.text) if entry.message else None
        if entry.message and match:
            message = entry.message
            row = {"message_id": message.id, "severity": match[1], "from": message.sender, "at": message.created_at}
            rows.append({**row, "text": match[2]})
    lines = [
        f"{row['message_id'][:8]}  {row['severity']:8}  {row['from']}: {row['text'].partition(chr(10))[0]}"
        for row in rows
    ]
    context.emit({"escalations": rows}, lines or "no open escalations")
