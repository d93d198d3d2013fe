"""Operations of administration, on a function library beside the town's own: dead letters, mail, tasks, histories. Pure, no IO.

Each function takes the town's keys (``town.operations.keys``) and returns an operation for `Town.run` or `TownClient.run`, which
load the library if the server lacks it. Arguments named ``agent`` or ``task`` take what users type. All are safe to repeat.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Unpack

import msgspec
from tinytown.model.details import TaskChanges, check_keywords
from tinytown.model.hash_codec import pairs
from tinytown.model.ids import check_word, new_id
from tinytown.model.messages import Message, decode_message
from tinytown.model.results import Assigned, Inbox
from tinytown.model.round_records import RoundRecord
from tinytown.model.tasks import Task, read_task
from tinytown.model.text import check_text
from tinytown.model.time import check_moment, rfc3339
from tinytown.protocol import FunctionLibrary, Keys, Operation, Reply, TownOperations, function_call, task_fields

LIBRARY = FunctionLibrary("administration", Path(__file__).with_name("administration.lua"), extends="town")

#: What the rounds of agents may call, and by which rule: for the plugin that holds them to their rights.
ROUND_FUNCTIONS = (
    LIBRARY,
    {
        "dead_list": "conductor",
        "mailbox_message": "mailbox",
        "trace": "read",
        "rounds": "read",
        "task_hold": "task_once",
        "task_release": "task_once",
        "task_update": "task_fields",
        "task_meta": "table",
        "task_need": "task",
        "task_reopen": "reopen",
        "task_requeue": "backlog",
        "task_current": "read",
    },
)

_encode = msgspec.json.encode
_decode_record = msgspec.json.Decoder(RoundRecord).decode


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was given up, with the reason."""

    id: str
    agent: str
    reason: str
    at: str
    deliveries: int
    raw: bytes
    message: Message | None


class TraceLine(msgspec.Struct, frozen=True, kw_only=True):
    """One step in the history of a message."""

    at: str
    what: str


def _texts(reply: Reply) -> tuple[str, ...]:
    return tuple(text.decode() for text in reply)


def _task(reply: Reply) -> Task:
    return read_task(pairs(reply))


def _dead_letter(reply: Reply) -> DeadLetter:
    fields = dict(zip(reply[::2], reply[1::2], strict=True))
    body, message = fields.pop(b"body"), None
    with suppress(ValueError):
        message = decode_message(body)
    texts = {name: text for name, text in pairs(fields).items() if name in DeadLetter.__struct_fields__}
    at, deliveries = rfc3339(int(texts.pop("at"))), int(texts.pop("deliveries"))
    return DeadLetter(**texts, at=at, deliveries=deliveries, raw=body, message=message)


# -- dead letters and mail


def dead_letters(keys: Keys, *, limit: int = 100) -> Operation[tuple[DeadLetter, ...]]:
    """The dead letters, newest first."""
    return function_call(LIBRARY, "dead_list", keys.base, lambda reply: tuple(map(_dead_letter, reply)), limit)


def redrive(keys: Keys, letter: str) -> Operation[tuple[str, ...]]:
    """Put a dead letter (or ``all``) back into its mailbox with a clean count; their ids."""
    return function_call(LIBRARY, "redrive", keys.base, _texts, new_id(), letter)


def drop(keys: Keys, letter: str) -> Operation[tuple[str, ...]]:
    """Delete a dead letter (or ``all``); their ids."""
    return function_call(LIBRARY, "drop", keys.base, _texts, new_id(), letter)


def find_message(operations: TownOperations, agent: str, message: str) -> Operation[Inbox]:
    """The mailbox of an agent with this message alone; empty when it is not there any more. Takes ``town.operations`` whole."""
    decode = operations.peek(agent).decode
    return function_call(LIBRARY, "mailbox_message", operations.keys.base, decode, agent, message)


def remove_message(keys: Keys, agent: str, message: str) -> Operation[tuple[str, ...]]:
    """Delete a message that is not claimed (or ``all`` of them) from a mailbox; ids of the removed messages."""
    return function_call(LIBRARY, "remove", keys.base, _texts, new_id(), agent, message)


def trace(keys: Keys, message_id: str) -> Operation[tuple[TraceLine, ...]]:
    """Where a message has been and when; empty if it is unknown or its history has expired."""

    def decode(reply: Reply) -> tuple[TraceLine, ...]:
        lines = (line.partition(" ") for line in reply.decode("utf-8", "replace").split("\n")[:-1])
        return tuple(TraceLine(at=rfc3339(int(ms)), what=what) for ms, _, what in lines)

    return function_call(LIBRARY, "trace", keys.base, decode, message_id)


# -- tasks


def add_need(keys: Keys, task: str, need: str) -> Operation[Task]:
    """Make a task wait for another; refuses a dependency cycle."""
    return function_call(LIBRARY, "task_need", keys.base, _task, task, need)


def update_task(operations: TownOperations, task: str, **changes: Unpack[TaskChanges]) -> Operation[Task]:
    """Edit a task that is neither in progress nor finished; None leaves a field as it is. Takes ``town.operations`` whole."""
    check_keywords("update_task", TaskChanges, changes)
    fields = task_fields(changes, operations.message_limit_bytes)
    flat = [part for item in fields.items() for part in item]
    return function_call(LIBRARY, "task_update", operations.keys.base, _task, task, *flat)


