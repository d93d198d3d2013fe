"""What records look like in JSON, for every command alike; ``docs/reference/json.md`` describes each. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from tinytown.model.agents import Agent
from tinytown.model.events import Event, event_fields
from tinytown.model.messages import message_fields
from tinytown.model.results import DeadLetter, Freeze, Host, MailboxEntry
from tinytown.model.tasks import Task


def agent_shape(agent: Agent) -> dict[str, Any]:
    """An agent. Its lease's token stays on the server."""
    return {
        "name": agent.name,
        "id": agent.id,
        "cli": agent.cli,
        "account": agent.account or agent.cli,
        "role": agent.role,
        "nickname": agent.nickname,
        "desired_state": agent.desired_state,
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
    """A task. The token of its round is for the agent that has it, and for nobody else."""
    shape: dict[str, Any] = msgspec.to_builtins(task)
    del shape["token"]
    return shape


def lying_shape(lying: MailboxEntry) -> dict[str, Any]:
    """A message as it lies in a mailbox. One that cannot be decoded has its bytes in ``raw`` and no other members."""
    if lying.message is None:
        told: dict[str, Any] = {"id": None, "raw": lying.raw.decode("utf-8", "replace")}
    else:
        told = message_fields(lying.message)
    return {**told, "place": lying.place, "deliveries": lying.deliveries, "until": lying.until}


def letter_shape(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter; ``message`` is null and ``raw`` its bytes when it cannot be decoded."""
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
    """A kernel that takes part in the town."""
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
    }


def freeze_shape(freeze: Freeze | None) -> dict[str, Any] | None:
    """Since when a town is frozen, and why; null for one that is not."""
    return None if freeze is None else {"since": freeze.since, "reason": freeze.reason}


def event_shape(event: Event) -> dict[str, Any]:
    """An event: ``type``, ``at``, ``id``, and the members of its type."""
    fields = event_fields(event)
    return {"type": fields.pop("type"), "at": fields.pop("at"), **fields}
