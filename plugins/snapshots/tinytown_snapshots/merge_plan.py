"""The records of a snapshot that a town lacks, and the conflicts between the two. Pure.

Records in both stay as the town has them. Records only in the snapshot are added, unless something they depend on differs
in the town: then they are conflicts, and so are their dependants. Added records come after all those of the town.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec
from tinytown.model.ids import SUPERVISOR
from tinytown.model.tasks import FINISHED

from tinytown_snapshots.capture import is_order
from tinytown_snapshots.records import AgentRecord, MessageRecord, Snapshot, TaskRecord

_COUNTED = {"plugin_data": "plugin_data"}
#: The reason of a conflict about a record that is in both.
DIFFERS = "already in the town, with other content"

Kind = Literal["agent", "task", "message", "dead_letter", "plugin_data"]


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the snapshot that was not added, and the reason."""

    kind: Kind
    id: str
    reason: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a comparison: `added` is ready to be restored, `same` counts records already in the town."""

    added: Snapshot
    same: dict[str, int]
    conflicts: tuple[Conflict, ...]


def plan_merge(town: Snapshot, seq: int, incoming: Snapshot, *, handled: frozenset[str] = frozenset()) -> Plan:
    """What `incoming` adds to `town`, whose sequence counter is at `seq`.

    `handled` are ids of messages that the town has already handled; they are not added again.
    """
    merge = _Merge(town, incoming)
    agents = [record for record in incoming.agents if merge.takes_agent(record)]
    tasks = merge.choose_tasks()
    messages = [record for record in incoming.messages if merge.takes_message(record, handled)]
    letters_here = {record.id: record for record in town.dead_letters}
    letters = [
        record for record in incoming.dead_letters if merge.is_new("dead_letter", record, letters_here.get(record.id))
    ]
    data_here = {record.id: record for record in town.plugin_data}
    data = [record for record in incoming.plugin_data if merge.is_new("plugin_data", record, data_here.get(record.id))]
    added = _behind(seq, agents, tasks, messages, incoming.schema, tuple(letters))
    return Plan(
        added=msgspec.structs.replace(added, plugin_data=tuple(data)),
        same=merge.same,
        conflicts=tuple(merge.conflicts),
    )


class _Merge:
    def __init__(self, town: Snapshot, incoming: Snapshot) -> None:
        self.town = town
        self.incoming = incoming
        self.same: dict[str, int] = {"agents": 0, "tasks": 0, "messages": 0, "dead_letters": 0, "plugin_data": 0}
        self.conflicts: list[Conflict] = []
        self.ids = {record.id: record for record in town.agents}
        self.words = {
            word.lower(): record.name
            for record in town.agents
            for word in (record.name, record.nickname, record.id)
            if word
        }
        #: Names of incoming agents that are, or will be, agents of this town.
        self.agents = {SUPERVISOR}
        self.tasks_here = {record.id: record for record in town.tasks}
        self.chosen: dict[str, TaskRecord] = {}
        self.mail_here = {(record.agent, record.id): record for record in town.messages}
        self.dead_here = {record.id for record in town.dead_letters}

    def refuse(self, kind: Kind, id_: str, reason: str) -> bool:
        self.conflicts.append(Conflict(kind=kind, id=id_, reason=reason))
        return False

    def is_new(self, kind: Kind, record: msgspec.Struct, existing: msgspec.Struct | None) -> bool:
        """Whether the town lacks the record; one with other content is a conflict."""
        if existing is None:
            return True
        if _lasting(record) == _lasting(existing):
            self.same[_COUNTED.get(kind, f"{kind}s")] += 1
        else:
            self.refuse(kind, str(record.id), DIFFERS)  # type: ignore[attr-defined]
        return False

    def takes_agent(self, agent: AgentRecord) -> bool:
        existing = self.ids.get(agent.id)
        if existing is not None and existing.name == agent.name:
            self.agents.add(agent.name)
        if not self.is_new("agent", agent, existing):
            return False
        for word in filter(None, (agent.name, agent.nickname, agent.id)):
            if owner := self.words.get(word.lower()):
                return self.refuse("agent", agent.id, f"{word!r} is taken in the town by {owner}")
        self.agents.add(agent.name)
        return True

    def choose_tasks(self) -> list[TaskRecord]:
        candidates = {
            task.id: task
            for task in self.incoming.tasks
            if self.is_new("task", task, self.tasks_here.get(task.id)) and self._has_its_agent(task)
        }
        # A task that is left out may leave out its dependants.
        while unfit := {id_: reason for id_, task in candidates.items() if (reason := self._unfit(task, candidates))}:
            for id_, reason in unfit.items():
                self.refuse("task", id_, reason)
                del candidates[id_]
        self.chosen = candidates
        return list(candidates.values())

    def _has_its_agent(self, task: TaskRecord) -> bool:
        if task.agent_id and task.state not in FINISHED and task.assigned_to not in self.agents:
            return self.refuse("task", task.id, f"its agent {task.assigned_to} is not restored")
        return True

    def _unfit(self, task: TaskRecord, candidates: dict[str, TaskRecord]) -> str:
        for need in task.needs if task.state not in FINISHED else ():
            existing = self.tasks_here.get(need)
            if need in task.open_needs and existing is None and need not in candidates:
                return f"it needs {need}, which is not restored"
            if existing is not None and (existing.state == "completed") == (need in task.open_needs):
                return f"it needs {need}, which is {existing.state} in the town"
        return ""

    def takes_message(self, message: MessageRecord, handled: frozenset[str]) -> bool:
        if message.agent not in self.agents:
            return self.refuse("message", message.id, f"its mailbox {message.agent} is not restored")
        if (message.agent, message.id) in self.mail_here or message.id in self.dead_here or message.id in handled:
            self.same["messages"] += 1
            return False
        task_id = is_order(message.category, message.id, message.content)
        if task_id and task_id not in self.chosen:
            # The town has that task with an order of its own; or the task was left out with a reason.
            self.same["messages"] += 1
            return False
        return True


def _lasting(record: msgspec.Struct) -> msgspec.Struct:
    """A record without its sequence number, which differs from town to town."""
    return msgspec.structs.replace(record, seq=0) if "seq" in record.__struct_fields__ else record


def _behind(
    seq: int,
    agents: Iterable[AgentRecord],
    tasks: Iterable[TaskRecord],
    messages: Iterable[MessageRecord],
    schema: str,
    letters: tuple[msgspec.Struct, ...],
) -> Snapshot:
    """The records with sequence numbers after `seq`, in their own order."""
    listed: list[AgentRecord | TaskRecord | MessageRecord] = sorted([*agents, *tasks, *messages], key=lambda e: e.seq)
    moved = [msgspec.structs.replace(record, seq=place) for place, record in enumerate(listed, seq + 1)]
    return Snapshot(
        schema=schema,
        agents=tuple(record for record in moved if isinstance(record, AgentRecord)),
        tasks=tuple(record for record in moved if isinstance(record, TaskRecord)),
        messages=tuple(record for record in moved if isinstance(record, MessageRecord)),
        dead_letters=letters,  # type: ignore[arg-type]
    )
