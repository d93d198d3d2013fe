"""The format of a snapshot: its records and their members. Pure; knows neither files nor servers.

A snapshot holds what people and agents have made, and nothing that belongs to a moment or a machine: no leases, tokens,
hosts or rounds, no sessions of backends. So a task that runs is saved as assigned, with its order in the mailbox, and
mail that a round has leased is in its place. An unchanged town gives an unchanged file.

What is not written is empty or 0. ``seq`` is a record's place among all that came before it, as the town counts. Times
are RFC 3339 in UTC.
"""

from __future__ import annotations

import base64
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET
from tinytown.model.agents import DesiredState
from tinytown.model.ids import SUPERVISOR
from tinytown.model.messages import Category, Priority

FORMAT = "tinytown-snapshot"
VERSION = 2

Texts = dict[str, str]

#: A number that the server counts with, exactly.
Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]

#: One JSON value as it was written, or nothing.
Json = msgspec.Raw | msgspec.UnsetType

#: The states that a task can be saved in: all but running, which is a moment's.
SavedState = Literal["pending", "blocked", "assigned", "verifying", "completed", "failed", "cancelled"]


class _Record(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True, forbid_unknown_fields=True
):
    pass


class Header(_Record, frozen=True, kw_only=True, tag="header"):
    """The first line: ``version`` of the format, ``schema`` of the town's data."""

    format: str
    version: int
    schema: str


class Settings(_Record, frozen=True, kw_only=True, tag="settings"):
    """The town's settings on the server, as text."""

    values: Texts = {}


class AgentRecord(_Record, frozen=True, kw_only=True, tag="agent"):
    """An agent. ``state`` is empty if it has or waits for a host; otherwise stopped, suspended or error."""

    seq: Count
    id: str
    name: str
    cli: str
    nickname: str = ""
    role: str = ""
    parent: str = ""
    tags: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    max_rounds: Count = 0
    desired_state: DesiredState
    state: Literal["", "stopped", "suspended", "error"] = ""
    reason: str = ""
    since: str = ""
    created_at: str
    rounds_completed: Count = 0
    tasks_completed: Count = 0
    failures: Count = 0
    other: Texts = {}


class TaskRecord(_Record, frozen=True, kw_only=True, tag="task"):
    """A task. ``order`` is the id of the message that orders its agent to do it, ``orders`` their number so far.
    ``lineage_attempts`` counts those of the task and of all that was made of it, see ``round.lineage_attempts``.

    ``origin`` and the tables of ``meta`` are JSON as it was written. ``other`` keeps fields that this version does not know.
    """

    seq: Count
    id: str
    title: str = ""
    description: str
    state: SavedState
    priority: Priority
    role: str = ""
    tags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    open_needs: tuple[str, ...] = ()
    parent: str = ""
    assigned_to: str = ""
    agent_id: str = ""
    order: str = ""
    orders: Count = 0
    attempts: Count = 0
    lost: Count = 0
    lineage_attempts: Count = 0
    held: str = ""
    held_until: str = ""
    reason: str = ""
    since: str = ""
    created_at: str
    updated_at: str
    started_at: str = ""
    completed_at: str = ""
    result: str = ""
    rejection: str = ""
    origin: Json = UNSET
    meta: dict[str, msgspec.Raw] = {}
    other: Texts = {}


class MessageRecord(_Record, frozen=True, kw_only=True, tag="message"):
    """A message in the mailbox of `agent`. ``due``: not delivered before. A body that is not JSON is in ``raw`` (base64)."""

    agent: str
    priority: Priority
    seq: Count
    id: str
    category: Category
    deliveries: Count = 0
    due: str = ""
    body: Json = UNSET
    raw: str = ""

    @property
    def content(self) -> bytes:
        """The body as stored on the server."""
        return body_bytes(self.body, self.raw)


def order_of(task: TaskRecord, seq: int) -> MessageRecord:
    """The order to the agent of `task` to do it, as the server writes it; `seq` is its place in the mailbox."""
    body = {
        "id": task.order,
        "from": SUPERVISOR,
        "to": task.assigned_to,
        "type": "task_assign",
        "task_id": task.id,
        "priority": task.priority,
        "created_at": task.updated_at,
    }
    return MessageRecord(
        agent=task.assigned_to,
        priority=task.priority,
        seq=seq,
        id=task.order,
        category="task",
        body=msgspec.Raw(msgspec.json.encode(body)),
    )


class DeadLetterRecord(_Record, frozen=True, kw_only=True, tag="dead_letter"):
    """A dead letter, with its place in the mailbox."""

    at: str
    id: str
    agent: str
    agent_id: str
    priority: Priority
    seq: Count
    category: Category
    deliveries: Count = 0
    reason: str = ""
    body: Json = UNSET
    raw: str = ""

    @property
    def content(self) -> bytes:
        """The body as it was in the mailbox."""
        return body_bytes(self.body, self.raw)


class PluginDataRecord(_Record, frozen=True, kw_only=True, tag="plugin_data"):
    """One field of a plugin's data in the town, as the JSON that was written."""

    plugin: str
    field: str
    value: msgspec.Raw

    @property
    def id(self) -> str:
        """Its unique id."""
        return f"{self.plugin}:{self.field}"


Record = Header | Settings | AgentRecord | TaskRecord | MessageRecord | DeadLetterRecord | PluginDataRecord


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A whole town. Each kind is in its order: agents and tasks by age, mail by mailbox and place, dead letters by time,
    plugin data by name."""

    schema: str
    settings: dict[str, str] = {}
    agents: tuple[AgentRecord, ...] = ()
    tasks: tuple[TaskRecord, ...] = ()
    messages: tuple[MessageRecord, ...] = ()
    dead_letters: tuple[DeadLetterRecord, ...] = ()
    plugin_data: tuple[PluginDataRecord, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The number of records of each kind."""
        return {
            "agents": len(self.agents),
            "tasks": len(self.tasks),
            "messages": len(self.messages),
            "dead_letters": len(self.dead_letters),
            "plugin_data": len(self.plugin_data),
        }

    @property
    def highest_seq(self) -> int:
        """The highest sequence number of the records; 0 without records."""
        kinds = (self.agents, self.tasks, self.messages, self.dead_letters)
        return max((record.seq for kind in kinds for record in kind), default=0)


def body_bytes(body: Json, raw: str) -> bytes:
    """The inverse of `embedded`. Raises: binascii.Error for invalid base64."""
    return bytes(body) if isinstance(body, msgspec.Raw) else base64.b64decode(raw, validate=True)


def embedded(content: bytes) -> tuple[Json, str]:
    """``body`` and ``raw`` of a record: JSON unchanged, or anything else in base64."""
    if _is_line_of_json(content):
        return msgspec.Raw(content), ""
    return UNSET, base64.b64encode(content).decode()


def _is_line_of_json(content: bytes) -> bool:
    if content != content.strip() or b"\n" in content or b"\r" in content:
        return False
    try:
        content.decode()
        msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
