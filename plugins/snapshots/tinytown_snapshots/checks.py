"""Validates the records of a file: legal names, no duplicates, no dangling references. Pure.

The server-side functions keep these invariants in every town; they are checked here, line by line, because a file may have
been edited, merged, cut or forged. What the server would get is read as the types of the wire, which every client reads it as
later. Refuses the first invalid line; see `lines.bad_line`.
"""

from __future__ import annotations

import binascii
import graphlib
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from tinytown.config import WakeConfig
from tinytown.errors import UsageError
from tinytown.model.agents import read_agent
from tinytown.model.ids import (
    SUPERVISOR,
    SUPERVISOR_ID,
    check_agent_name,
    check_id,
    check_label,
    check_task_id,
    check_word,
)
from tinytown.model.messages import DEFAULT_MESSAGE_LIMIT_BYTES
from tinytown.model.tasks import FINISHED, read_task
from tinytown.model.text import check_text, shown
from tinytown.model.time import parse_rfc3339, rfc3339

from tinytown_snapshots.capture import AGENT_VOLATILE, SCORE_STEP, TASK_VOLATILE, is_order
from tinytown_snapshots.lines import Numbered, bad_line
from tinytown_snapshots.records import (
    AgentRecord,
    DeadLetterRecord,
    MessageRecord,
    PluginDataRecord,
    Settings,
    TaskRecord,
)
from tinytown_snapshots.restore_rows import agent_fields, task_fields

_SETTING, _NUMBER = re.compile(r"[a-z][a-z0-9_]{0,63}"), re.compile(r"\d{1,15}")
#: What else the server keeps beside settings: of which version its data is, and whether it is frozen.
_NO_SETTINGS = ("schema", "frozen_at", "frozen_why")

#: No text is larger, whatever limit a town has configured.
_TEXT_LIMIT_BYTES = 64 * DEFAULT_MESSAGE_LIMIT_BYTES


def check(numbered: Iterable[Numbered]) -> None:
    """Raises: UsageError with code ``bad_snapshot`` and the number of the first invalid line."""
    checker = _Checker()
    lines = list(numbered)
    # Records that others refer to come first, wherever they are in the file.
    for kind, check_record in checker.record_checks.items():
        for number, record in lines:
            if isinstance(record, kind):
                try:
                    check_record(number, record)
                except (UsageError, ValueError, OverflowError, OSError, RecursionError) as error:
                    if isinstance(error, UsageError) and error.code == "bad_snapshot":
                        raise
                    raise bad_line(number, error.message if isinstance(error, UsageError) else str(error)) from error
    checker.check_graph()


