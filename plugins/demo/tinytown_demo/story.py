"""What happens in the demo, told in a line each: which events are worth one, and in which words. Pure."""

from __future__ import annotations

from tinytown.model.events import (
    AgentReported,
    AgentSpawned,
    AgentStateChanged,
    Event,
    MessageDead,
    MessageSent,
    PluginReported,
    RoundEnded,
    TaskStateChanged,
)
from tinytown.model.text import shown

_TEXT_LENGTH = 160

_SAYS = {
    "query": "asks",
    "informational": "tells",
    "confirmation": "confirms to",
    "task": "gives an order to",
    "other": "writes to",
}


def line_of(event: Event, text: str) -> str | None:
    """The line that an event deserves, if any; `text` is the message or the result that it is about."""
    match event:
        case AgentSpawned():
            line = f"{event.agent} joins the town"
        case AgentStateChanged(new="error"):
            line = f"{event.agent} cannot go on: {event.reason or 'no reason given'}"
        case TaskStateChanged():
            return _task_line(event, text)
        case MessageSent():
            line = f"{event.sender} {_SAYS.get(event.category, 'writes to')} {event.recipient}" + _told(text)
        case MessageDead():
            line = f"a message to {event.agent} was given up: {event.reason}"
        case AgentReported():
            line = f"{event.agent}: {event.text}"
        case RoundEnded() if event.outcome != "finished":
            line = f"a round of {event.agent} ended as {event.outcome}" + _told(event.reason)
        case PluginReported():
            line = f"plugin {event.plugin}: {event.text}"
        case _:
            return None
    return shown(line, 2 * _TEXT_LENGTH)


def rejections(events: list[Event]) -> list[TaskStateChanged]:
    """The moments at which a completed task was opened again."""
    return [event for event in events if isinstance(event, TaskStateChanged) and event.old == "completed"]


def _task_line(event: TaskStateChanged, text: str) -> str | None:
    if event.old == "completed":
        line = f"task {event.task} goes back to {event.agent or 'the backlog'}" + _told(event.reason)
    elif event.new == "running":
        line = f"{event.agent} begins with task {event.task}: {event.title}"
    elif event.new == "completed":
        line = f"{event.agent} completes task {event.task}" + _told(text)
    elif event.old == "running" and event.new == "blocked":
        line = f"task {event.task} waits" + _told(event.reason)
    elif event.new in ("failed", "cancelled"):
        line = f"task {event.task} is {event.new}" + _told(event.reason)
    else:
        return None
    return shown(line, 2 * _TEXT_LENGTH)


def _told(text: str | None) -> str:
    return f": {shown(text, _TEXT_LENGTH)}" if text else ""
