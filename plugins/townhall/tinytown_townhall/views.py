"""What is answered: frozen structs, from which the OpenAPI document has its schemas. Pure.

Agents, tasks and hosts have the members that ``tt --json`` gives them: their shapes are made by the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from tinytown.model.agents import Agent, MailCounts
from tinytown.model.messages import Message, TaskAssign
from tinytown.model.results import Freeze, Host, MailboxEntry
from tinytown.model.tasks import Task
from tinytown_cli.administration import DeadLetter
from tinytown_cli.public import agent_shape, host_shape, task_shape


class AgentView(msgspec.Struct, frozen=True, kw_only=True):
    """An agent. `reason` and `since`: why and since when it is in its `state`."""

    name: str
    id: str
    cli: str
    account: str
    role: str | None
    nickname: str | None
    desired_state: str
    state: str
    reason: str | None
    since: str | None
    current_task: str | None
    inbox: MailCounts
    rounds_completed: int
    tasks_completed: int
    open_tasks: int
    parent: str | None
    tags: tuple[str, ...]
    labels: tuple[str, ...]
    max_rounds: int
    failures: int
    host: str | None
    created_at: str | None


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """A task in full. `reason` and `since`: why and since when it is in its `state`."""

    id: str
    description: str
    title: str
    state: str
    priority: str
    tags: tuple[str, ...]
    role: str | None
    needs: tuple[str, ...]
    open_needs: tuple[str, ...]
    parent: str | None
    assigned_to: str | None
    agent_id: str | None
    held: str | None
    held_until: str | None
    attempts: int
    round_id: str | None
    result: str | None
    reason: str | None
    rejection: str | None
    since: str | None
    created_at: str | None
    updated_at: str | None
    started_at: str | None
    completed_at: str | None
    origin: dict[str, Any] | None
    meta: dict[str, Any]


class HostView(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel of the town."""

    id: str
    name: str
    pid: int
    version: str
    joined_at: str | None
    capacity: int
    machine: str
    root: str
    backends: tuple[str, ...]
    labels: tuple[str, ...]
    frozen: int | None


class MessageView(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from", "recipient": "to"}):
    """A message. `text` is what a reader is shown. In a mailbox it has a `place`: queued, leased or delayed.

    One that cannot be decoded has no `id` and its bytes as `text`.
    """

    id: str | None
    type: str
    category: str
    sender: str
    recipient: str
    text: str
    priority: str
    created_at: str
    correlation_id: str | None = None
    task_id: str | None = None
    place: str | None = None
    deliveries: int = 0
    until: str | None = None


class DeadLetterView(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was given up, with the reason."""

    id: str
    agent: str
    reason: str
    at: str
    deliveries: int
    message: MessageView


class AgentList(msgspec.Struct, frozen=True, kw_only=True):
    """Agents, the oldest first."""

    agents: Sequence[AgentView]
    count: int


class TaskList(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks, the newest first; `next` is the cursor of the page that follows, null on the last."""

    tasks: Sequence[TaskView]
    next: str | None = None


class Inbox(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox in the order of delivery."""

    agent: str
    messages: Sequence[MessageView]


class Ids(msgspec.Struct, frozen=True, kw_only=True):
    """Ids of what was changed."""

    ids: tuple[str, ...]


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """Names of agents."""

    agents: Sequence[str]


class Reason(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why; people and agents are shown it."""

    reason: str = ""


class Waiting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long to wait at most."""

    timeout_s: Annotated[float, msgspec.Meta(ge=0, le=3_600)] = 60.0


def agent_view(agent: Agent) -> AgentView:
    """An agent, without the token of its lease."""
    return msgspec.convert(agent_shape(agent), AgentView)


def task_view(task: Task) -> TaskView:
    """A task, without the token of its round."""
    return msgspec.convert(task_shape(task), TaskView)


def host_view(host: Host) -> HostView:
    """A kernel."""
    return msgspec.convert(host_shape(host), HostView)


def message_view(message: Message | None, raw: bytes = b"", **place: Any) -> MessageView:
    """A message, or the bytes of one that cannot be decoded."""
    if message is None:
        text = raw.decode("utf-8", "replace")
        return MessageView(
            id=None, type="undecodable", category="other", sender="", recipient="", text=text, priority="", created_at="",
            **place,
        )  # fmt: skip
    body = message.body
    return MessageView(
        id=message.id,
        type=message.type,
        category=message.category,
        sender=message.sender,
        recipient=message.recipient,
        text=message.text,
        priority=message.priority,
        created_at=message.created_at,
        correlation_id=message.correlation_id,
        task_id=body.task_id if isinstance(body, TaskAssign) else None,
        **place,
    )


def entry_view(entry: MailboxEntry) -> MessageView:
    """A message as it is in a mailbox."""
    return message_view(entry.message, entry.raw, place=entry.place, deliveries=entry.deliveries, until=entry.until)


def dead_letter_view(letter: DeadLetter) -> DeadLetterView:
    """A dead letter."""
    return DeadLetterView(
        id=letter.id,
        agent=letter.agent,
        reason=letter.reason,
        at=letter.at,
        deliveries=letter.deliveries,
        message=message_view(letter.message, letter.raw),
    )


class TownStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole town in one answer. `tasks` counts them by state; `position` is that of the newest event that it saw."""

    town: str
    root: str
    version: str
    redis_url: str
    kernel_running: bool
    frozen: Freeze | None
    hosts: Sequence[HostView]
    agents: Sequence[AgentView]
    agent_count: int
    tasks: Mapping[str, int]
    backlog: int
    dead: int
    supervisor_inbox: MailCounts
    position: str