class _Checker:
    def __init__(self) -> None:
        self.record_checks: dict[type, Callable[[int, Any], None]] = {
            Settings: self._settings,
            AgentRecord: self._agent,
            TaskRecord: self._task,
            MessageRecord: self._message,
            DeadLetterRecord: self._letter,
            PluginDataRecord: self._plugin_data,
        }
        self.taken: dict[tuple[str, str], int] = {}
        self.agents: dict[str, AgentRecord] = {}
        self.tasks: dict[str, tuple[int, TaskRecord]] = {}
        self.orders: dict[str, str] = {}

    def take(self, number: int, what: str, word: str | int) -> None:
        """Each word of a kind may be taken once."""
        before = self.taken.setdefault((what, str(word)), number)
        if before != number:
            raise ValueError(f"{what} {word} is that of line {before}")

    def _settings(self, number: int, settings: Settings) -> None:
        self.take(number, "record of", "settings")
        for name, value in settings.values.items():
            if not _SETTING.fullmatch(name) or name in _NO_SETTINGS:
                raise ValueError(f"{shown(name)!r} is no setting of a town")
            if name == "wake":
                _check_wake(value)
            elif not _NUMBER.fullmatch(value):
                raise ValueError(f"expected a number for {name}, got {shown(value)!r}")

    def _agent(self, number: int, agent: AgentRecord) -> None:
        check_id("an agent id", agent.id)
        check_agent_name(agent.name)
        check_text("a kind of agent", agent.cli, 1000)
        if agent.id == SUPERVISOR_ID:
            raise ValueError("an agent with the id of the human side")
        for what, word in (("nickname", agent.nickname), ("role", agent.role)):
            _ = word and check_word(what, word)
        _ = agent.parent and check_id("a parent", agent.parent)
        for tag in agent.tags:
            check_word("tag", tag)
        for label in agent.labels:
            check_label(label)
        self._place(number, "agent's seq", agent.seq)
        self.take(number, "agent id", agent.id.lower())
        self.take(number, "name", agent.name.lower())
        if agent.nickname:
            self.take(number, "name", agent.nickname.lower())
        _time(agent.created_at)
        if agent.state or agent.since:
            _time(agent.since)
        if (agent.desired_state == "stopped") != (agent.state == "stopped"):
            raise ValueError(f"its state is {agent.state!r}, the desired one {agent.desired_state}")
        _others(agent, AGENT_VOLATILE)
        read_agent(agent_fields(agent, now_ms=0))
        self.agents[agent.name] = agent

    def _place(self, number: int, what: str, seq: int) -> None:
        if not 1 <= seq < SCORE_STEP:
            raise ValueError(f"expected a seq of 1 to {SCORE_STEP - 1}, got {seq}")
        self.take(number, what, seq)

    def _task(self, number: int, task: TaskRecord) -> None:
        check_task_id(task.id)
        for what, text in (("a description", task.description), ("a title", task.title or "-")):
            check_text(what, text, _TEXT_LIMIT_BYTES)
        _ = task.role and check_word("role", task.role)
        _ = task.parent and check_task_id(task.parent)
        self.take(number, "task", task.id)
        self._place(number, "task's seq", task.seq)
        for tag in task.tags:
            check_word("tag", tag)
        for name in task.meta:
            check_word("table name", name)
        for need in task.needs:
            check_task_id(need)
        _time(task.created_at)
        _time(task.updated_at)
        _times(task.since, task.started_at, task.completed_at, task.held_until)
        _others(task, TASK_VOLATILE)
        self._state(task)
        tables = {name: msgspec.json.decode(table, type=dict[str, Any]) for name, table in task.meta.items()}
        fields = {name: text for name, text in task_fields(task).items() if not name.startswith("meta:")}
        read_task({**fields, "meta": msgspec.json.encode(tables).decode()})
        self.tasks[task.id] = (number, task)

    def _state(self, task: TaskRecord) -> None:
        holder = self.agents.get(task.assigned_to)
        if not set(task.open_needs) <= set(task.needs):
            raise ValueError("an open need that is not one of its needs")
        if task.state == "assigned":
            if holder is None or holder.id != task.agent_id:
                raise ValueError(f"it is assigned to {task.assigned_to!r}, which is not an agent of this snapshot")
            if not task.order:
                raise ValueError("it is assigned without an order")
            self.orders[task.order] = task.id
        if task.state == "pending" and task.agent_id:
            raise ValueError("it is pending but has an agent")
        if task.state == "blocked" and not task.open_needs and not task.held:
            raise ValueError("it is blocked without an open need")
        if (task.held or task.held_until) and (task.state != "blocked" or not task.held):
            raise ValueError("only a blocked task can be held, and only with a reason")
        if task.state in ("pending", "assigned") and task.open_needs:
            raise ValueError(f"it is {task.state} with open needs")
        if task.state in FINISHED and not task.completed_at:
            raise ValueError(f"it is {task.state}, without the time since when")
        if task.order and task.state != "assigned":
            raise ValueError(f"it is {task.state} but has an order")
        if task.agent_id and task.state not in FINISHED and (holder is None or holder.id != task.agent_id):
            raise ValueError(f"it belongs to {task.assigned_to!r}, which is not an agent of this snapshot")

    def _message(self, number: int, message: MessageRecord) -> None:
        check_id("a message id", message.id)
        if message.agent != SUPERVISOR and message.agent not in self.agents:
            raise ValueError(f"no agent called {message.agent!r} in this snapshot")
        self.take(number, f"message for {message.agent}", message.id)
        self._place(number, f"{message.priority} place in the mailbox of {message.agent}", message.seq)
        _times(message.due)
        content = _content(message)
        task_id = is_order(message.category, message.id, content)
        if task_id and (self.orders.pop(message.id, None), self._holder(task_id)) != (task_id, message.agent):
            raise ValueError(f"an order of task {task_id}, which has another order or none")

    def _holder(self, task_id: str) -> str:
        return self.tasks[task_id][1].assigned_to if task_id in self.tasks else ""

    def _letter(self, number: int, letter: DeadLetterRecord) -> None:
        for what, word in (("a message id", letter.id), ("an agent", letter.agent), ("an agent's id", letter.agent_id)):
            check_id(what, word)
        self.take(number, "dead letter", letter.id)
        if not 0 <= letter.seq < SCORE_STEP:
            raise ValueError(f"expected a seq of 0 to {SCORE_STEP - 1}, got {letter.seq}")
        _time(letter.at)
        _content(letter)

    def _plugin_data(self, number: int, data: PluginDataRecord) -> None:
        check_id("a plugin's name", data.plugin)
        check_id("a field", data.field)
        self.take(number, "plugin data", data.id)
        if bytes(data.value) == b"null":
            raise ValueError("a plugin's data without a value")

    def check_graph(self) -> None:
        """Check across lines: missing orders, missing needs, and cycles of needs."""
        for task_id in self.orders.values():
            raise bad_line(self.tasks[task_id][0], "its order is in no mailbox")
        for number, task in self.tasks.values():
            for need in task.open_needs:
                if need not in self.tasks:
                    raise bad_line(number, f"it needs task {need}, which is not in this snapshot")
                if self.tasks[need][1].state == "completed" and task.state not in FINISHED:
                    raise bad_line(number, f"its need {need} is open and completed")
        try:
            graphlib.TopologicalSorter({id_: task.needs for id_, (_, task) in self.tasks.items()}).prepare()
        except graphlib.CycleError as error:
            number = self.tasks[error.args[1][0]][0]
            raise bad_line(number, f"its needs form a cycle: {' needs '.join(error.args[1][::-1])}") from error


def _times(*moments: str) -> None:
    for moment in moments:
        if moment:
            _time(moment)


def _time(moment: str) -> None:
    if not moment or rfc3339(parse_rfc3339(moment)) != moment:
        raise ValueError(f"expected a time like 2026-01-31T09:30:00.125Z, got {moment!r}")


def _others(record: AgentRecord | TaskRecord, volatile: frozenset[str]) -> None:
    """``other`` is for fields that this version does not know."""
    known = volatile.union(record.__struct_fields__)
    for name, text in record.other.items():
        if name in known or name.startswith("meta:") or not name or not text:
            raise ValueError(f"{shown(name)} cannot be restored from other")


def _content(message: MessageRecord | DeadLetterRecord) -> bytes:
    if message.body is not msgspec.UNSET and message.raw:
        raise ValueError("a message with two bodies")
    try:
        return message.content
    except binascii.Error as error:
        raise ValueError(f"expected base64 in raw, got {message.raw!r}: {error}") from error


def _check_wake(text: str) -> None:
    try:
        msgspec.json.decode(text, type=WakeConfig)
    except msgspec.DecodeError as error:
        raise ValueError(f"expected the rules of [wake], got {shown(text)!r}: {error}") from error
