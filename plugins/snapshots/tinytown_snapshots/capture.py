"""From the pages of a server to a snapshot: joins records of several keys and omits transient state. Pure.

The tables here name the fields that are kept, derived or omitted; a field in none of them goes into the record's
``other``, so that nothing a newer version writes is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from tinytown.errors import ProtocolViolation
from tinytown.model.ids import SUPERVISOR, SUPERVISOR_ID
from tinytown.model.messages import PRIORITIES, Category
from tinytown.model.text import shown
from tinytown.model.time import rfc3339

from tinytown_snapshots.lines import in_order
from tinytown_snapshots.records import (
    AgentRecord,
    DeadLetterRecord,
    MessageRecord,
    PluginDataRecord,
    Snapshot,
    TaskRecord,
    embedded,
)

T = TypeVar("T")

SCORE_STEP = 1 << 50
CATEGORIES: dict[str, Category] = {
    "t": "task", "q": "query", "i": "informational", "c": "confirmation", "o": "other",
}  # fmt: skip

#: Fields of the server's records that a snapshot omits: they belong to a lease, a round or a machine.
AGENT_VOLATILE = frozenset(
    {
        "host",
        "home",
        "account",
        "token",
        "round_id",
        "current_task",
        "round_tasks",
        "session_id",
        "last_round_id",
        "last_task_state",
        "state",
        "reason",
        "since",
    }
)
TASK_VOLATILE = frozenset({"token", "round_id", "state", "reason", "order"})
_TIMES = frozenset({"since", "held_until", "created_at", "updated_at", "started_at", "completed_at"})
_NUMBERS = frozenset(
    {
        "seq",
        "orders",
        "attempts",
        "lost",
        "lineage_attempts",
        "max_rounds",
        "rounds_completed",
        "tasks_completed",
        "failures",
        "deliveries",
    }
)

Fields = dict[str, str]


@dataclass
class _Raw:
    """The content of the pages before it is joined."""

    meta: Fields = field(default_factory=dict[str, str])
    seq: int = 0
    agents: list[tuple[int, Fields, bool]] = field(default_factory=list[tuple[int, Fields, bool]])
    boxes: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    tasks: list[tuple[Fields, list[str]]] = field(default_factory=list[tuple[Fields, list[str]]])
    plugins: dict[str, list[bytes]] = field(default_factory=dict[str, list[bytes]])
    dead: list[tuple[str, Mapping[str, bytes]]] = field(default_factory=list[tuple[str, Mapping[str, bytes]]])


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot with the town's sequence counter (``seq``) and the id of its newest event when reading began (``event``)."""

    snapshot: Snapshot
    seq: int
    event: str


def capture(items: Iterable[list[Any]], event: str) -> Captured:
    """The snapshot of the `items` of all pages. Raises: ProtocolViolation for an invalid record."""
    raw = _Raw()
    for item in items:
        _add_item(raw, item)
    schema = raw.meta.pop("schema", "")
    for name in ("frozen_at", "frozen_why", "clock_at", "clock_offset"):  # transient, or of the server: not settings
        raw.meta.pop(name, None)
    names = {fields["id"]: fields["name"] for _, fields, _ in raw.agents} | {SUPERVISOR_ID: SUPERVISOR}
    agents = [_read_record("agent", record[1]["id"], _agent, *record) for record in raw.agents]
    tasks = [_read_record("task", record[0]["id"], _task, *record, raw) for record in raw.tasks]
    orders = {task.id: task.order for task in tasks if task.state == "assigned"}
    messages = [
        message
        for id_, box in raw.boxes.items()
        if id_ in names  # its agent's record was deleted
        for message in _read_record("mailbox of", names[id_], _mailbox, names[id_], box, orders)
    ]
    letters = [_read_record("dead letter", record[0], _dead, *record) for record in raw.dead]
    snapshot = Snapshot(
        schema=schema,
        settings=dict(sorted(raw.meta.items())),
        agents=tuple(agents),
        tasks=tuple(tasks),
        messages=in_order(messages, {record.name: record.seq for record in agents}),
        dead_letters=tuple(sorted(letters, key=lambda record: (record.at, record.id))),
        plugin_data=tuple(
            data
            for record in sorted(raw.plugins.items())
            for data in _read_record("plugin", record[0], _plugin, *record)
        ),
    )
    return Captured(snapshot=snapshot, seq=raw.seq, event=event)


