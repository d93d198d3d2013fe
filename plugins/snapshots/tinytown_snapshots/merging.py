"""What of a snapshot a town lacks, and where the two disagree. Pure: compares two snapshots, changes none.

Whatever is in both stays as the town has it. What is only in the snapshot is added, unless something it hangs on is
different here: then it is a conflict, and so is what hangs on that. Added records stand behind all that the town has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec
from tinytown.model.ids import SUPERVISOR
from tinytown.model.tasks import FINISHED

from tinytown_snapshots.capture import is_order
from tinytown_snapshots.records import AgentRecord, MessageRecord, Snapshot, TaskRecord

#: The reason of a conflict about what is in both.
_COUNTED = {"plugin_data": "plugin_data"}
DIFFERS = "it is in the town already and differs there"

Kind = Literal["agent", "task", "message", "dead_letter", "plugin_data"]


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the snapshot that was not added, and why."""

    kind: Kind
    id: str
    reason: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a merge does: `added` is ready to be put, `same` counts what is in the town already."""

    added: Snapshot
    same: dict[str, int]
    conflicts: tuple[Conflict, ...]


def plan_merge(town: Snapshot, seq: int, incoming: Snapshot, *, handled: frozenset[str] = frozenset()) -> Plan:
    """What `incoming` adds to `town`, whose counter of places stands at `seq`.

    `handled` are ids of messages that the town has had and settled: they do not come again.
    """
    merge = _Merge(town, incoming)
    agents = [each for each in incoming.agents if merge.takes_agent(each)]
    tasks = merge.choose_tasks()
    messages = [each for each in incoming.messages if merge.takes_message(each, handled)]
    letters_here = {each.id: each for each in town.dead_letters}
    letters = [each for each in incoming.dead_letters if merge.is_new("dead_letter", each, letters_here.get(each.id))]
    data_here = {each.id: each for each in town.plugin_data}
    data = [each for each in incoming.plugin_data if merge.is_new("plugin_data", each, data_here.get(each.id))]
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
        self.ids = {each.id: each for each in town.agents}
        self.words = {
            word.lower(): each.name for each in town.agents for word in (each.name, each.nickname, each.id) if word
        }
        #: Names of the incoming agents that are, or will be, the same agents here.
        self.agents = {SUPERVISOR}
        self.tasks_here = {each.id: each for each in town.tasks}
        self.chosen: dict[str, TaskRecord] = {}
        self.mail_here = {(each.agent, each.id): each for each in town.messages}
        self.dead_here = {each.id for each in town.dead_letters}

    def refuse(self, kind: Kind, id_: str, reason: str) -> bool:
        self.conflicts.append(Conflict(kind=kind, id=id_, reason=reason))
        return False

    def is_new(self, kind: Kind, record: msgspec.Struct, here: msgspec.Struct | None) -> bool:
        """Whether the town has no such record; one that differs is a conflict."""
        if here is None:
            return True
        if _lasting(record) == _lasting(here):
            self.same[_COUNTED.get(kind, f"{kind}s")] += 1
        else:
            self.refuse(kind, str(record.id), DIFFERS)  # type: ignore[attr-defined]
        return False

    def takes_agent(self, agent: AgentRecord) -> bool:
        here = self.ids.get(agent.id)
        if here is not None and here.name == agent.name:
            self.agents.add(agent.name)
        if not self.is_new("agent", agent, here):
            return False
        for word in filter(None, (agent.name, agent.nickname, agent.id)):
            if owner := self.words.get(word.lower()):
                return self.refuse("agent", agent.id, f"{word!r} is taken here, by {owner}")
        self.agents.add(agent.name)
        return True

    def choose_tasks(self) -> list[TaskRecord]:
        candidates = {
            task.id: task
            for task in self.incoming.tasks
            if self.is_new("task", task, self.tasks_here.get(task.id)) and self._has_its_agent(task)
        }
        # Leaving one out may leave out what needs it.
        while unfit := {id_: why for id_, task in candidates.items() if (why := self._unfit(task, candidates))}:
            for id_, why in unfit.items():
                self.refuse("task", id_, why)
                del candidates[id_]
        self.chosen = candidates
        return list(candidates.values())

    def _has_its_agent(self, task: TaskRecord) -> bool:
        if task.agent_id and task.state not in FINISHED and task.assigned_to not in self.agents:
            return self.refuse("task", task.id, f"its agent {task.assigned_to} could not be brought along")
        return True

    def _unfit(self, task: TaskRecord, candidates: dict[str, TaskRecord]) -> str:
        for need in task.needs if task.state not in FINISHED else ():
            here = self.tasks_here.get(need)
            if need in task.open_needs and here is None and need not in candidates:
                return f"it needs {need}, which could not be brought along"
            if here is not None and (here.state == "completed") == (need in task.open_needs):
                return f"it needs {need}, which is {here.state} here"
        return ""

    def takes_message(self, message: MessageRecord, handled: frozenset[str]) -> bool:
        if message.agent not in self.agents:
            return self.refuse("message", message.id, f"its mailbox, {message.agent}, could not be brought along")
        if (message.agent, message.id) in self.mail_here or message.id in self.dead_here or message.id in handled:
            self.same["messages"] += 1
            return False
        task_id = is_order(message.category, message.id, message.content)
        if task_id and task_id not in self.chosen:
            # The town has that task, and whatever is to be done about it; or it was left out with its reason.
            self.same["messages"] += 1
            return False
        return True


def _lasting(record: msgspec.Struct) -> msgspec.Struct:
    """A record without its place, which is another one in every town."""
    return msgspec.structs.replace(record, seq=0) if "seq" in record.__struct_fields__ else record


def _behind(
    seq: int,
    agents: Iterable[AgentRecord],
    tasks: Iterable[TaskRecord],
    messages: Iterable[MessageRecord],
    schema: str,
    letters: tuple[msgspec.Struct, ...],
) -> Snapshot:
    """The records with places behind `seq`, in the order that they have among themselves."""
    listed: list[AgentRecord | TaskRecord | MessageRecord] = sorted([*agents, *tasks, *messages], key=lambda e: e.seq)
    moved = [msgspec.structs.replace(each, seq=place) for place, each in enumerate(listed, seq + 1)]
    return Snapshot(
        schema=schema,
        agents=tuple(each for each in moved if isinstance(each, AgentRecord)),
        tasks=tuple(each for each in moved if isinstance(each, TaskRecord)),
        messages=tuple(each for each in moved if isinstance(each, MessageRecord)),
        dead_letters=letters,  # type: ignore[arg-type]
    )
