"""``tt nudge``, ``tt peek`` and ``tt escalate``: messages to agents and people, and the reports of an agent."""

from __future__ import annotations

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

_SEVERITIES: dict[str, Priority] = {"critical": "urgent", "high": "high", "medium": "normal", "low": "low"}
_EVENTS = 5000


@click.command(
    cls=TownCommand, examples=["tt nudge worker 'the fix is on main now'", "tt nudge worker 'stop and rebase' --now"]
)
@click.argument("agent", type=AGENT)
@click.argument("text")
@click.option("--now", is_flag=True, help="Urgent: delivered first, and during a round if the town is configured so.")
@no_start_option
@pass_cli_context
def nudge(context: CliContext, agent: str, text: str, now: bool, no_start: bool) -> None:
    """Send AGENT the message TEXT (- reads standard input); an idle agent reads it at once."""
    words = read_text(text).strip()
    if not words:
        raise UsageError("expected a message, got an empty text")
    with context.open_town() as town:
        name = town.run(town.operations.agent(agent)).name
        sent = town.run(
            town.operations.send(
                name, Informational(summary=words), sender=town.caller.address, priority="urgent" if now else "high"
            )
        )
        start_where_needed(context, town, may_start=not no_start)
    context.emit({"message_id": sent.message_id, "to": sent.to}, f"sent to {sent.to}")


@click.command(cls=TownCommand, examples=["tt peek worker", "tt peek worker -n 100"])
@click.argument("agent", required=False, type=AGENT, default="")
@click.option(
    "-n", "--lines", type=click.IntRange(1, 1000), default=20, show_default=True, help="The maximum number of lines."
)
@pass_cli_context
def peek(context: CliContext, agent: str, lines: int) -> None:
    """Show the last lines that AGENT reported, on any machine. tt logs shows its full output on this one."""
    with context.open_town() as town:
        word = agent or town.caller.agent
        if not word:
            raise UsageError("expected an agent", hint="tt list shows them")
        shown = town.run(town.operations.agent(word))
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
    examples=["tt escalate 'the staging key has expired'", "tt escalate 'main is broken' --severity critical"],
)
@click.argument("text")
@click.option(
    "-s", "--severity", type=click.Choice([*_SEVERITIES]), default="high", show_default=True, help="The severity."
)
@pass_cli_context
def escalate(context: CliContext, text: str, severity: str) -> None:
    """Ask a person for help with TEXT (- reads standard input). Inside a round its task is named."""
    words = read_text(text).strip()
    if not words:
        raise UsageError("expected a question, got an empty text")
    with context.open_town() as town:
        about = f" (task {town.caller.task_id})" if town.caller.task_id else ""
        question = Query(question=f"[{severity}] {words}{about}")
        sent, _ = town.run_all(
            [
                town.operations.send(
                    "supervisor", question, sender=town.caller.address, priority=_SEVERITIES[severity]
                ),
                town.operations.emit(
                    "escalated",
                    {
                        "agent": town.caller.agent_name,
                        "severity": severity,
                        "text": words,
                        "task": town.caller.task_id,
                    },
                ),
            ]
        )
    context.emit(
        {"message_id": sent.message_id, "severity": severity, "task": town.caller.task_id or None},
        "escalated to a person (tt inbox shows it, tt send answers)",
    )
