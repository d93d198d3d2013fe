"""``tt events``, and each kind of event as a line for people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from tinytown.cli.arguments import AGENT, TASK
from tinytown.cli.frame import TownCommand
from tinytown.cli.invocation import Invocation, pass_invocation
from tinytown.cli.shapes import event_shape
from tinytown.cli.town_link import TownLink, open_town_link
from tinytown.events import (
    AgentRemoved,
    AgentReported,
    AgentSpawned,
    AgentStateChanged,
    AgentWanted,
    Event,
    HostJoined,
    HostLeft,
    MessageDead,
    MessageRedriven,
    MessageSent,
    OtherEvent,
    PluginReported,
    RoundEnded,
    RoundStarted,
    TaskAdded,
    TaskStateChanged,
    TaskUpdated,
    event_fields,
)
from tinytown.names import shown

#: Looking for a filtered event further back, this many times more events are read at each step.
_STRIDE = 20

_WIDTH = 160
_TITLE = 60


@click.command(
    cls=TownCommand,
    examples=[
        "tt events",
        "tt events -c 100 --agent worker",
        "tt events --follow --type task_state_changed --json",
    ],
)
@click.option(
    "-c", "--count", type=click.IntRange(0, 100_000), default=20, show_default=True, help="The newest so many."
)
@click.option("-f", "--follow", is_flag=True, help="Then go on with what happens, until Ctrl-C.")
@click.option("--agent", type=AGENT, metavar="AGENT", help="Only what concerns this agent.")
@click.option("--task", type=TASK, metavar="TASK", help="Only what concerns this task.")
@click.option("--type", "type_", metavar="TYPE", help="Only events of this type, such as task_state_changed.")
@pass_invocation
def events(
    invocation: Invocation, count: int, follow: bool, agent: str | None, task: str | None, type_: str | None
) -> None:
    """What happened in the town, the oldest first; with --json one JSON object a line."""
    with open_town_link(invocation) as town:
        fits = _filter(town, agent, task, type_)
        cursor = town.cursor() if follow else ""
        for event in _newest(town, count, fits, unfiltered=not (agent or task or type_)):
            _print(invocation, event)
            cursor = event.id if _position(event.id) > _position(cursor) else cursor
        if follow:
            for batch in town.follow(cursor):
                for event in batch:
                    if fits(event):
                        _print(invocation, event)


def _newest(town: TownLink, count: int, fits: Callable[[Event], bool], *, unfiltered: bool) -> tuple[Event, ...]:
    """The newest `count` events that fit. What lies further back is read only if the newest do not suffice."""
    if count == 0:
        return ()
    read = count if unfiltered else count * _STRIDE
    while True:
        some = town.run(town.calls.latest_events(read))
        fitting = tuple(event for event in some if fits(event))
        if len(fitting) >= count or len(some) < read:
            return fitting[-count:]
        read *= _STRIDE


def _filter(town: TownLink, agent: str | None, task: str | None, type_: str | None) -> Callable[[Event], bool]:
    wanted: list[tuple[tuple[str, ...], str]] = []
    if agent is not None:
        wanted.append((("agent", "sender", "recipient"), town.run(town.calls.agent(agent)).name))
    if task is not None:
        wanted.append((("task",), town.run(town.calls.task(task)).id))
    if type_ is not None:
        wanted.append((("type",), type_))

    def fits(event: Event) -> bool:
        fields: dict[str, Any] = event_fields(event) if wanted else {}
        return all(any(fields.get(member) == value for member in members) for members, value in wanted)

    return fits


def _position(stream_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in stream_id.split("-")) if stream_id else ()


def _print(invocation: Invocation, event: Event) -> None:
    clock = datetime.fromisoformat(event.at).astimezone()
    invocation.answer(event_shape(event), f"{clock:%H:%M:%S}  {describe(event)}")


def describe(event: Event) -> str:
    """What happened, in one short line."""
    match event:
        case AgentSpawned():
            text = f"{event.agent} joined (kind {event.cli})"
        case AgentWanted():
            text = f"{event.agent} is wanted {event.wanted}{_why(event.reason)}"
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
        case PluginReported():
            text = f"plugin {event.plugin}: {event.text}"
        case OtherEvent():
            text = f"{event.type} " + " ".join(f"{name}={value}" for name, value in event.fields.items())
    return shown(text, _WIDTH)


def _why(reason: str | None) -> str:
    return f" ({reason})" if reason else ""
