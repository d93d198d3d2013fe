"""The backlog at work: who takes what, in which order, and what waits."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from tinytown.protocol.operations import TownOperations
from tinytown.protocol.town_operations import SCHEMA
from tinytown.redis.url import parse_url
from tinytown_cli import administration
from tinytown_cli.blocking_client import BlockingClient
from tinytown_snapshots.records import Snapshot, TaskRecord
from tinytown_snapshots.transfer import Transfer


async def test_idle_agents_take_what_bears_their_role_or_tags_by_priority_once_its_needs_are_completed(
    town_dir, scripted_backend
) -> None:
    async with town_dir.open() as town:
        need = await town.add_task("by hand")
        waits = await town.add_task("test it in the end", role="tester", priority="urgent", needs=[need.id])
        low = await town.add_task("test it some day", tags=["qa"], priority="low")
        soon = await town.add_task("test it soon", role="tester", priority="high")
        docs = await town.add_task("write it", role="docs")
        await town.spawn("tess", role="tester")  # its tags, qa among them, are those of the role
        for task in (soon, low):
            assert (await town.wait_for_task(task.id)).assigned_to == "tess"
        assert [round.task.id for round in scripted_backend.rounds] == [soon.id, low.id]
        assert (await town.task(waits.id)).state == "blocked"
        await town.complete_task(need.id, "done by hand")
        assert (await town.wait_for_task(waits.id)).assigned_to == "tess"
        assert "```text\ndone by hand\n```" in scripted_backend.rounds[2].prompt
        assert (await town.task(docs.id)).state == "pending"


@pytest.mark.parametrize("asleep", [False, True])
async def test_a_task_that_becomes_one_for_an_agent_is_taken_by_it_at_once(town_dir, scripted_backend, asleep) -> None:
    town_dir.configure("lease_s = 60.0\n", idle_timeout_s=0.1 if asleep else 600.0)  # no beat rings meanwhile
    async with town_dir.open() as town:
        task = await town.add_task("write it", tags=["docs"])
        agent = await town.spawn("tess", role="tester")
        await agent.wait_until(lambda now: now.state == ("suspended" if asleep else "idle"))
        with trio.fail_after(10):
            await town.run(administration.update_task(town.operations, task.id, tags=["tester"]))
            assert (await town.wait_for_task(task.id)).assigned_to == "tess"


async def test_a_role_of_the_town_decides_the_backend_and_the_backlog_of_its_agents(
    town_dir, scripted_backend, wait_for_task_state
) -> None:
    town_dir.configure('[roles.baker]\ncli = "scripted"\ntags = ["bread"]\n[plugins.echo]\n')
    async with town_dir.open() as town:
        bread = await town.add_task("a loaf", tags=["bread"])
        cake = await town.add_task("a cake", tags=["cake"])
        with trio.fail_after(20):
            baker = await town.spawn("bob", role="baker", cli=None)
            assert (await wait_for_task_state(town, bread, "completed")).assigned_to == "bob"
        assert (await baker.info()).tags == ("bread",)
        assert (await town.task(cake.id)).state == "pending"


async def test_what_a_restore_brings_onto_the_backlog_is_taken_by_who_is_idle(town_dir, scripted_backend) -> None:
    town_dir.configure("lease_s = 60.0\n")  # no beat rings meanwhile
    now = "2026-01-31T09:30:00.000Z"
    task = TaskRecord(
        seq=99,
        id="new",
        description="test it",
        state="pending",
        priority="normal",
        tags=("qa",),
        created_at=now,
        updated_at=now,
    )

    def restore() -> Any:
        with BlockingClient(parse_url(town_dir.server.url)) as client:
            return Transfer(client, TownOperations("t")).restore(Snapshot(schema=SCHEMA, tasks=(task,)), merge=True)

    async with town_dir.open() as town:
        agent = await town.spawn("tess", tags=["qa"])
        await agent.wait_for_idle()
        with trio.fail_after(10):
            assert (await trio.to_thread.run_sync(restore)).added["tasks"] == 1
            assert (await town.wait_for_task("new")).assigned_to == "tess"
