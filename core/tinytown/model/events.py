"""Everything that can happen in a town, as one tagged union. Pure; who writes and reads events is not known here.

Events are written by the server-side functions in the same atomic step as the change they report, so none is missing
and none is written twice. Their JSON has at least ``type`` and ``at``. A type that this version does not know is kept as
`OtherEvent`, so plugins and newer kernels may add their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec

from tinytown.model.time import rfc3339


class Happening(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """What all events share: ``id``, the position in the event stream, and ``at``, RFC 3339 in UTC by the server's clock."""

    id: str
    at: str

    @property
    def type(self) -> str:
        return str(self.__struct_config__.tag)


class AgentSpawned(Happening, frozen=True, kw_only=True, tag="agent_spawned"):
    """An agent was added to the town."""

    agent: str
    cli: str = ""
    role: str | None = None
    parent: str | None = None


class AgentDesiredStateChanged(Happening, frozen=True, kw_only=True, tag="agent_desired_state_changed"):
    """The desired state of an agent was set: running, paused, drained or stopped."""

    agent: str
    desired_state: str
    reason: str | None = None


class AgentStateChanged(Happening, frozen=True, kw_only=True, tag="agent_state_changed"):
    """An agent went from one state to another, while its desired state was ``desired_state``."""

    agent: str
    old: str
    new: str
    desired_state: str | None = None
    reason: str | None = None
    task: str | None = None


class AgentRemoved(Happening, frozen=True, kw_only=True, tag="agent_removed"):
    """An agent was taken out of the town."""

    agent: str


class AgentReclaimed(Happening, frozen=True, kw_only=True, tag="agent_reclaimed"):
    """What an agent had was given to another (``receiver``) or put onto the backlog."""

    agent: str
    tasks: int
    messages: int
    receiver: str | None = None


class AgentReported(Happening, frozen=True, kw_only=True, tag="agent_reported"):
    """A line that an agent's backend reported from inside a round, shortened for screens."""

    agent: str
    text: str
    task: str | None = None
    round_id: str | None = None


class AgentActivity(Happening, frozen=True, kw_only=True, tag="agent_activity"):
    """What an agent does inside a round: ``kind`` (text, tool_call, plan, diff), in one line, and as JSON if it is short."""

    agent: str
    kind: str
    text: str
    data: str | None = None
    task: str | None = None
    round_id: str | None = None


class MessageSent(Happening, frozen=True, kw_only=True, tag="message_sent"):
    """A message was put into a mailbox."""

    message: str
    sender: str
    recipient: str
    category: str = ""
    priority: str = ""


class MessageDead(Happening, frozen=True, kw_only=True, tag="message_dead"):
    """A message became a dead letter."""

    message: str
    agent: str
    reason: str = ""


class MessageRedriven(Happening, frozen=True, kw_only=True, tag="message_redriven"):
    """A dead letter was put back into its mailbox."""

    message: str
    agent: str


class TaskAdded(Happening, frozen=True, kw_only=True, tag="task_added"):
    """A task was made."""

    task: str
    state: str
    title: str = ""
    agent: str | None = None


class TaskUpdated(Happening, frozen=True, kw_only=True, tag="task_updated"):
    """A task was edited: its text, priority, tags or needs."""

    task: str
    title: str = ""


class TaskStateChanged(Happening, frozen=True, kw_only=True, tag="task_state_changed"):
    """A task went from one state to another."""

    task: str
    old: str
    new: str
    agent: str | None = None
    reason: str | None = None
    title: str = ""


class TaskDeleted(Happening, frozen=True, kw_only=True, tag="task_deleted"):
    """A task was deleted by a user."""

    task: str
    title: str = ""


class RoundStarted(Happening, frozen=True, kw_only=True, tag="round_started"):
    """An agent began to work on a batch of its mail."""

    agent: str
    round_id: str
    task: str | None = None


class RoundEnded(Happening, frozen=True, kw_only=True, tag="round_ended"):
    """A round's outcome was stored and its mail settled."""

    agent: str
    round_id: str
    outcome: str
    task: str | None = None
    reason: str | None = None
    duration_ms: int | None = None


class HostJoined(Happening, frozen=True, kw_only=True, tag="host_joined"):
    """A kernel registered in the town."""

    host: str


class HostLeft(Happening, frozen=True, kw_only=True, tag="host_left"):
    """A kernel deregistered, or its lease expired (`reason`)."""

    host: str
    reason: str = ""


