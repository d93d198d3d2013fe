"""What the kernel's tests share beside the fixtures of `tinytown_testing.pytest_plugin`: deadlines, and waiting for states."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.model.tasks import Task
from tinytown.town import Town
from tinytown_testing import TownDirectory
from tinytown_testing.scripted_backend import Script, answers

HERE = Path(__file__).parent
DEADLINE_S = 30.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every async test of this directory has a deadline, without a level of indentation for it."""
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and item.path.parent == HERE
            and inspect.iscoroutinefunction(item.obj)
            and not hasattr(item.obj, "__wrapped__")
        ):
            marker = item.get_closest_marker("deadline_s")
            item.obj = _within(item.obj, marker.args[0] if marker else DEADLINE_S)


def _within(test: Callable[..., Awaitable[None]], seconds: float) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def bounded(*args: Any, **kwargs: Any) -> None:
        with trio.fail_after(seconds):
            await test(*args, **kwargs)

    return bounded


@pytest.fixture(autouse=True)
def _no_town_environment(no_town_environment: None) -> None:
    """No test of this directory sees a town or a server of the person who runs it."""


@pytest.fixture
def scripted_answers() -> Callable[..., Script]:
    """Makes a script from outcomes, see `tinytown_testing.scripted_backend.answers`."""
    return answers


@pytest.fixture
def wait_for_task_state() -> Callable[..., Awaitable[Task]]:
    """Waits until a task is in one of some states; the task."""

    async def wait(town: Town, task: Task | str, *states: str) -> Task:
        task_id = task if isinstance(task, str) else task.id
        reached: Task = await town.wait_until(lambda: town.task(task_id), lambda task: task.state in states)
        return reached

    return wait


@pytest.fixture
def wait_for_file() -> Callable[..., Awaitable[None]]:
    """Waits until another process has created a file, with a text in it."""

    async def wait(path: Path, text: str = "") -> None:
        while not path.exists() or text not in path.read_text():  # noqa: ASYNC110 - another process sets no event
            await trio.sleep(0.01)

    return wait


@pytest.fixture
def wait_for_round_ends() -> Callable[[TownDirectory], Awaitable[None]]:
    """Waits until no process of a town's rounds runs."""

    async def wait(town_dir: TownDirectory) -> None:
        while any(pid != town_dir.server.pid() for pid in town_dir.processes()):  # noqa: ASYNC110
            await trio.sleep(0.01)

    return wait
