"""Gates of formulas: who asks about them, how often, and at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio
import trio.testing
from tinytown.town import Town
from tinytown_beads.groups.record import PLUGIN, Group, as_value, field_of
from tinytown_gastown.formulas.service import GateReconciler
from tinytown_testing import Sandbox, check_service

DEADLINE_S = 60.0


async def make(town: Town, name: str, tasks: Sequence[str], **details: Any) -> None:
    group = Group(name=name, created_at="2026-01-31T09:30:00.000Z", tasks=tuple(tasks), **details)
    assert await town.run(town.operations.set_plugin_field(PLUGIN, field_of(name), as_value(group), expected=None))


async def test_a_long_run_without_gates_costs_a_few_calls_for_each_step_and_not_one_for_each_pair(
    sandbox: Sandbox,
) -> None:
    steps, calls = 40, 0
    async with sandbox.open_town() as town:
        run = town.run

        async def counted(call: Any) -> Any:
            nonlocal calls
            calls += 1
            return await run(call)

        tasks = [(await town.add_task(f"{number}")).id for number in range(steps)]
        await make(town, "g", tasks, origin={"formula": "f", "made": True})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(GateReconciler().run, town)
            await trio.testing.wait_all_tasks_blocked(0.1)
            town.run = counted  # type: ignore[method-assign]
            for id_ in tasks:
                await run(town.operations.settle_task("complete", id_))
            await trio.testing.wait_all_tasks_blocked(0.5)
            nursery.cancel_scope.cancel()
        assert calls < 10 * steps, "reading every step on each change would take 1,600 calls and more"


async def test_a_person_is_asked_once_for_a_gate_when_nothing_else_is_before_it(sandbox: Sandbox) -> None:
    async with sandbox.open_town() as town:
        before = await town.add_task("build")
        table = {"formula": "f", "run": "g", "step": "ship", "gate": {"type": "human", "id": "approval"}}
        gated = await town.add_task("ship it", needs=[before.id], held="waiting for a person", meta={"formula": table})
        await make(town, "g", [before.id, gated.id], origin={"formula": "f"})
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(GateReconciler().run, town)
            await trio.testing.wait_all_tasks_blocked()
            assert await town.inbox() == ()
            await town.complete_task(before.id)
            await town.wait_until(lambda: town.task(gated.id), lambda task: task.meta["formula"].get("asked"))
            nursery.cancel_scope.cancel()
        (message,) = await town.inbox()
        assert f"tt task release {gated.id}" in message.text


async def test_the_gate_reconciler_keeps_the_promises_of_a_service() -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_service(GateReconciler)
    report.raise_if_broken()
