"""Each kind of event as one line of text for people."""

from __future__ import annotations

from collections.abc import Callable

from tinytown.model.events import (
    AccountParked,
    AccountUnparked,
    AgentActivity,
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
    SinkGap,
    TaskAdded,
    TaskDeleted,
    TaskStateChanged,
    TaskUpdated,
    TownFrozen,
    TownThawed,
)
from tinytown.model.text import counted, shown

from tinytown_cli.formatting import brief_id

_WIDTH = 160
_TITLE = 60


#: Desired state -> what is requested.
_REQUESTS = {"running": "resume", "paused": "pause", "drained": "drain", "stopped": "stop"}


def describe(event: Event, plugin_text: Callable[[Event], str | None] | None = None) -> str:
    """The event in one line. `plugin_text` is called for an event of a plugin, and returns None for no opinion."""
    match event:
        case AgentSpawned():
            text = f"{event.agent} joined (kind {event.cli})"
        case AgentDesiredStateChanged():
            text = f"{_REQUESTS.get(event.desired_state, event.desired_state)} requested for {event.agent}{_why(event.reason)}"
        case AgentStateChanged():
            moved = "" if event.old == event.new else f"{event.old} -> "
            text = f"{event.agent}: {moved}{event.new}{_why(event.reason)}"
        case AgentRemoved():
            text = f"{event.agent} was removed"
        case AgentReported():
            text = f"{event.agent} | {event.text}"
        case MessageSent():
            urgency = f"{event.priority} " if event.priority not in ("", "normal") else ""
            text = f"{event.sender} -> {event.recipient}: {urgency}{event.category} {brief_id(event.message)}"
        case MessageDead():
            text = f"message {brief_id(event.message)} to {event.agent} is a dead letter{_why(event.reason)}"
        case MessageRedriven():
            text = f"message {brief_id(event.message)} was returned to {event.agent}"
        case TaskAdded():
            text = f"task {brief_id(event.task)} added: {shown(event.title, _TITLE)}"
        case TaskUpdated():
            text = f"task {brief_id(event.task)} updated: {shown(event.title, _TITLE)}"
        case TaskStateChanged():
            who = f", {event.agent}" if event.agent else ""
            moved = f"{event.old} -> {event.new}{who}"
            text = f"task {brief_id(event.task)} {moved}: {shown(event.title, _TITLE)}{_why(event.reason)}"
        case RoundStarted():
            text = f"{event.agent} started a round" + (f" on task {brief_id(event.task)}" if event.task else "")
        case RoundEnded():
            took = "" if event.duration_ms is None else f" after {event.duration_ms / 1000:.1f} s"
            text = f"{event.agent} ended a round: {event.outcome}{took}{_why(event.reason)}"
        case HostJoined():
            text = f"a kernel on {event.host} joined"
        case HostLeft():
            text = f"the kernel on {event.host} left{_why(event.reason)}"
        case AgentReclaimed():
            where = event.receiver or "the backlog"
            text = f"{counted(event.tasks, 'task')} and {counted(event.messages, 'message')} of {event.agent} moved to {where}"
        case TaskDeleted():
            text = f"task {brief_id(event.task)} deleted: {shown(event.title, _TITLE)}"
        case HostFroze():
            text = f"the kernel on {event.host} froze {counted(event.commands, 'command')}"
        case TownFrozen():
            text = f"the town is frozen{_why(event.reason)}"
        case TownThawed():
            text = f"the town is resumed{_why(event.reason)}"
        case AccountParked():
            text = f"account {event.account} is rate limited until {event.until}{_why(event.reason)}"
        case AccountUnparked():
            text = f"account {event.account} is available again{_why(event.reason)}"
        case BudgetSpent():
            whose = event.agent or (event.task and f"task {brief_id(event.task)}")
            text = (
                f"budget {event.budget}{f' of {whose}' if whose else ''} is spent: {event.spent:g} of {event.limit:g}"
            )
        case BudgetsChanged():
            text = f"budgets changed: {event.changed}"
        case PluginReported():
            text = f"plugin {event.plugin}: {event.text}"
        case SinkGap():
            text = f"{event.sink} lost the events between {event.after} and {event.before}: limits.events removed them"
        case AgentActivity():
            text = f"{event.agent}: {event.text}"
        case PluginDataChanged():
            text = f"plugin {event.plugin} changed its data: {event.field}"
        case OtherEvent():
            text = (plugin_text(event) if plugin_text else None) or f"{event.type} " + " ".join(
                f"{name}={value}" for name, value in event.fields.items()
            )
    return shown(text, _WIDTH)


def _why(reason: str | None) -> str:
    return f" ({reason})" if reason else ""
