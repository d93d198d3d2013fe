"""Converts a town of Tinytown 0.10 to a snapshot with the same ids, tasks and mail order.

Pure and deterministic, so that migrating twice adds nothing. Changes are reported as notes; the old record of a task is
kept whole in its ``origin``. Undeliverable mail becomes a dead letter with the reason; only orders of finished tasks are
dropped.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, cast

import msgspec
from tinytown.errors import UsageError
from tinytown.model.agents import DesiredState
from tinytown.model.ids import SUPERVISOR, SUPERVISOR_ID, check_agent_name, check_id, check_word, short_id
from tinytown.model.messages import PRIORITIES, Category, Message, Priority, TaskAssign
from tinytown.model.tasks import FINISHED
from tinytown.model.text import escape_control, shown
from tinytown.model.time import parse_rfc3339, rfc3339
from tinytown.protocol import SCHEMA
from tinytown_cli.plain_letters import unaccented
from tinytown_cli.serializers import message_fields
from tinytown_snapshots.records import (
    AgentRecord,
    DeadLetterRecord,
    MessageRecord,
    SavedState,
    Snapshot,
    TaskRecord,
    embedded,
    order_of,
)

from tinytown_migrate.old_clis import recognize
from tinytown_migrate.old_mail import read_old_message
from tinytown_migrate.source import Fields, OldTown

_PRIORITIES: dict[str, Priority] = {name: name for name in PRIORITIES}
_BEGINNING = "1970-01-01T00:00:00.000Z"
_STATES: dict[str, SavedState] = {
    "pending": "pending",
    "assigned": "assigned",
    "running": "assigned",
    "in_flight": "assigned",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
_DESIRED_STATES: dict[str, DesiredState] = {
    "starting": "running",
    "idle": "running",
    "working": "running",
    "paused": "paused",
    "draining": "stopped",
    "stopped": "stopped",
    "suspended": "stopped",
    "error": "stopped",
}


class Renamed(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that needs another name."""

    id: str
    old: str
    new: str


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """The snapshot, and notes for the report."""

    snapshot: Snapshot
    renamed: tuple[Renamed, ...]
    notes: tuple[str, ...]


class _Letter(NamedTuple):
    """A message of the old town, and the priority of its place there."""

    raw: bytes
    message: Message | None
    priority: Priority


@dataclass
class _Conversion:
    town: OldTown
    taken: dict[str, str]
    seq: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    names: dict[str, str] = field(default_factory=lambda: {SUPERVISOR_ID: SUPERVISOR})
    renamed: list[Renamed] = field(default_factory=list[Renamed])
    notes: list[str] = field(default_factory=list[str])
    dead: list[DeadLetterRecord] = field(default_factory=list[DeadLetterRecord])
    seen: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    dead_ids: set[str] = field(default_factory=set[str])
    done_orders: int = 0


def convert(town: OldTown, *, taken: dict[str, str]) -> Converted:
    """The snapshot of an old town. `taken` are names and nicknames (in lower case) that other agents have, with their ids."""
    work = _Conversion(town, dict(taken))
    agents = _agents(work)
    letters = {id_: _letters(town, id_) for id_ in sorted({*town.inboxes, *town.urgent})}
    tasks = _tasks(work, letters)
    messages = list(_messages(work, letters, tasks))
    if work.done_orders:
        work.notes.append(
            f"orders not migrated, because their tasks are finished or have another agent: {work.done_orders}"
        )
    snapshot = Snapshot(
        schema=SCHEMA,
        agents=tuple(agents),
        tasks=tuple(tasks.values()),
        messages=tuple(messages),
        dead_letters=tuple(work.dead),
    )
    return Converted(snapshot=snapshot, renamed=tuple(work.renamed), notes=tuple(work.notes))


# -- agents