def set_task_meta(keys: Keys, task: str, name: str, table: Mapping[str, Any] | None) -> Operation[Task]:
    """Keep one plugin's table beside a task; None removes it."""
    check_word("table name", name)
    return function_call(LIBRARY, "task_meta", keys.base, _task, task, name, b"" if table is None else _encode(table))


def hold_task(keys: Keys, task: str, *, reason: str, until: str = "") -> Operation[Task]:
    """Keep a task from being worked on, until `release_task` or the moment `until` (RFC 3339); a round on it is ended."""
    until_ms, why = check_moment(until) if until else "", check_text("a reason", reason, 10_000)
    return function_call(LIBRARY, "task_hold", keys.base, _task, new_id(), task, why, until_ms)


def release_task(keys: Keys, task: str) -> Operation[Task]:
    """Release a held task: to its agent, else onto the backlog, unless a need is open."""
    return function_call(LIBRARY, "task_release", keys.base, _task, new_id(), task)


def reopen_task(keys: Keys, task: str, *, reason: str = "reopened") -> Operation[Assigned]:
    """Open a finished task again: for its agent, else for the backlog; what needs it waits again."""

    def decode(reply: Reply) -> Assigned:
        return Assigned(task=_task(reply[0]), message_id=reply[1].decode() or None)

    words = (task, check_text("a reason", reason, 10_000))
    return function_call(LIBRARY, "task_reopen", keys.base, decode, new_id(), *words)


def requeue_task(keys: Keys, task: str, *, reason: str = "requeued") -> Operation[Task]:
    """Take a task from its agent and put it onto the backlog."""
    check_text("a reason", reason, 10_000)
    return function_call(LIBRARY, "task_requeue", keys.base, _task, new_id(), task, reason)


def delete_task(keys: Keys, task: str) -> Operation[str]:
    """Delete a task that is not in progress and that no open task needs; its id."""
    return function_call(LIBRARY, "task_delete", keys.base, bytes.decode, new_id(), task)


def apply_retention(keys: Keys, *, finished_age_ms: int, finished_count: int, events: int) -> Operation[int]:
    """Delete some finished tasks and events that are older or more than this; how many tasks. Repeat it until that is 0."""
    return function_call(LIBRARY, "apply_retention", keys.base, int, finished_age_ms, finished_count, events)


def assign_backlog(keys: Keys, agent: str) -> Operation[tuple[str, ...]]:
    """Give the whole backlog (1,000 tasks at most) to an agent; ids of the tasks."""
    return function_call(LIBRARY, "backlog_assign_all", keys.base, _texts, new_id(), agent)


def current_task(keys: Keys, agent: str) -> Operation[Task | None]:
    """The task that an agent works on, or its only open one."""
    return function_call(LIBRARY, "task_current", keys.base, lambda reply: _task(reply) if reply else None, agent)


# -- agents, their rounds and accounts, hosts, the whole town


def remove_agent(keys: Keys, agent: str, *, force: bool = False) -> Operation[str]:
    """Remove an agent without a host; its name. With `force` its tasks go onto the backlog, its mail to the dead letters."""
    return function_call(LIBRARY, "agent_remove", keys.base, bytes.decode, new_id(), agent, int(force))


def reset_round_count(keys: Keys, agent: str, *, max_rounds: int | None = None) -> Operation[str]:
    """Count the rounds of an agent without a host from 0 again, up to another bound if one is given; its name."""
    bound = "" if max_rounds is None else max_rounds
    return function_call(LIBRARY, "agent_reset_round_count", keys.base, bytes.decode, new_id(), agent, bound)


def rounds(
    keys: Keys, agent: str | None = None, *, task: str = "", round_id: str = "", limit: int = 20
) -> Operation[tuple[RoundRecord, ...]]:
    """The latest rounds that have ended, newest first: of one agent or all, on one task, or whose ids begin so.

    Records that cannot be read are left out.
    """

    def decode(reply: Reply) -> tuple[RoundRecord, ...]:
        records: list[RoundRecord] = []
        for raw in reply:
            try:
                records.append(_decode_record(raw))
            except ValueError:
                continue
        return tuple(records)

    words = [] if agent is None else [agent]
    return function_call(LIBRARY, "rounds", keys.base, decode, limit, task, round_id, *words)


def unpark_account(keys: Keys, account: str, *, reason: str = "") -> Operation[bool]:
    """Unpark an account before its time is over; whether it was parked."""
    return function_call(LIBRARY, "account_unpark", keys.base, bool, new_id(), account, reason)


def sweep(keys: Keys) -> Operation[tuple[str, ...]]:
    """Release what lost kernels held, and tasks whose hold is over; ids of the kernels. Every heartbeat does the same."""
    return function_call(LIBRARY, "hosts_expire", keys.base, _texts)


def freeze(keys: Keys, *, reason: str) -> Operation[bool]:
    """Freeze what runs on all kernels, and start nothing; whether the town was not frozen before."""
    return function_call(LIBRARY, "town_freeze", keys.base, bool, new_id(), check_text("a reason", reason, 10_000))


def thaw(keys: Keys, *, reason: str) -> Operation[bool]:
    """Thaw the town; whether it was frozen."""
    return function_call(LIBRARY, "town_thaw", keys.base, bool, new_id(), check_text("a reason", reason, 10_000))
