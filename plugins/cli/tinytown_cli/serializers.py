"""Records as JSON, the same for every command; ``docs/reference/json.md`` describes each. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from tinytown.model.agents import Agent
from tinytown.model.messages import Message, Unknown
from tinytown.model.results import Freeze, Host, MailboxEntry
from tinytown.model.tasks import Task

if TYPE_CHECKING:
    from tinytown.model.events import Event

    from tinytown_cli.administration import DeadLetter

_ENVELOPE_NAMES = frozenset({"id", "from", "to", "priority", "created_at", "correlation_id"})
_OLD_EVENT_MEMBERS = {"wanted": "desired_state", "run": "round_id"}


def deprecated(**members: Any) -> dict[str, Any]:
    """Members under the names that they had in the previous release. They are removed in the next one."""
    return members


def agent_shape(agent: Agent) -> dict[str, Any]:
    """An agent, without the token of its lease."""
    return {
        "name": agent.name,
        "id": agent.id,
        "cli": agent.cli,
        "account": agent.account or agent.cli,
        "role": agent.role,
        "nickname": agent.nickname,
        "desired_state": agent.desired_state,
        **deprecated(wanted=agent.desired_state),
        "state": agent.state,
        "reason": agent.reason,
        "since": agent.since,
        "current_task": agent.current_task,
        "inbox": msgspec.to_builtins(agent.mail),
        "rounds_completed": agent.rounds_completed,
        "tasks_completed": agent.tasks_completed,
        "open_tasks": agent.open_tasks,
        "parent": agent.parent,
        "tags": agent.tags,
        "labels": agent.labels,
        "max_rounds": agent.max_rounds,
        "failures": agent.failures,
        "host": agent.host,
        "created_at": agent.created_at,
    }


def task_shape(task: Task) -> dict[str, Any]:
    """A task, without the token of its round."""
    shape: dict[str, Any] = msgspec.to_builtins(task)
    del shape["token"]
    return {**shape, **deprecated(run_id=task.round_id)}


def message_fields(message: Message) -> dict[str, Any]:
    """The flat object that a message is in JSON, ready for `msgspec.json.encode`."""
    if isinstance(message.body, Unknown):
        fields: dict[str, Any] = msgspec.json.decode(message.body.raw)
    else:
        fields = msgspec.to_builtins(message.body)
    return {
        "id": message.id,
        "from": message.sender,
        "to": message.recipient,
        **{name: value for name, value in fields.items() if name not in _ENVELOPE_NAMES},
        "priority": message.priority,
        "created_at": message.created_at,
        "correlation_id": message.correlation_id,
    }


def mailbox_entry_shape(entry: MailboxEntry) -> dict[str, Any]:
    """A message in a mailbox. One that cannot be decoded has its bytes in ``raw`` and no other members of a message."""
    if entry.message is None:
        message: dict[str, Any] = {"id": None, "raw": entry.raw.decode("utf-8", "replace")}
    else:
        message = message_fields(entry.message)
    return {**message, "place": entry.place, "deliveries": entry.deliveries, "until": entry.until}


def dead_letter_shape(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter. If it cannot be decoded, ``message`` is null and ``raw`` has its bytes."""
    message = letter.message
    return {
        "id": letter.id,
        "agent": letter.agent,
        "reason": letter.reason,
        "at": letter.at,
        "deliveries": letter.deliveries,
        "message": None if message is None else message_fields(message),
        "raw": letter.raw.decode("utf-8", "replace") if message is None else None,
    }


def host_shape(host: Host) -> dict[str, Any]:
    """A kernel of the town."""
    return {
        "id": host.id,
        "name": host.name,
        "pid": host.pid,
        "version": host.version,
        "joined_at": host.joined_at,
        "capacity": host.capacity,
        "machine": host.machine,
        "root": host.root,
        "backends": host.backends,
        "labels": host.labels,
        "frozen": host.frozen,
        "trouble": host.trouble or None,
    }


def freeze_shape(freeze: Freeze | None) -> dict[str, Any] | None:
    """Since when a town is frozen, and why; null if it is not."""
    return None if freeze is None else {"since": freeze.since, "reason": freeze.reason}


def event_shape(event: Event) -> dict[str, Any]:
    """An event: ``type``, ``at``, ``id``, and the members of its type."""
    from tinytown.model.events import event_fields  # late: quick commands show none

    fields = event_fields(event)
    for old, new in _OLD_EVENT_MEMBERS.items():
        if new in fields:
            fields |= deprecated(**{old: fields[new]})
    return {"type": fields.pop("type"), "at": fields.pop("at"), **fields}
