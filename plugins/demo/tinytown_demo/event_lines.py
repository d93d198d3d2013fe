"""The events of the demo as lines for people. Pure."""

from __future__ import annotations

from tinytown.model.events import (
    AgentReported,
    AgentSpawned,
    AgentStateChanged,
    Event,
    MessageDead,
    MessageSent,
    OtherEvent,
    PluginReported,
    RoundEnded,
    TaskStateChanged,
)
from tinytown.model.text import shown

_TEXT_LENGTH = 160

_SENDS = {
    "query": "asks",
    "informational": "informs",
    "confirmation": "confirms to",
    "task": "requests work from",
    "other": "writes to",
}


def event_line(event: Event, text: str) -> str | None:
    """The line for an event; None for events that are not shown. `text` is the message or the result that it concerns."""
    match event:
        case AgentSpawned():
            line = f"{event.agent} joins the town"
        case AgentStateChanged(new="error"):
            line = f"{event.agent} failed: {event.reason or 'no reason given'}"
        case TaskStateChanged():
            return _task_line(event, text)
        case MessageSent():
            line = f"{event.sender} {_SENDS.get(event.category, 'writes to')} {event.recipient}" + _suffix(text)
        case MessageDead():
            line = f"a message to {event.agent} became a dead letter: {event.reason}"
        case AgentReported():
            line = f"{event.agent}: {event.text}"
        case RoundEnded() if event.outcome != "finished":
            line = f"a round of {event.agent} ended: {event.outcome}" + _suffix(event.reason)
        case OtherEvent(type="git_merged", fields=fields):
            line = f"the queue merges the work of {fields.get('agent')} on task {fields.get('task')} into {fields.get('branch')}"
        case OtherEvent(type="git_refused", fields=fields):
            line = f"task {fields.get('task')} goes back to {fields.get('agent')}" + _suffix(fields.get("reason"))
        case PluginReported():
            line = f"plugin {event.plugin}: {event.text}"
        case _:
            return None
    return shown(line, 2 * _TEXT_LENGTH)


def rejections(events: list[Event]) -> list[TaskStateChanged]:
    """The events by which a completed task was reopened."""
    return [event for event in events if isinstance(event, TaskStateChanged) and event.old == "completed"]


def _task_line(event: TaskStateChanged, text: str) -> str | None:
    if event.old == "completed":
        line = f"task {event.task} returns to {event.agent or 'the backlog'}" + _suffix(event.reason)
    elif event.new == "running":
        line = f"{event.agent} starts task {event.task}: {event.title}"
    elif event.new == "completed":
        line = f"{event.agent} completes task {event.task}" + _suffix(text)
    elif event.old == "running" and event.new == "blocked":
        line = f"task {event.task} is blocked" + _suffix(event.reason)
    elif event.new in ("failed", "cancelled"):
        line = f"task {event.task} is {event.new}" + _suffix(event.reason)
    else:
        return None
    return shown(line, 2 * _TEXT_LENGTH)


def _suffix(text: str | None) -> str:
    return f": {shown(text, _TEXT_LENGTH)}" if text else ""
