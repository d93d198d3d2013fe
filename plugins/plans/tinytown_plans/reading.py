"""From the text of a ``tasks.toml`` to frozen values, or to an error that names the line and the task.

The format is that of Tinytown 0.10 for Rust (``[meta]`` with description and default_agent, ``[[tasks]]`` with id,
description, agent, status, tags, parent) and what a task of ours has besides: title, needs, priority, role. Nothing is
guessed: unknown keys, needs that nobody has, ids that are there twice and circles are errors. Ids are required, because a
plan that is sent twice has to mean the same tasks.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, NoReturn, TypeVar

import msgspec
from tinytown.errors import TinytownError, UsageError
from tinytown.model.graph import find_cycle
from tinytown.model.ids import check_task_id, check_word
from tinytown.model.messages import DEFAULT_MESSAGE_LIMIT_BYTES, Priority
from tinytown.model.tasks import TaskState
from tinytown.model.text import check_text, shown
from tinytown.model.time import check_moment

T = TypeVar("T", bound=msgspec.Struct)

TITLE_LIMIT_BYTES = 1000

_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*(?:tasks|\"tasks\"|'tasks')[ \t]*\]\]", re.MULTILINE)


class PlanMeta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[meta]``: what the plan is about, and who gets the tasks that name nobody."""

    description: str = ""
    default_agent: str = ""


class PlanTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[tasks]]``: one task. ``agent`` is None where the entry does not say; ``""`` is the backlog, whatever the default.

    ``status`` is how far the task was when it was last looked up, or what a person has made of it. ``held`` is why nobody
    is to work on it yet, ``held_until`` (RFC 3339) until when.
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
        """Each task's id -> what has to be completed before it."""
        return {task.id: task.needs for task in self.tasks}

    def agent_of(self, task: PlanTask) -> str:
        """The agent that `task` is for, as the plan spells it; ``""`` is the backlog."""
        return self.meta.default_agent if task.agent is None else task.agent


def read_plan(text: str, name: str) -> Plan:
    """The plan that `text` holds; `name` is what errors call its file.

    Raises: UsageError with code ``bad_plan``, and fields ``path`` and, where it is known, ``line``.
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
            self.refuse(f"expected TOML: {error}", hint="mend that line")
        except RecursionError:
            self.refuse("expected a plan, got arrays that are nested too deep")
        for key in table.keys() - {"meta", "tasks"}:
            self.refuse(f"unknown key {shown(key)!r}", hint="known here: meta, tasks")
        entries: Any = table.get("tasks", [])
        if not isinstance(entries, list):
            self.refuse("expected tasks as an array of tables", hint="begin each with a line [[tasks]]")
        meta = self.meta(table.get("meta", {}))
        tasks = tuple(self.entry(number, each) for number, each in enumerate(entries))  # pyright: ignore
        self.check_whole(tasks)
        return Plan(meta=meta, tasks=tasks)

    def meta(self, value: Any) -> PlanMeta:
        meta = self.convert(value, PlanMeta, "[meta]")
        if meta.default_agent:
            self.check(lambda: check_word("default_agent", meta.default_agent), "[meta]")
        return meta

    def entry(self, number: int, value: Any) -> PlanTask:
        id_ = value.get("id") if isinstance(value, dict) else None  # pyright: ignore
        called = f"task {shown(id_)!r}" if isinstance(id_, str) else f"task number {number + 1}"
        task = self.convert(value, PlanTask, called, number)

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
                    raise UsageError("it has held_until and no held", hint='add held = "why"')

        self.check(check, called, number)
        return task

    def check_whole(self, tasks: tuple[PlanTask, ...]) -> None:
        """What no entry can say for itself."""
        first: dict[str, int] = {}
        for number, task in enumerate(tasks):
            if task.id in first:
                before = f" (line {line})" if (line := self.line(first[task.id])) else ""
                self.refuse(f"the id {task.id!r} is there twice{before}", hint="give each its own", number=number)
            first[task.id] = number
        for number, task in enumerate(tasks):
            for what, ids in (("needs", task.needs), ("has the parent", (task.parent,) if task.parent else ())):
                for id_ in ids:
                    if id_ not in first:
                        self.refuse(
                            f"task {task.id!r} {what} {shown(id_)!r}, which is no task of this plan",
                            hint="the ids are: " + shown(", ".join(first), 200),
                            number=number,
                        )
        for verb, edges in (
            ("need", {task.id: task.needs for task in tasks}),
            ("are part of", {task.id: (task.parent,) if task.parent else () for task in tasks}),
        ):
            if circle := find_cycle(edges):
                way = shown(" -> ".join([*circle, circle[0]]), 500)
                self.refuse(
                    f"tasks {verb} each other in a circle: {way}", hint="take one of them out", number=first[circle[0]]
                )

    def convert(self, value: Any, kind: type[T], called: str, number: int | None = None) -> T:
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at ")
            key = where.strip("`").removeprefix("$").removeprefix(".")
            unknown = what.partition("unknown field `")[2].rstrip("`")
            missing = what.partition("required field `")[2].rstrip("`")
            known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
            if unknown:
                self.refuse(
                    f"{called} has the unknown key {shown(unknown)!r}", hint=f"known here: {known}", number=number
                )
            if missing:
                self.refuse(f"{called} lacks {missing}", hint=f'add {missing} = "..."', number=number)
            self.refuse(f"{called}: {shown(what, 200)}" + (f" at {key}" if key else ""), number=number)

    def check(self, checks: Any, called: str, number: int | None = None) -> None:
        try:
            checks()
        except TinytownError as error:
            self.refuse(f"{called}: {error.message}", hint=error.hint, number=number)

    def refuse(self, what: str, *, hint: str = "", number: int | None = None) -> NoReturn:
        line = None if number is None else self.line(number)
        raise UsageError(
            f"{self.name}{f', line {line}' if line else ''}: {what}",
            hint=hint,
            code="bad_plan",
            path=self.name,
            line=line,
        )

    def line(self, number: int) -> int | None:
        """Where the entry `number` begins, counted from 1; None in a plan whose tasks stand in an inline array."""
        found, begin = -1, 0
        for match in _HEADER.finditer(self.text):
            try:
                tomllib.loads(self.text[begin : match.start()])
            except tomllib.TOMLDecodeError:
                continue  # what stands before it is not whole: this one is a line of a longer text
            begin = match.start()
            found += 1
            if found == number:
                return self.text.count("\n", 0, begin) + 1
        return None
