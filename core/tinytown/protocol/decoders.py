"""From a reply to the result of an operation. Pure; the shapes of replies are those that the Lua functions document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tinytown.model import results
from tinytown.model.agents import Agent, MailCounts, read_agent
from tinytown.model.hash_codec import pairs, read_record
from tinytown.model.messages import Message, decode_message
from tinytown.model.tasks import TASK_STATES, Task, read_task
from tinytown.model.time import rfc3339
from tinytown.protocol.operation import Reply

if TYPE_CHECKING:
    from tinytown.model.events import Event

T = TypeVar("T")

_WITH_NEXT_MS = 200_000_000_000_000  # due at no time, but with the next round; see 20_mailbox.lua
_TIMES_OF_HOSTS = frozenset({"joined_at", "lease_until"})


def each(decode: Callable[[Reply], T]) -> Callable[[Reply], tuple[T, ...]]:
    """From a list of what `decode` takes."""
    return lambda reply: tuple(decode(item) for item in reply)


def optional(decode: Callable[[Reply], T]) -> Callable[[Reply], T | None]:
    """From what `decode` takes, or from nothing."""
    return lambda reply: decode(reply) if reply else None


def to_text(raw: Any) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)


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
        known, why = {"id": "", "name": "?", "cli": ""} | pairs(reply[0]), f"its record cannot be read: {error}"
        return Agent(id=known["id"], name=known["name"], cli=known["cli"], state="error", reason=why)


def to_placement(reply: Reply) -> results.Placement:
    due_ms = int(reply[0])
    return results.Placement(agents=to_agents(reply[1:]), due_s=float("inf") if due_ms < 0 else due_ms / 1000)


def to_task(reply: Reply) -> Task:
    return read_task(pairs(reply))


def to_assigned(reply: Reply) -> results.Assigned:
    return results.Assigned(task=to_task(reply[0]), message_id=to_text(reply[1]) or None)


def to_started(reply: Reply) -> results.Started:
    return results.Started(stale=reply[0] == b"stale", task=to_optional_task(reply[1]), held=reply[0] == b"held")


def to_host(reply: Reply) -> results.Host:
    fields = pairs(reply)
    words = {name: tuple(fields.pop(name, "").split()) for name in ("backends", "labels")}
    fields["lease_until"] = fields.pop("deadline", "")
    return msgspec.structs.replace(read_record(results.Host, fields, times=_TIMES_OF_HOSTS), **words)


def to_status(reply: Reply) -> results.Status:
    meta, counts, backlog, dead, hosts, agents, mail = reply
    by_state, fields = pairs(counts), pairs(meta)
    since = fields.get("frozen_at")
    return results.Status(
        tasks={state: int(by_state.get(state, 0)) for state in TASK_STATES},
        backlog=int(backlog),
        dead=int(dead),
        hosts=to_hosts(hosts),
        agents=to_agents(agents),
        supervisor_mail=to_mail_counts(mail),
        schema=fields.get("schema", ""),
        frozen=results.Freeze(since=rfc3339(int(since)), reason=fields.get("frozen_why", "")) if since else None,
    )


def to_mailbox_entry(place: Any, _member: Any, deliveries: Any, body: Any, score: Any) -> results.MailboxEntry:
    until = None if place == b"queued" or int(score) >= _WITH_NEXT_MS else rfc3339(int(score))
    where: Any = to_text(place)
    message = try_message(body)
    return results.MailboxEntry(place=where, deliveries=int(deliveries), until=until, raw=body, message=message)


def to_inbox(reply: Reply) -> results.Inbox:
    messages = tuple(to_mailbox_entry(*reply[i : i + 5]) for i in range(1, len(reply), 5))
    return results.Inbox(agent=to_text(reply[0]), messages=messages)


def to_events(reply: Reply) -> tuple[Event, ...]:
    from tinytown.model.events import read_event  # late: quick commands read none

    return tuple(read_event(to_text(entry[0]), pairs(entry[1])) for entry in reply or ())


def to_stream_events(reply: Reply) -> tuple[Event, ...]:
    if not reply:
        return ()
    by_key: Mapping[Any, Any] = dict(reply)  # a map, or a list of pairs
    return to_events(next(iter(by_key.values())))


def to_delivery(token: str, member: Any, deliveries: Any, raw: Any) -> results.Delivery:
    message = try_message(raw)
    return results.Delivery(member=member.decode(), token=token, deliveries=deliveries, raw=raw, message=message)


def to_batch(token: str, reply: Reply) -> results.Batch:
    due = int(reply[1])
    return results.Batch(
        now_ms=int(reply[0]),
        next_due_ms=None if due < 0 else due,
        held=to_text(reply[2]) or None,
        waiting=reply[3:] == [1],
        deliveries=tuple(to_delivery(token, *reply[i : i + 3]) for i in range(3, len(reply) - 2, 3)),
    )


def to_sent(message_id: str, reply: Reply) -> results.Sent:
    state, agent_id, name = to_text(reply).split(" ")
    return results.Sent(message_id=message_id, to=name, agent_id=agent_id, new=state == "queued")


def to_states(reply: Reply) -> tuple[str, ...]:
    return tuple(to_text(reply[0]).split())


to_flags = each(bool)
to_texts = each(to_text)
to_agents = each(to_listed_agent)
to_tasks = each(to_task)
to_hosts = each(to_host)
to_optional_task = optional(to_task)
to_optional_assigned = optional(to_assigned)
