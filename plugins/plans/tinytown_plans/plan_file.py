"""From the text of a ``tasks.toml`` to frozen values, or to an error that names the line and the task.

The format is that of Tinytown 0.10 for Rust (``[meta]`` with description and default_agent, ``[[tasks]]`` with id,
description, agent, status, tags, parent) plus title, needs, priority, role, held and held_until. Nothing is guessed:
unknown keys, needs without a task, duplicate ids and cycles are errors. Ids are required, because a plan that is pushed
twice has to mean the same tasks.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, NoReturn, TypeVar

import msgspec
from tinytown.errors import TinytownError, UsageError
from tinytown.model.ids import check_task_id, check_word
from tinytown.model.messages import DEFAULT_MESSAGE_LIMIT_BYTES, Priority
from tinytown.model.tasks import TaskState
from tinytown.model.text import check_text, shown
from tinytown.model.time import check_moment
from tinytown_cli.graph import find_cycle

T = TypeVar("T", bound=msgspec.Struct)

TITLE_LIMIT_BYTES = 1000

_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*(?:tasks|\"tasks\"|'tasks')[ \t]*\]\]", re.MULTILINE)


class PlanMeta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[meta]``: the subject of the plan, and the agent of the tasks that name none."""

    description: str = ""
    default_agent: str = ""


class PlanTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[tasks]]``: one task. ``agent`` is None if the entry has none; ``""`` is the backlog, whatever the default.

    ``status`` is the task's state at the last pull, or the outcome that a person wrote. ``held`` is why the task must not
    start yet, ``held_until`` (RFC 3339) until when.
    """

    id: str
    description: str
    title: str = ""
    agent: str | None = None
    status: TaskState = "pending"
    priority: Priority = "normal"
    needs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    role: str = ""
    parent: str = ""
    held: str = ""
    held_until: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A whole plan, its tasks in the order of the file."""

    meta: PlanMeta = PlanMeta()
    tasks: tuple[PlanTask, ...] = ()

    @property
    def needs(self) -> dict[str, tuple[str, ...]]:
        """Each task's id -> the ids of the tasks that must be completed before it."""
        return {task.id: task.needs for task in self.tasks}

    def agent_of(self, task: PlanTask) -> str:
        """The agent that `task` is for, as the plan spells it; ``""`` is the backlog."""
        return self.meta.default_agent if task.agent is None else task.agent


def read_plan(text: str, name: str) -> Plan:
    """The plan that `text` holds; `name` is the name of its file in errors.

    Raises: UsageError with code ``bad_plan``, and fields ``path`` and, if known, ``line``.
    """
    return _Reader(text, name).read()


