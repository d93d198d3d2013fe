"""A sandbox that keeps every promise, and for each promise one that breaks it: the kit has to name that one and no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import trio
from tinytown.contracts import Box, Sandbox
from tinytown_sandbox.bubblewrap import Bubblewrap
from tinytown_sandbox.settings import Settings
from tinytown_testing import PROMISES, check_sandbox

DEADLINE_S = 120.0


class Good(Bubblewrap):
    """Keeps every promise."""

    def __init__(self) -> None:
        super().__init__(Settings(), Path.cwd())


class NameOfTwoWords(Good):
    name: Any = "no good"


class NoText(Good):
    def problem(self) -> Any:
        return None


class LosesTheStatus(Good):
    def wrap(self, command: Sequence[str], *, box: Box, environment: Mapping[str, str]) -> Sequence[str]:
        return ["sh", "-c", '"$@"; true', "sh", *super().wrap(command, box=box, environment=environment)]


class Catches(Good):
    def wrap(self, command: Sequence[str], *, box: Box, environment: Mapping[str, str]) -> Sequence[str]:
        caught = ["sh", "-c", '"$@" & wait $!; s=$?; [ $s -gt 128 ] && exit 1; exit $s', "sh"]
        return super().wrap([*caught, *command], box=box, environment=environment)


class Changed(Good):
    """A box that is another than it was asked for."""

    profile: Literal["read", "write"] | None = None
    empty: tuple[str, ...] = ()

    def wrap(self, command: Sequence[str], *, box: Box, environment: Mapping[str, str]) -> Sequence[str]:
        changes: dict[str, Any] = dict.fromkeys(self.empty, ())
        if self.profile:
            changes["profile"] = self.profile
        return super().wrap(command, box=replace(box, **changes), environment=environment)


class WritesTheSettings(Changed):
    empty = ("read_only",)


class WritesWhatIsRead(Changed):
    profile = "write"


class ShowsEverything(Changed):
    empty = ("hidden",)


class NoBox(Good):
    """No box at all, and what it starts continues."""

    def wrap(self, command: Sequence[str], *, box: Box, environment: Mapping[str, str]) -> Sequence[str]:
        return command


class NotHere(Good):
    def problem(self) -> str:
        return "there is none here"


@pytest.fixture(autouse=True)
def _bubblewrap() -> None:
    if problem := Good().problem():
        pytest.skip(problem)


async def test_our_sandbox_keeps_every_promise() -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_sandbox(Good)
    assert [result.status for result in report.results] == ["ok"] * len(PROMISES["sandbox"]), str(report)


@pytest.mark.parametrize(
    ("broken", "make"),
    [
        (["X1"], NameOfTwoWords),
        (["X2"], NoText),
        (["X3"], LosesTheStatus),
        (["X4"], Catches),
        (["X5"], WritesTheSettings),
        (["X6"], WritesWhatIsRead),
        (["X7"], ShowsEverything),
        (["X5", "X6", "X7", "X8"], NoBox),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
async def test_a_broken_sandbox_breaks_exactly_these_promises(broken: list[str], make: Callable[[], Sandbox]) -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_sandbox(make)
    assert [result.promise.id for result in report.broken] == broken, str(report)


async def test_where_there_can_be_no_box_the_rest_does_not_apply() -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_sandbox(NotHere)
    assert [result.promise.id for result in report.passed] == ["X1", "X2"]
    assert report.broken == ()