def _agents(work: _Conversion) -> list[AgentRecord]:
    records = work.town.agents
    order = sorted(records, key=lambda id_: (_moment(records[id_].get("created_at")), id_))
    own = [id_ for id_ in order if id_ != SUPERVISOR_ID and records[id_].get("agent_type") != "supervisor"]
    for id_ in own:
        work.names[id_] = _name(work, id_, str(records[id_].get("name", "")))
    return [_agent(work, id_, records[id_]) for id_ in own]


def _name(work: _Conversion, id_: str, old: str) -> str:
    """A legal, unique name: the old one if possible."""
    nearest = re.sub(r"[^A-Za-z0-9._-]+", "-", unaccented(old)).lstrip("._-")[:50] or "agent"
    for name in (old, nearest, f"{nearest}-{short_id(id_)}", f"{nearest}-{id_[:13]}"):
        try:
            check_agent_name(name)
        except UsageError:
            continue
        if work.taken.setdefault(name.lower(), id_) == id_:
            break
    else:
        name = f"agent-{id_}"
    if name != old:
        work.renamed.append(Renamed(id=id_, old=old, new=name))
    return name


def _agent(work: _Conversion, id_: str, fields: Fields) -> AgentRecord:
    name, since = work.names[id_], _moment(fields.get("last_heartbeat") or fields.get("created_at"))
    desired = (
        "stopped" if id_ in work.town.stopped else _DESIRED_STATES.get(str(fields.get("state", "")).lower(), "running")
    )
    nickname = _word(str(fields.get("nickname", "")))
    if nickname and work.taken.setdefault(nickname.lower(), id_) != id_:
        nickname = ""
    parent = work.names.get(str(fields.get("parent_agent_id", "")).lower(), "")
    role = "" if fields.get("role_id") == "default" else _word(str(fields.get("role_id", "")))
    return AgentRecord(
        seq=next(work.seq),
        id=id_,
        name=name,
        cli=_kind(work, name, str(fields.get("cli", ""))),
        nickname=nickname,
        role=role,
        parent=parent,
        desired_state=desired,
        state="stopped" if desired == "stopped" else "",
        reason=f"was {fields.get('state', 'stopped')} in Tinytown 0.10" if desired == "stopped" else "",
        since=since if desired == "stopped" else "",
        created_at=_moment(fields.get("created_at")),
        rounds_completed=_number(fields.get("rounds_completed")),
        tasks_completed=_number(fields.get("tasks_completed")),
    )


def _kind(work: _Conversion, name: str, cli: str) -> str:
    """The kind of agent for a preset's name or a whole command."""
    try:
        return check_agent_name(cli)
    except UsageError:
        if old := recognize(cli):
            work.notes.append(f"agent {name} ran the command {shown(cli)!r}: its kind is {old.kind!r} here")
            return old.kind
        words = cli.split()
        kind = (
            re.sub(r"[^A-Za-z0-9._-]+", "-", words[0].rpartition("/")[2] if words else "").lstrip("._-")[:60] or "shell"
        )
        work.notes.append(
            f"agent {name} ran the command {shown(cli)!r}: its kind is {kind!r} here; write [agent_clis.{kind}] for that command"
        )
        return kind


def _word(text: str) -> str:
    """`text` as a role, nickname or tag; '' if nothing of it can be one."""
    nearest = re.sub(r"[^A-Za-z0-9 ._-]+", "-", unaccented(text)).lstrip("._- ")[:63]
    try:
        return check_word("word", nearest)
    except UsageError:
        return ""


# -- tasks


def _tasks(work: _Conversion, letters: dict[str, list[_Letter]]) -> dict[str, TaskRecord]:
    """The tasks by id, those of the backlog last and in its order."""
    records, positions = work.town.tasks, {id_.lower(): number for number, id_ in enumerate(work.town.backlog)}
    if missing := [id_ for id_ in positions if id_ not in records]:
        work.notes.append(
            f"on the backlog without a task: {', '.join(missing[:5])}" + (" and more" if missing[5:] else "")
        )
    order = sorted(records, key=lambda id_: (positions.get(id_, -1), _moment(records[id_].get("created_at")), id_))
    priorities: dict[tuple[str, str], Priority] = {
        (agent, letter.message.body.task_id.lower()): letter.priority
        for agent, waiting in letters.items()
        for letter in waiting
        if letter.message and isinstance(letter.message.body, TaskAssign)
    }
    return {id_: _task(work, id_, records[id_], priorities) for id_ in order}


