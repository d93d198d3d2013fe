"""Each kind of event as one line of text for people."""

from __future__ import annotations

from tinytown.model.events import (
    AccountParked,
    AccountUnparked,
    AgentDesiredStateChanged,
    AgentReclaimed,
    AgentRemoved,
    AgentReported,
    AgentSpawned,
    AgentStateChanged,
    BudgetsChanged,
    BudgetSpent,
    Event,
    HostFroze,
    HostJoined,
    HostLeft,
    MessageDead,
    MessageRedriven,
    MessageSent,
    OtherEvent,
    PluginDataChanged,
    PluginReported,
    RoundEnded,
    RoundStarted,
    TaskAdded,
    TaskDeleted,
    TaskStateChanged,
    TaskUpdated,
    TownFrozen,
    TownThawed,
)
from tinytown.model.text import counted, shown

_WIDTH = 160
_TITLE = 60


def describe(event: Event) -> str:
    """What happened, in one short line."""
    match event:
        case AgentSpawned():
            text = f"{event.agent} joined (kind {event.cli})"
        case AgentDesiredStateChanged():
            text = f"{event.agent} is wanted {event.desired_state}{_why(event.reason)}"
        case AgentStateChanged():
            moved = "" if event.old == event.new else f"{event.old} -> "
            text = f"{event.agent}: {moved}{event.new}{_why(event.reason)}"
        case AgentRemoved():
            text = f"{event.agent} was removed"
        case AgentReported():
            text = f"{event.agent} | {event.text}"
        case MessageSent():
            urgency = f"{event.priority} " if event.priority not in ("", "normal") else ""
            text = f"{event.sender} -> {event.recipient}: {urgency}{event.category} {event.message[:8]}"
        case MessageDead():
            text = f"message {event.message[:8]} to {event.agent} is a dead letter{_why(event.reason)}"
        case MessageRedriven():
            text = f"message {event.message[:8]} goes to {event.agent} again"
        case TaskAdded():
            text = f"task {event.task[:8]} is new: {shown(event.title, _TITLE)}"
        case TaskUpdated():
            text = f"task {event.task[:8]} says something else now: {shown(event.title, _TITLE)}"
        case TaskStateChanged():
            who = f", {event.agent}" if event.agent else ""
            text = f"task {event.task[:8]} {event.old} -> {event.new}{who}: {shown(event.title, _TITLE)}{_why(event.reason)}"
        case RoundStarted():
            text = f"{event.agent} begins a round" + (f" on task {event.task[:8]}" if event.task else "")
        case RoundEnded():
            took = "" if event.duration_ms is None else f" after {event.duration_ms / 1000:.1f} s"
            text = f"{event.agent} ends a round: {event.outcome}{took}{_why(event.reason)}"
        case HostJoined():
            text = f"a kernel on {event.host} joined"
        case HostLeft():
            text = f"the kernel on {event.host} left{_why(event.reason)}"
        case AgentReclaimed():
            where = event.receiver or "the backlog"
            text = f"{counted(event.tasks, 'task')} and {counted(event.messages, 'message')} of {event.agent} went to {where}"
        case TaskDeleted():
            text = f"task {event.task[:8]} was deleted: {shown(event.title, _TITLE)}"
        case HostFroze():
            text = f"the kernel on {event.host} has frozen {counted(event.commands, 'command')}"
        case TownFrozen():
            text = f"the town is frozen{_why(event.reason)}"
        case TownThawed():
            text = f"the town goes on{_why(event.reason)}"
        case AccountParked():
            text = f"account {event.account} is parked until {event.until}{_why(event.reason)}"
        case AccountUnparked():
            text = f"account {event.account} is free{_why(event.reason)}"
        case BudgetSpent():
            whose = event.agent or (event.task and f"task {event.task[:8]}")
            text = (
                f"budget {event.budget}{f' of {whose}' if whose else ''} is spent: {event.spent:g} of {event.limit:g}"
            )
        case BudgetsChanged():
            text = f"budgets have changed: {event.changed}"
        case PluginReported():
            text = f"plugin {event.plugin}: {event.text}"
        case PluginDataChanged():
            text = f"plugin {event.plugin} keeps something else now: {event.field}"
        case OtherEvent():
            text = f"{event.type} " + " ".join(f"{name}={value}" for name, value in event.fields.items())
    return shown(text, _WIDTH)


def _why(reason: str | None) -> str:
    return f" ({reason})" if reason else ""
