"""Where a service that acts on events begins to read them."""

from __future__ import annotations

from contextlib import aclosing

import pytest
from tinytown.model.events import Event, TaskAdded
from tinytown.town import Town
from tinytown_sinks import events_from
from tinytown_testing.towns import TownDirectory

pytestmark = pytest.mark.usefixtures("deadline")


def added(event: Event) -> bool:
    return isinstance(event, TaskAdded)


async def tasks_of(town: Town, count: int) -> list[str]:
    """The next tasks that were added; the last of them is not handled."""
    found: list[str] = []
    async with aclosing(events_from(town, "clerk", added)) as events:
        while len(found) < count:
            event = await anext(events)
            assert isinstance(event, TaskAdded)
            found.append(event.task)
    return found


async def test_a_service_that_starts_late_gets_what_happened_since_the_kernel_started(town_dir: TownDirectory) -> None:
    async with town_dir.connect() as earlier:
        await earlier.add_task("before the kernel", task_id="before")
    async with town_dir.connect() as town:
        await town.add_task("before the service", task_id="meanwhile")
        assert await tasks_of(town, 1) == ["meanwhile"]


async def test_a_name_that_is_known_goes_on_where_it_was(town_dir: TownDirectory) -> None:
    async with town_dir.connect() as town:
        await town.add_task("handled", task_id="one")
        await town.add_task("in work", task_id="two")
        assert await tasks_of(town, 2) == ["one", "two"]
    async with town_dir.connect() as town:
        await town.add_task("new", task_id="three")
        assert await tasks_of(town, 2) == ["two", "three"]
