"""A converter that keeps every promise, and for each promise one that breaks it: the kit has to name that one and no other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import msgspec
import pytest
import trio
from tinytown.model.tasks import Task
from tinytown_cli.contracts import Converted
from tinytown_testing import PROMISES, ConverterScenarios, check_converter

DEADLINE_S = 60.0

KEPT = ("description", "title", "priority", "tags", "role", "needs", "parent")
SCENARIOS = ConverterScenarios(
    documents=[b'{"description": "by hand"}\n'], bad_lines=[(b'{"description": "good"}\nbad\n', 2)]
)


class Good:
    """Keeps every promise: lines of JSON."""

    format = "good"
    keeps: Sequence[str] = ("id", *KEPT)
    loses: Sequence[str] = ("state", "results")

    def read(self, document: bytes) -> Converted:
        tasks: list[dict[str, Any]] = []
        problems: list[str] = []
        for number, line in enumerate(document.split(b"\n"), 1):
            if line:
                try:
                    tasks.append(self.task(line))
                except (msgspec.DecodeError, RecursionError, ValueError) as error:
                    problems.append(f"line {number}: {type(error).__name__}")
        return Converted(tuple(tasks), tuple(problems))

    def task(self, line: bytes) -> dict[str, Any]:
        found = msgspec.json.decode(line, type=dict[str, Any])
        if not isinstance(found.get("description"), str) or not found["description"].strip():
            raise ValueError("no description")
        return found

    def write(self, tasks: Sequence[Task]) -> bytes:
        return b"".join(self.line(task) + b"\n" for task in tasks)

    def line(self, task: Task) -> bytes:
        fields = {name: getattr(task, name) for name in KEPT if getattr(task, name)}
        return msgspec.json.encode({"task_id": task.id, **fields})

    def rewrite(self, document: bytes, tasks: Sequence[Task]) -> bytes:
        said = self.read(document).tasks
        same = len(said) == len(tasks) and all(map(self.is_said, said, tasks))
        return document if same else self.write(tasks)

    def is_said(self, said: dict[str, Any], task: Task) -> bool:
        defaults = {"title": "", "priority": "normal"}
        return task.description == said["description"] and all(
            getattr(task, name) == said.get(name, default) for name, default in defaults.items()
        )


class KeepsOneText(Good):
    keeps = "everything"


class GivesBytearray(Good):
    def write(self, tasks: Sequence[Task]) -> bytes:
        return bytearray(super().write(tasks))  # type: ignore[return-value]


class ForgetsTheLast(Good):
    def write(self, tasks: Sequence[Task]) -> bytes:
        return super().write(tasks[:-1])


class MakesUpArguments(Good):
    def task(self, line: bytes) -> dict[str, Any]:
        return {**super().task(line), "colour": "red"}


class TakesAnyPriority(Good):
    def task(self, line: bytes) -> dict[str, Any]:
        task = super().task(line)
        return task if "title" in task else {**task, "priority": "p1"}


class DropsTags(Good):
    def line(self, task: Task) -> bytes:
        return super().line(msgspec.structs.replace(task, tags=()))


class SortsTags(Good):
    def line(self, task: Task) -> bytes:
        return super().line(msgspec.structs.replace(task, tags=tuple(sorted(task.tags))))


class MergesEqualTasks(Good):
    def read(self, document: bytes) -> Converted:
        found = super().read(document)
        tasks = {(task["description"], task.get("title")): task for task in found.tasks}
        return Converted(tuple(tasks.values()), found.problems)


class Strips(Good):
    def line(self, task: Task) -> bytes:
        return super().line(msgspec.structs.replace(task, description=task.description.strip()))


class TurnsCrlfIntoLf(Good):
    def line(self, task: Task) -> bytes:
        return super().line(msgspec.structs.replace(task, description=task.description.replace("\r\n", "\n")))


class StripsLines(Good):
    def line(self, task: Task) -> bytes:
        return super().line(msgspec.structs.replace(task, description=" ".join(task.description.split())))


class RaisesForBadContent(Good):
    def read(self, document: bytes) -> Converted:
        document.decode()
        return super().read(document)


class DropsProblems(Good):
    def read(self, document: bytes) -> Converted:
        return Converted(super().read(document).tasks)


class SaysOnlyWhat(Good):
    def read(self, document: bytes) -> Converted:
        found = super().read(document)
        return Converted(found.tasks, tuple("something is wrong" for _ in found.problems))


class NumbersDocuments(Good):
    numbers = count()

    def write(self, tasks: Sequence[Task]) -> bytes:
        return super().write(tasks) + b"\n" * (next(self.numbers) % 2)


class RewritesAnew(Good):
    def rewrite(self, document: bytes, tasks: Sequence[Task]) -> bytes:
        return self.write(tasks)


class RewritesNothing(Good):
    def rewrite(self, document: bytes, tasks: Sequence[Task]) -> bytes:
        return document


class RewritesTheLastOnly(Good):
    def rewrite(self, document: bytes, tasks: Sequence[Task]) -> bytes:
        rewritten = super().rewrite(document, tasks)
        return rewritten if rewritten == document else self.write(tasks[-1:])


BREAKERS: list[tuple[str, type[Good]]] = [
    ("C1", KeepsOneText),
    ("C2", GivesBytearray),
    ("C2", ForgetsTheLast),
    ("C2", MergesEqualTasks),
    ("C3", MakesUpArguments),
    ("C3", TakesAnyPriority),
    ("C4", DropsTags),
    ("C4", SortsTags),
    ("C5", StripsLines),
    ("C5", Strips),
    ("C5", TurnsCrlfIntoLf),
    ("C6", RaisesForBadContent),
    ("C7", DropsProblems),
    ("C7", SaysOnlyWhat),
    ("C8", NumbersDocuments),
    ("C9", RewritesAnew),
    ("C10", RewritesNothing),
    ("C10", RewritesTheLastOnly),
]


async def test_a_good_converter_keeps_every_promise() -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_converter(Good, scenarios=SCENARIOS)
    assert [result.status for result in report.results] == ["ok"] * len(PROMISES["converter"]), str(report)


@pytest.mark.parametrize(("promise", "breaker"), BREAKERS, ids=[f"{id}-{each.__name__}" for id, each in BREAKERS])
async def test_a_broken_converter_breaks_exactly_this_promise(promise: str, breaker: type[Good]) -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_converter(breaker, scenarios=SCENARIOS)
    assert [result.promise.id for result in report.broken] == [promise], str(report)


def test_every_promise_of_a_converter_has_something_that_breaks_it() -> None:
    assert [promise.id for promise in PROMISES["converter"]] == list(dict.fromkeys(id for id, _ in BREAKERS))