def _task(work: _Conversion, id_: str, fields: Fields, priorities: dict[tuple[str, str], Priority]) -> TaskRecord:
    state = _STATES.get(str(fields.get("state", "")).lower(), "pending")
    agent_id = str(fields.get("assigned_to", "")).lower()
    known = agent_id in work.names and agent_id != SUPERVISOR_ID
    reason = ""
    if state == "assigned" and not known:
        state, reason = "pending", "its agent no longer existed in the old town"
    if state == "pending":
        agent_id, known = "", False
    result = escape_control(str(fields.get("result", "")))
    if state in ("failed", "cancelled"):
        reason = result
    created = _moment(fields.get("created_at"))
    updated = _moment(fields.get("updated_at")) if fields.get("updated_at") else created
    origin = {"from": "tinytown 0.10", "town": work.town.name or "", "record": fields}
    return TaskRecord(
        seq=next(work.seq),
        id=id_,
        description=escape_control(str(fields.get("description", ""))).strip("\n") or "(no description)",
        state=state,
        priority=priorities.get((agent_id, id_), "normal"),
        tags=tuple(dict.fromkeys(filter(None, map(_word, _tags(fields.get("tags")))))),
        parent=str(fields.get("parent_id", "")),
        assigned_to=work.names[agent_id] if known else "",
        agent_id=agent_id if known else "",
        order=f"{id_}.1" if state == "assigned" else "",
        orders=1 if state == "assigned" else 0,
        reason=reason,
        since=updated,
        created_at=created,
        updated_at=updated,
        started_at=_moment(fields["started_at"]) if fields.get("started_at") else "",
        completed_at=_moment(fields.get("completed_at") or fields.get("updated_at")) if state in FINISHED else "",
        result=result,
        origin=msgspec.Raw(msgspec.json.encode(origin)),
    )


def _tags(tags: Any) -> list[str]:
    if isinstance(tags, str):
        try:
            tags = msgspec.json.decode(tags)
        except msgspec.DecodeError:
            return []
    return [str(tag) for tag in cast("list[object]", tags)] if isinstance(tags, list) else []


# -- mail


def _letters(town: OldTown, agent_id: str) -> list[_Letter]:
    """The mail of one agent in delivery order, first-in first-out inside a priority.

    The old urgent list was read newest first, and so was urgent and high mail in the inbox: both were pushed in front.
    """
    letters = [_letter(raw, "urgent") for raw in reversed(town.urgent.get(agent_id, []))]
    inbox = [_letter(raw, None) for raw in town.inboxes.get(agent_id, [])]
    pushed_in_front = [record for record in inbox if record.priority in ("urgent", "high")]
    letters += reversed(pushed_in_front)
    letters += [record for record in inbox if record.priority not in ("urgent", "high")]
    return letters


def _letter(raw: bytes, priority: Literal["urgent"] | None) -> _Letter:
    try:
        message = read_old_message(raw)
        check_id("a message id", message.id)
    except (ValueError, UsageError):
        return _Letter(raw, None, priority or "normal")
    return _Letter(raw, message, priority or _PRIORITIES.get(message.priority, "normal"))


def _messages(
    work: _Conversion, letters: dict[str, list[_Letter]], tasks: dict[str, TaskRecord]
) -> Iterator[MessageRecord]:
    ordered: set[str] = set()
    delivered = {
        letter.message.body.task_id.lower()
        for agent_id, waiting in letters.items()
        for letter in waiting
        if letter.message and isinstance(letter.message.body, TaskAssign)
        and _is_valid(tasks.get(letter.message.body.task_id.lower()), agent_id)
    }  # fmt: skip
    mailboxes = [*dict.fromkeys([SUPERVISOR_ID, *work.names, *letters])]
    for agent_id in mailboxes:
        undelivered = [task for task in tasks.values() if _is_valid(task, agent_id) and task.id not in delivered]
        # Started tasks come first: their orders left the mailbox when they started.
        for task in undelivered:
            yield order_of(task, next(work.seq))
        for letter in letters.get(agent_id, ()):
            yield from _message(work, agent_id, letter, tasks, ordered)


