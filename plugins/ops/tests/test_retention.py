"""A kernel forgets finished tasks beyond the bounds of the settings; `tests/protocol/test_retention.py` has how."""

from __future__ import annotations

import pytest


@pytest.mark.deadline_s(60)
async def test_a_kernel_forgets_finished_tasks_beyond_the_bound(town_dir) -> None:
    town_dir.configure("[limits]\nfinished_tasks = 1\n")
    async with town_dir.connect() as town:
        for name in ("first", "second", "third"):
            await town.add_task("work", task_id=name)
            await town.complete_task(name)
    async with town_dir.open() as town:
        assert [task.id for task in await town.wait_until(town.tasks, lambda tasks: len(tasks) == 1)] == ["third"]
