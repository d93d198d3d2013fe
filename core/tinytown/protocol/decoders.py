"""From a reply to the result of an operation. Pure; the shapes of replies are those that the Lua functions document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tinytown.model.agents import Agent, MailCounts, read_agent
from tinytown.model.events import Event, read_event
from tinytown.model.hash_codec import pairs
from tinytown.model.messages import Message, decode_message
from tinytown.model.results import (
    Assigned,
    Batch,
    DeadLetter,
    Delivery,
    Freeze,
    Host,
    Inbox,
    MailboxEntry,
    Placement,
    Sent,
    Started,
    Status,
)
from tinytown.model.tasks import TASK_STATES, Task, read_task
from tinytown.model.time import rfc3339
from tinytown.protocol.operation import Reply


def to_text(raw: Any) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)


def to_texts(reply: Reply) -> tuple[str, ...]:
    return tuple(to_text(item) for item in reply)


def to_flags(reply: Reply) -> tuple[bool, ...]:
    return tuple(bool(item) for item in reply)


def try_message(raw: bytes) -> Message | None:
    try:
        return decode_message(raw)
    except ValueError:
        return None


def to_mail_counts(reply: Reply) -> MailCounts:
    return MailCounts(**dict(zip(MailCounts.__struct_fields__, (int(count) for count in reply), strict=True)))


def to_agent(reply: Reply) -> Agent:
    agent = read_agent(pairs(reply[0]))
    return msgspec.structs.replace(agent, mail=to_mail_counts(reply[1]))


def to_listed_agent(reply: Reply) -> Agent:
    """One of many: a record that cannot be read does not hide the others."""
    try:
        return to_agent(reply)
    except (TypeError, ValueError) as error:
        fields = pairs(reply[0])
        return Agent(
            id=fields.get("id", ""),
            name=fields.get("name", "?"),
            cli=fields.get("cli", ""),
            state="error",
            reason=f"its record cannot be read: {error}",
        )


def to_agents(reply: Reply) -> tuple[Agent, ...]:
    return tuple(to_listed_agent(item) for item in reply)


def to_placement(reply: Reply) -> Placement:
    due_ms = int(reply[0])
    return Placement(agents=to_agents(reply[1:]), due_s=float("inf") if due_ms < 0 else due_ms / 1000)


def to_task(reply: Reply) -> Task:
    return read_task(pairs(reply))


def to_tasks(reply: Reply) -> tuple[Task, ...]:
    return tuple(to_task(item) for item in reply)


def to_optional_task(reply: Reply) -> Task | None:
    return to_task(reply) if reply else None


def to_assigned(reply: Reply) -> Assigned:
    return Assigned(task=to_task(reply[0]), message_id=to_text(reply[1]) or None)


def to_optional_assigned(reply: Reply) -> Assigned | None:
    return to_assigned(reply) if reply else None


def to_started(reply: Reply) -> Started:
    return Started(stale=reply[0] == b"stale", task=to_optional_task(reply[1]), held=reply[0] == b"held")


def to_host(reply: Reply) -> Host:
    fields = pairs(reply)
    return Host(
        id=fields["id"],
        name=fields.get("name", ""),
        pid=int(fields.get("pid") or 0),
        machine=fields.get("machine", ""),
        root=fields.get("root", ""),
        joined_at=rfc3339(int(fields["joined_at"])) if fields.get("joined_at") else None,
        version=fields.get("version", ""),
        lease_until=rfc3339(int(fields["deadline"])) if fields.get("deadline") else None,
        agents=int(fields.get("agents") or 0),
        capacity=int(fields.get("capacity") or 0),
        backends=tuple(fields.get("backends", "").split()),
        labels=tuple(fields.get("labels", "").split()),
        frozen=int(fields["frozen"]) if fields.get("frozen") else None,
    )


def to_status(reply: Reply) -> Status:
    meta, counts, backlog, dead, hosts, agents, mail = reply
    by_state = pairs([to_text(item).encode() for item in counts])
    fields = pairs(meta)
    since = fields.get("frozen_at")
    return Status(
        tasks={state: int(by_state.get(state, 0)) for state in TASK_STATES},
        backlog=int(backlog),
        dead=int(dead),
        hosts=tuple(to_host(host) for host in hosts),
        agents=to_agents(agents),
        supervisor_mail=to_mail_counts(mail),
        schema=fields.get("schema", ""),
        frozen=Freeze(since=rfc3339(int(since)), reason=fields.get("frozen_why", "")) if since else None,
    )


def to_mailbox_entry(place: Any, _member: Any, deliveries: Any, body: Any, score: Any) -> MailboxEntry:
    until = None if place == b"queued" else rfc3339(int(score))
    where: Any = to_text(place)
    return MailboxEntry(place=where, deliveries=int(deliveries), until=until, raw=body, message=try_message(body))


def to_inbox(reply: Reply) -> Inbox:
    messages = tuple(to_mailbox_entry(*reply[i : i + 5]) for i in range(1, len(reply), 5))
    return Inbox(agent=to_text(reply[0]), messages=messages)


def to_dead_letters(reply: Reply) -> tuple[DeadLetter, ...]:
    letters: list[DeadLetter] = []
    for flat in reply:
        raw = {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}
        letters.append(
            DeadLetter(
                id=to_text(raw["id"]),
                agent=to_text(raw["agent"]),
                reason=to_text(raw["reason"]),
                at=rfc3339(int(raw["at"])),
                deliveries=int(raw["deliveries"]),
                raw=raw["body"],
                message=try_message(raw["body"]),
            )
        )
    return tuple(letters)


def to_events(reply: Reply) -> tuple[Event, ...]:
    return tuple(read_event(to_text(entry[0]), pairs(entry[1])) for entry in reply or ())


def to_stream_events(reply: Reply) -> tuple[Event, ...]:
    if not reply:
        return ()
    by_key: Mapping[Any, Any] = dict(reply)  # a map, or a list of pairs
    return to_events(next(iter(by_key.values())))


def to_optional_text(reply: Reply) -> str | None:
    return None if reply is None else to_text(reply)


def to_batch(token: str, reply: Reply) -> Batch:
    due = int(reply[1])
    return Batch(
        now_ms=int(reply[0]),
        next_due_ms=None if due < 0 else due,
        held=to_text(reply[2]) or None,
        waiting=reply[3:] == [1],
        deliveries=tuple(
            Delivery(
                member=reply[i].decode(),
                token=token,
                deliveries=reply[i + 1],
                raw=reply[i + 2],
                message=try_message(reply[i + 2]),
            )
            for i in range(3, len(reply) - 2, 3)
        ),
    )


def to_sent(message_id: str, reply: Reply) -> Sent:
    state, agent_id, name = to_text(reply).split(" ")
    return Sent(message_id=message_id, to=name, agent_id=agent_id, new=state == "queued")


def to_hosts(reply: Reply) -> tuple[Host, ...]:
    return tuple(to_host(host) for host in reply)


def to_first_text(reply: Reply) -> str:
    return to_text(reply[0])