def _is_valid(task: TaskRecord | None, agent_id: str) -> bool:
    return task is not None and task.state == "assigned" and task.agent_id == agent_id


def _message(
    work: _Conversion, agent_id: str, letter: _Letter, tasks: dict[str, TaskRecord], ordered: set[str]
) -> Iterator[MessageRecord]:
    message = letter.message
    if message is None:
        _add_dead_letter(work, agent_id, letter, "unreadable", "unreadable")
        return
    if (agent_id, message.id) in work.seen:
        return  # a duplicate
    work.seen.add((agent_id, message.id))
    if isinstance(message.body, TaskAssign):
        task = tasks.get(message.body.task_id.lower())
        if task is None:
            _add_dead_letter(work, agent_id, letter, message.id, f"no task {message.body.task_id}")
        elif not _is_valid(task, agent_id):
            work.done_orders += 1
        elif task.id not in ordered:
            ordered.add(task.id)
            yield order_of(task, next(work.seq))
        return
    if agent_id not in work.names:
        _add_dead_letter(work, agent_id, letter, message.id, f"no agent {agent_id}")
        return
    yield MessageRecord(
        agent=work.names[agent_id],
        priority=letter.priority,
        seq=next(work.seq),
        id=message.id,
        category=message.category,
        body=msgspec.Raw(_readdressed(work, message, agent_id, letter.priority)),
    )


def _readdressed(work: _Conversion, message: Message, agent_id: str, priority: Priority) -> bytes:
    """The message with names for ids and with control characters escaped."""
    fields = message_fields(message)
    fields["from"] = work.names.get(message.sender.lower(), message.sender or SUPERVISOR)
    fields["to"], fields["priority"] = work.names[agent_id], priority
    return msgspec.json.encode({name: _visible(value) for name, value in fields.items()})


def _visible(value: Any) -> Any:
    return escape_control(value) if isinstance(value, str) else value


def _add_dead_letter(work: _Conversion, agent_id: str, letter: _Letter, id_: str, reason: str) -> None:
    digest = hashlib.sha256(agent_id.encode() + letter.raw).hexdigest()[:32]
    if id_ == "unreadable" or id_ in work.dead_ids:
        id_ = f"{id_[:90]}-{digest}"
    if id_ in work.dead_ids:
        return  # a duplicate
    work.dead_ids.add(id_)
    body, raw = embedded(letter.raw)
    category: Category = letter.message.category if letter.message else "other"
    work.dead.append(
        DeadLetterRecord(
            at=_moment(letter.message.created_at if letter.message else ""),
            id=id_,
            agent=work.names.get(agent_id, agent_id),
            agent_id=agent_id,
            priority=letter.priority,
            seq=next(work.seq),
            category=category,
            reason=f"migrated from Tinytown 0.10: {reason}",
            body=body,
            raw=raw,
        )
    )


# -- values


def _moment(text: Any) -> str:
    """A time as RFC 3339; 1970 for invalid ones, so that the result does not depend on when this runs."""
    try:
        return rfc3339(parse_rfc3339(str(text)))
    except (ValueError, OverflowError):
        return _BEGINNING


def _number(value: Any) -> int:
    try:
        return max(int(value), 0)
    except (TypeError, ValueError):
        return 0


def agents_here(snapshot: Snapshot) -> dict[str, str]:
    """The names and nicknames taken in a town, in lower case, with the agents' ids."""
    pairs: Sequence[tuple[str, str]] = [
        (word.lower(), record.id) for record in snapshot.agents for word in (record.name, record.nickname) if word
    ]
    return dict(pairs)