def _read_record(what: str, id_: str, read: Callable[..., T], *args: Any) -> T:
    """The result of `read`. An invalid record is an error with its name; none is omitted silently."""
    try:
        return read(*args)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ProtocolViolation(
            f"the record of {what} {shown(id_)} is invalid: {type(error).__name__}: {error}",
            hint="remove it from the town, then save again",
        ) from error


def _add_item(raw: _Raw, item: list[Any]) -> None:
    kind = item[0].decode()
    if kind == "town":
        raw.meta, raw.seq = _fields(item[1]), int(item[2])
    elif kind in ("agent", "task") and not item[2 if kind == "agent" else 1]:
        pass  # its record was deleted outside of Tinytown: tt doctor names it
    elif kind == "agent":
        raw.agents.append((int(item[1]), _fields(item[2]), item[3] == b"1"))
    elif kind == "mailbox":
        raw.boxes[item[1].decode()] = item[2:]
    elif kind == "plugin":
        raw.plugins[item[1].decode()] = item[2]
    elif kind == "task":
        fields = _fields(item[1]) | {"lineage_attempts": item[3].decode()}
        raw.tasks.append((fields, sorted(record.decode() for record in item[2])))
    else:
        raw.dead.append((item[1].decode(), {name.decode(): value for name, value in _pairs(item[2])}))


def _pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _fields(flat: Sequence[bytes]) -> Fields:
    try:
        return {name.decode(): value.decode() for name, value in _pairs(flat)}
    except UnicodeDecodeError as error:
        raise ProtocolViolation(f"a record of the town is not UTF-8: {flat[:4]!r}") from error


def _record_values(kind: type[msgspec.Struct], fields: Fields, volatile: frozenset[str]) -> dict[str, Any]:
    """The fields of the record `kind`, as its values; unknown ones are in ``other``."""
    values: dict[str, Any] = {"other": {}}
    for name, text in sorted(fields.items()):
        if name in volatile or text == "":
            continue
        if name not in kind.__struct_fields__ or name in ("origin", "meta", "other"):
            values["other"][name] = text
        elif name in _TIMES:
            values[name] = rfc3339(int(text))
        elif name in _NUMBERS:
            values[name] = int(text)
        elif name in ("tags", "labels", "needs"):
            values[name] = tuple(msgspec.json.decode(text, type=list[str]))
        else:
            values[name] = text
    return values


def _agent(seq: int, fields: Fields, placed: bool) -> AgentRecord:
    values = _record_values(AgentRecord, fields, AGENT_VOLATILE)
    values["seq"] = seq
    stopped = fields["desired_state"] == "stopped"
    if stopped or not (placed or fields.get("host")):
        # No kernel is to run it: keep its state and the reason.
        values["state"] = (
            "stopped" if stopped else fields["state"] if fields["state"] in ("stopped", "error") else "suspended"
        )
        values["reason"] = fields.get("reason", "")
        values["since"] = rfc3339(int(fields["since"]))
    return AgentRecord(**values)