class _Reader:
    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name

    def read(self) -> Plan:
        try:
            table = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            self.refuse(f"expected TOML: {error}", hint="fix that line")
        except RecursionError:
            self.refuse("expected a plan, got arrays nested too deeply")
        for key in table.keys() - {"meta", "tasks"}:
            self.refuse(f"unknown key {shown(key)!r}", hint="known keys: meta, tasks")
        entries: Any = table.get("tasks", [])
        if not isinstance(entries, list):
            self.refuse("expected tasks as an array of tables", hint="start each task with a line [[tasks]]")
        meta = self.meta(table.get("meta", {}))
        tasks = tuple(self.entry(number, value) for number, value in enumerate(entries))  # pyright: ignore
        self.check_whole(tasks)
        return Plan(meta=meta, tasks=tasks)

    def meta(self, value: Any) -> PlanMeta:
        meta = self.convert(value, PlanMeta, "[meta]")
        if meta.default_agent:
            self.check(lambda: check_word("default_agent", meta.default_agent), "[meta]")
        return meta

    def entry(self, number: int, value: Any) -> PlanTask:
        id_ = value.get("id") if isinstance(value, dict) else None  # pyright: ignore
        subject = f"task {shown(id_)!r}" if isinstance(id_, str) else f"task number {number + 1}"
        task = self.convert(value, PlanTask, subject, number)

        def check() -> None:
            check_task_id(task.id)
            check_text("a description", task.description, DEFAULT_MESSAGE_LIMIT_BYTES)
            if task.title:
                check_text("a title", task.title, TITLE_LIMIT_BYTES)
            if task.agent:
                check_word("name for an agent", task.agent)
            if task.role:
                check_word("role", task.role)
            for tag in task.tags:
                check_word("tag", tag)
            if task.held:
                check_text("a reason", task.held, 10_000)
            if task.held_until:
                check_moment(task.held_until)
                if not task.held:
                    raise UsageError("it has held_until without held", hint='add held = "why"')

        self.check(check, subject, number)
        return task

    def check_whole(self, tasks: tuple[PlanTask, ...]) -> None:
        """Check what concerns several entries."""
        numbers: dict[str, int] = {}
        for number, task in enumerate(tasks):
            if task.id in numbers:
                line_note = f" (line {line})" if (line := self.line(numbers[task.id])) else ""
                self.refuse(
                    f"the id {task.id!r} is used twice{line_note}", hint="give each task its own id", number=number
                )
            numbers[task.id] = number
        for number, task in enumerate(tasks):
            for problem, ids in (("needs", task.needs), ("has the parent", (task.parent,) if task.parent else ())):
                for id_ in ids:
                    if id_ not in numbers:
                        self.refuse(
                            f"task {task.id!r} {problem} {shown(id_)!r}, which is not a task of this plan",
                            hint="ids of this plan: " + shown(", ".join(numbers), 200),
                            number=number,
                        )
        for verb, edges in (
            ("need", {task.id: task.needs for task in tasks}),
            ("are part of", {task.id: (task.parent,) if task.parent else () for task in tasks}),
        ):
            if cycle := find_cycle(edges):
                path = shown(" -> ".join([*cycle, cycle[0]]), 500)
                self.refuse(
                    f"tasks {verb} each other in a cycle: {path}",
                    hint="remove one of these edges",
                    number=numbers[cycle[0]],
                )

    def convert(self, value: Any, kind: type[T], subject: str, number: int | None = None) -> T:
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            problem, _, where = str(error).partition(" - at ")
            key = where.strip("`").removeprefix("$").removeprefix(".")
            unknown = problem.partition("unknown field `")[2].rstrip("`")
            missing = problem.partition("required field `")[2].rstrip("`")
            known_keys = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
            if unknown:
                self.refuse(
                    f"{subject} has the unknown key {shown(unknown)!r}", hint=f"known keys: {known_keys}", number=number
                )
            if missing:
                self.refuse(f"{subject} lacks {missing}", hint=f'add {missing} = "..."', number=number)
            self.refuse(f"{subject}: {shown(problem, 200)}" + (f" at {key}" if key else ""), number=number)

    def check(self, checks: Any, subject: str, number: int | None = None) -> None:
        try:
            checks()
        except TinytownError as error:
            self.refuse(f"{subject}: {error.message}", hint=error.hint, number=number)

    def refuse(self, problem: str, *, hint: str = "", number: int | None = None) -> NoReturn:
        line = None if number is None else self.line(number)
        raise UsageError(
            f"{self.name}{f', line {line}' if line else ''}: {problem}",
            hint=hint,
            code="bad_plan",
            path=self.name,
            line=line,
        )

    def line(self, number: int) -> int | None:
        """The line on which the entry `number` starts, counted from 1; None for tasks in an inline array."""
        number_found, begin = -1, 0
        for match in _HEADER.finditer(self.text):
            try:
                tomllib.loads(self.text[begin : match.start()])
            except tomllib.TOMLDecodeError:
                continue  # the text before it is incomplete: this header is a line of a multi-line string
            begin = match.start()
            number_found += 1
            if number_found == number:
                return self.text.count("\n", 0, begin) + 1
        return None
