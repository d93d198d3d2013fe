"""Completion is noticed once: by two kernels at the same time, and by one that begins after another was cut off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing
from tinytown.errors import NotFound
from tinytown.model.events import OtherEvent
from tinytown.town import Town
from tinytown_beads.groups.record import PLUGIN, Group, as_value, field_of, groups_in
from tinytown_beads.groups.service import GroupReconciler
from tinytown_cli import administration
from tinytown_cli.administration import apply_retention
from tinytown_testing import Sandbox, check_service

DEADLINE_S = 60.0


async def test_it_keeps_what_a_service_promises() -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_service(GroupReconciler)
    report.raise_if_broken()


async def make(town: Town, name: str, tasks: Sequence[str], **details: Any) -> None:
    group = Group(name=name, created_at="2026-01-31T09:30:00.000Z", tasks=tuple(tasks), **details)
    assert await town.run(town.operations.set_plugin_field(PLUGIN, field_of(name), as_value(group), expected=None))


async def group(town: Town, name: str) -> Group:
    value = await town.run(town.operations.plugin_field(PLUGIN, field_of(name)))
    return groups_in({field_of(name): value})[0]


async def notified(town: Town, type_: str) -> int:
    events = await town.run(town.operations.latest_events(1000))
    return sum(isinstance(event, OtherEvent) and event.type == type_ for event in events)


async def until(town: Town, name: str, **members: Any) -> Group:
    def good(result: Group) -> bool:
        return all(getattr(result, member) == value for member, value in members.items())

    result: Group = await town.wait_until(lambda: group(town, name), good)
    return result


async def test_however_many_kernels_look_there_is_one_event_and_one_notice_for_each(sandbox: Sandbox) -> None:
    async with sandbox.open_town() as town:
        await town.spawn("rita", cli="echo")
        task = await town.add_task("a")
        await make(town, "g", [task.id], owner="rita", notify=("supervisor", "rita"))
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(GroupReconciler().run, town)
            await town.complete_task(task.id)
            await until(town, "g", notified=1)
            nursery.cancel_scope.cancel()
        for mailbox in ("rita", "supervisor"):
            (message,) = await town.inbox(mailbox)
            assert "group g is completed" in message.text
        assert await notified(town, "group_completed") == 1


async def test_what_was_cut_off_between_completion_and_notice_is_taken_up(sandbox: Sandbox) -> None:
    async with sandbox.open_town() as town:
        task = await town.add_task("a")
        await town.complete_task(task.id)
        # As a kernel leaves it that was killed after it had noticed, before it notified.
        await make(town, "g", [task.id], state="completed", completions=1, completed_at="2026-01-31T09:30:00.000Z",
                   ended={task.id: "completed"})  # fmt: skip
        async with trio.open_nursery() as nursery:
            nursery.start_soon(GroupReconciler().run, town)
            await until(town, "g", notified=1)
            nursery.cancel_scope.cancel()
        assert len(await town.inbox()) == 1
        assert await notified(town, "group_completed") == 0, "it was reported in the step that completed it"


async def test_a_member_that_is_opened_again_opens_the_group_and_completion_is_told_again(sandbox: Sandbox) -> None:
    async with sandbox.open_town() as town, trio.open_nursery() as nursery:
        task = await town.add_task("a")
        await make(town, "g", [task.id])
        nursery.start_soon(GroupReconciler().run, town)
        await town.complete_task(task.id)
        await until(town, "g", notified=1)
        await town.run(administration.reopen_task(town.operations.keys, task.id))
        await until(town, "g", state="open")
        await town.complete_task(task.id)
        await until(town, "g", state="completed", notified=2)
        assert len(await town.inbox()) == 2
        nursery.cancel_scope.cancel()


async def test_a_group_that_can_go_no_further_is_told_once_with_what_failed(sandbox: Sandbox) -> None:
    async with sandbox.open_town() as town, trio.open_nursery() as nursery:
        bad, good = await town.add_task("a"), await town.add_task("b")
        behind = await town.add_task("c", needs=[bad.id])
        far = await town.add_task("d", needs=[behind.id])
        await make(town, "g", [bad.id, good.id, behind.id, far.id], owner="nobody")
        nursery.start_soon(GroupReconciler().run, town)
        await town.run(town.operations.settle_task("fail", bad.id, text="no"))
        await until(town, "g", ended={bad.id: "failed"})
        assert await town.inbox() == (), "b may still be done"
        await town.complete_task(good.id)
        await until(town, "g", stuck=(bad.id,))
        (message,) = await town.inbox()
        assert f"{bad.id} is failed" in message.text
        nursery.cancel_scope.cancel()


async def test_a_group_whose_tasks_are_being_made_is_not_called_stuck(sandbox: Sandbox) -> None:
    async with sandbox.open_town() as town, trio.open_nursery() as nursery:
        nursery.start_soon(GroupReconciler().run, town)
        await make(town, "g", ["a", "b"], origin={"formula": "f", "made": False})
        for id_ in "ab":
            await town.add_task(id_, task_id=id_)
            await town.complete_task(id_)
        await until(town, "g", ended={"a": "completed", "b": "completed"}, state="completed", notified=1)
        assert ["completed" in message.text for message in await town.inbox()] == [True]
        nursery.cancel_scope.cancel()


async def test_a_completed_member_that_the_town_forgot_counts_as_completed(sandbox: Sandbox) -> None:
    async with sandbox.open_town() as town, trio.open_nursery() as nursery:
        first, second = await town.add_task("a"), await town.add_task("b")
        await make(town, "g", [first.id, second.id])
        nursery.start_soon(GroupReconciler().run, town)
        await town.complete_task(first.id)
        await until(town, "g", ended={first.id: "completed"})
        while await town.run(apply_retention(town.operations.keys, finished_age_ms=0, finished_count=0, events=1000)):
            pass
        with pytest.raises(NotFound):
            await town.task(first.id)
        await town.complete_task(second.id)
        await until(town, "g", state="completed", notified=1)
        nursery.cancel_scope.cancel()


async def test_a_long_group_costs_a_few_calls_for_each_member_and_not_one_for_each_pair(sandbox: Sandbox) -> None:
    members, calls = 40, 0
    async with sandbox.open_town() as town:
        run = town.run

        async def counted(call: Any) -> Any:
            nonlocal calls
            calls += 1
            return await run(call)

        tasks = [(await town.add_task(f"{number}")).id for number in range(members)]
        await make(town, "g", tasks, origin={"formula": "f", "made": True})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(GroupReconciler().run, town)
            await trio.testing.wait_all_tasks_blocked(0.1)
            town.run = counted  # type: ignore[method-assign]
            for id_ in tasks:
                await run(town.operations.settle_task("complete", id_))
            result = await until(town, "g", notified=1)
            nursery.cancel_scope.cancel()
        assert result.state == "completed"
        assert calls < 10 * members, "reading every member on each change would take 1,600 calls and more"