def _task(fields: Fields, open_needs: list[str], raw: _Raw) -> TaskRecord:
    tables = {name[5:]: msgspec.Raw(fields.pop(name).encode()) for name in sorted(fields) if _is_table(name, fields)}
    origin = fields.pop("origin") if _is_json(fields.get("origin", "")) else ""
    state, reason, order = fields["state"], fields.get("reason", ""), fields.get("order", "")
    if state == "running" and open_needs:
        # One of its needs was reopened: the end of its round blocks it, see `take_back_running`.
        states = {task["id"]: task["state"] for task, _ in raw.tasks}
        state, order = "blocked", ""
        reason = "needs " + ", ".join(sorted(f"{need} ({states.get(need, 'gone')})" for need in open_needs))
    elif state == "running":
        state = "assigned"
    values = _record_values(TaskRecord, fields, TASK_VOLATILE)
    values |= {"state": state, "reason": reason, "order": order, "open_needs": tuple(open_needs), "meta": tables}
    return TaskRecord(**values, origin=msgspec.Raw(origin.encode()) if origin else msgspec.UNSET)


def _is_json(text: str) -> bool:
    return bool(text) and not embedded(text.encode())[1]


def _is_table(name: str, fields: Fields) -> bool:
    return name.startswith("meta:") and _is_json(fields[name])


def _mailbox(agent: str, box: list[Any], orders: dict[str, str]) -> list[MessageRecord]:
    """The messages of one mailbox; a leased one is back in its place, with one delivery less."""
    messages: list[MessageRecord] = []
    queue, leases, delayed, bodies, states = box
    content = dict(_pairs(bodies))
    scores = {member: int(score) for member, score in _pairs(queue)}
    deliveries = dict.fromkeys(scores, 0)
    for member, state in _pairs(states):
        score, count, *_ = state.split(b" ")
        scores.setdefault(member, int(score))
        deliveries[member] = int(count) - (member in leases)
    due = {member: rfc3339(int(moment)) for member, moment in _pairs(delayed)}
    for member in [*scores]:
        id_, body = member[1:].decode(), content.get(member[1:])
        if body is None or _called_off(member, body, orders):
            continue
        embedded_body, raw = embedded(body)
        messages.append(
            MessageRecord(
                agent=agent,
                priority=PRIORITIES[scores[member] // SCORE_STEP],
                seq=scores[member] % SCORE_STEP,
                id=id_,
                category=CATEGORIES[chr(member[0])],
                deliveries=max(deliveries[member], 0),
                due=due.get(member, ""),
                body=embedded_body,
                raw=raw,
            )
        )
    return messages


def is_order(category: Category, message_id: str, body: bytes) -> str:
    """The id of the task whose order a message is; '' for other messages. Like `order_standing` of the functions."""
    task_id, dot, number = message_id.rpartition(".")
    fits = dot and number.isascii() and number.isdigit() and category == "task" and b'"type":"task_assign"' in body
    return task_id if fits else ""


def _called_off(member: bytes, body: bytes, orders: dict[str, str]) -> bool:
    id_ = member[1:].decode()
    task_id = is_order(CATEGORIES[chr(member[0])], id_, body)
    return bool(task_id) and orders.get(task_id) != id_


def _plugin(plugin: str, flat: list[bytes]) -> list[PluginDataRecord]:
    for value in flat[1::2]:
        if not _is_json(value.decode()):
            raise ValueError(f"{value[:80]!r} is not JSON")
    return [
        PluginDataRecord(plugin=plugin, field=name.decode(), value=msgspec.Raw(value))
        for name, value in sorted(_pairs(flat))
    ]


def _dead(id_: str, fields: Mapping[str, bytes]) -> DeadLetterRecord:
    score = int(fields["score"])
    body, raw = embedded(fields["body"])
    return DeadLetterRecord(
        at=rfc3339(int(fields["at"])),
        id=id_,
        agent=fields["agent"].decode(),
        agent_id=fields["agent_id"].decode(),
        priority=PRIORITIES[score // SCORE_STEP],
        seq=score % SCORE_STEP,
        category=CATEGORIES[fields["member"].decode()[0]],
        deliveries=int(fields["deliveries"]),
        reason=fields["reason"].decode("utf-8", "replace"),
        body=body,
        raw=raw,
    )