class AccountParked(Happening, frozen=True, kw_only=True, tag="account_parked"):
    """A vendor throttled an account: none of its agents begins a round before ``until`` (RFC 3339 in UTC)."""

    account: str
    until: str
    reason: str | None = None


class AccountUnparked(Happening, frozen=True, kw_only=True, tag="account_unparked"):
    """The agents of an account may work again: its time is over, or a user ended it (`reason`)."""

    account: str
    reason: str | None = None


class HostFroze(Happening, frozen=True, kw_only=True, tag="host_froze"):
    """A kernel has frozen the commands that it runs, because the town is frozen."""

    host: str
    commands: int


class TownFrozen(Happening, frozen=True, kw_only=True, tag="town_frozen"):
    """The town was frozen: nothing runs and nothing starts until it is thawed."""

    reason: str = ""


class TownThawed(Happening, frozen=True, kw_only=True, tag="town_thawed"):
    """The town was thawed."""

    reason: str = ""


class BudgetSpent(Happening, frozen=True, kw_only=True, tag="budget_spent"):
    """A budget was used up: no round starts on it. ``spent`` and ``limit`` are in dollars or tokens, by its name."""

    budget: str
    spent: float
    limit: float
    agent: str | None = None
    task: str | None = None


class BudgetsChanged(Happening, frozen=True, kw_only=True, tag="budgets_changed"):
    """The town's budgets were set; ``changed`` names those that changed."""

    changed: str


class PluginReported(Happening, frozen=True, kw_only=True, tag="plugin_reported"):
    """A plugin failed, was isolated, or missed events."""

    plugin: str
    text: str


class SinkGap(Happening, frozen=True, kw_only=True, tag="sink_gap"):
    """Events between the ids ``after`` and ``before`` were removed by ``limits.events`` before ``sink`` took them."""

    sink: str
    after: str
    before: str


class PluginDataChanged(Happening, frozen=True, kw_only=True, tag="plugin_data_changed"):
    """Data of a plugin was written or removed."""

    plugin: str
    field: str


class OtherEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a type that this version does not know, with its members as text."""

    id: str
    at: str
    type: str
    fields: dict[str, str] = msgspec.field(default_factory=dict[str, str])


_AgentEvent: TypeAlias = (
    AgentSpawned
    | AgentDesiredStateChanged
    | AgentStateChanged
    | AgentRemoved
    | AgentReclaimed
    | AgentReported
    | AgentActivity
)
_MailEvent: TypeAlias = MessageSent | MessageDead | MessageRedriven
_TaskEvent: TypeAlias = TaskAdded | TaskUpdated | TaskStateChanged | TaskDeleted | RoundStarted | RoundEnded
_TownEvent: TypeAlias = HostJoined | HostLeft | HostFroze | TownFrozen | TownThawed
_SpendingEvent: TypeAlias = AccountParked | AccountUnparked | BudgetSpent | BudgetsChanged
_PluginEvent: TypeAlias = PluginReported | SinkGap | PluginDataChanged
KnownEvent: TypeAlias = _AgentEvent | _MailEvent | _TaskEvent | _TownEvent | _SpendingEvent | _PluginEvent
Event: TypeAlias = KnownEvent | OtherEvent

_KINDS: dict[str, Any] = {str(kind.__struct_config__.tag): kind for kind in KnownEvent.__args__}
EVENT_TYPES: tuple[str, ...] = tuple(_KINDS)


def read_event(stream_id: str, fields: Mapping[str, str]) -> Event:
    """The event that an entry of the event stream holds; one that does not fit its type comes back as `OtherEvent`."""
    at = rfc3339(int(stream_id.partition("-")[0]))
    type_ = fields.get("type", "")
    members = {name: text for name, text in fields.items() if name != "type" and text != ""}
    if type_ in _KINDS:
        with suppress(msgspec.ValidationError):
            whole = {"type": type_, "id": stream_id, "at": at, **members}
            event: Event = msgspec.convert(whole, _KINDS[type_], strict=False)
            return event
    return OtherEvent(id=stream_id, at=at, type=type_, fields=members)


def event_fields(event: Event) -> dict[str, Any]:
    """The flat object that an event is in JSON, ready for `msgspec.json.encode`."""
    if isinstance(event, OtherEvent):
        return {"type": event.type, "id": event.id, "at": event.at, **event.fields}
    fields: dict[str, Any] = msgspec.to_builtins(event)
    for old, name in (("run", "round_id"), ("wanted", "desired_state")):  # for one release
        if name in fields:
            fields[old] = fields[name]
    return fields
