"""From a snapshot's records to the rows that `SnapshotOperations.put` writes: fields, scores and dependants. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import msgspec
from tinytown.model.ids import SUPERVISOR, SUPERVISOR_ID
from tinytown.model.messages import PRIORITIES, Category, Priority
from tinytown.model.time import parse_rfc3339

from tinytown_snapshots.capture import CATEGORIES, SCORE_STEP
from tinytown_snapshots.functions import Row
from tinytown_snapshots.records import AgentRecord, DeadLetterRecord, MessageRecord, Snapshot, TaskRecord

_LETTERS: dict[Category, str] = {category: letter for letter, category in CATEGORIES.items()}

#: How long the id of a restored message is known, so that it is not restored again.
KNOWN_S = 3600


def rows(
    snapshot: Snapshot, *, now_ms: int, agent_ids: Mapping[str, str], story: str, known_s: int = KNOWN_S
) -> Iterator[Row]:
    """The rows to write, agents first.

    `agent_ids` are the names and ids of agents already in the town; `story` is the first line of the trace of each
    message, kept for `known_s` seconds.
    """
    ids = {**agent_ids, **{agent.name: agent.id for agent in snapshot.agents}, SUPERVISOR: SUPERVISOR_ID}
    here = set(ids.values())
    for agent in snapshot.agents:
        yield _agent(agent, now_ms)
    dependants: dict[str, list[str]] = defaultdict(list)
    for task in snapshot.tasks:
        for need in task.needs:
            dependants[need].append(task.id)
        yield _task(task, agent_here=task.agent_id in here)
    for need, needing in dependants.items():
        yield Row(["dependants", need, needing])
    for message in snapshot.messages:
        yield _message(message, ids[message.agent], story, known_s)
    for letter in snapshot.dead_letters:
        yield _letter(letter)
    for data in snapshot.plugin_data:
        yield Row(["plugin_data", data.plugin, data.field], bytes(data.value))


def _score(priority: Priority, seq: int) -> str:
    return str(PRIORITIES.index(priority) * SCORE_STEP + seq)


def _ms(moment: str) -> str:
    return str(parse_rfc3339(moment)) if moment else ""


def _agent(agent: AgentRecord, now_ms: int) -> Row:
    return Row(["agent", str(agent.seq), agent_fields(agent, now_ms), not agent.state])


def agent_fields(agent: AgentRecord, now_ms: int) -> dict[str, str]:
    """The fields of an agent's record on the server."""
    fields = {
        "id": agent.id,
        "name": agent.name,
        "cli": agent.cli,
        "role": agent.role,
        "nickname": agent.nickname,
        "parent": agent.parent,
        "tags": _json(agent.tags),
        "labels": _json(agent.labels),
        "max_rounds": str(agent.max_rounds),
        "desired_state": agent.desired_state,
        "state": agent.state or "starting",
        "reason": agent.reason if agent.state else "waiting for a kernel",
        "since": _ms(agent.since) or str(now_ms),
        "created_at": _ms(agent.created_at),
        "host": "",
        "token": "",
        "rounds_completed": str(agent.rounds_completed),
        "tasks_completed": str(agent.tasks_completed),
        "failures": str(agent.failures),
    }
    return agent.other | fields


def _task(task: TaskRecord, *, agent_here: bool) -> Row:
    rank = _score(task.priority, task.seq) if task.state == "pending" else ""
    lineage = str(task.lineage_attempts or "")
    return Row(["task", task_fields(task), task.open_needs, rank, agent_here, lineage])


def task_fields(task: TaskRecord) -> dict[str, str]:
    """The fields of a task's record on the server."""
    fields = {
        "id": task.id,
        "seq": str(task.seq),
        "title": task.title,
        "description": task.description,
        "state": task.state,
        "priority": task.priority,
        "role": task.role,
        "tags": _json(task.tags),
        "needs": _json(task.needs),
        "parent": task.parent,
        "assigned_to": task.assigned_to,
        "agent_id": task.agent_id,
        "order": task.order,
        "orders": str(task.orders) if task.orders else "",
        "lost": str(task.lost) if task.lost else "",
        "held": task.held,
        "held_until": _ms(task.held_until),
        "reason": task.reason,
        "since": _ms(task.since),
        "created_at": _ms(task.created_at),
        "updated_at": _ms(task.updated_at),
        "started_at": _ms(task.started_at),
        "completed_at": _ms(task.completed_at),
        "result": task.result,
        "rejection": task.rejection,
        "origin": bytes(task.origin).decode() if isinstance(task.origin, msgspec.Raw) else "",
    }
    fields |= {f"meta:{name}": bytes(table).decode() for name, table in task.meta.items()}
    # These fields exist even if empty, as in every record that was changed.
    required = {name: fields[name] for name in ("assigned_to", "agent_id", "reason")} | {"attempts": str(task.attempts)}
    return task.other | {name: text for name, text in fields.items() if text} | required


def _message(message: MessageRecord, agent_id: str, story: str, known_s: int) -> Row:
    member, score = _LETTERS[message.category] + message.id, _score(message.priority, message.seq)
    trace_line = f"{story} for {message.agent}"
    due, deliveries = _ms(message.due), str(message.deliveries)
    return Row(["message", agent_id, member, score, deliveries, due, trace_line, str(known_s)], message.content)


def _letter(letter: DeadLetterRecord) -> Row:
    fields = {
        "agent_id": letter.agent_id,
        "member": _LETTERS[letter.category] + letter.id,
        "score": _score(letter.priority, letter.seq),
        "deliveries": str(letter.deliveries),
        "reason": letter.reason,
        "at": _ms(letter.at),
        "agent": letter.agent,
    }
    return Row(["dead", letter.id, fields], letter.content)


def _json(items: tuple[str, ...]) -> str:
    return msgspec.json.encode(items).decode()
