"""Another kind of agents stands in while an account is parked."""

from __future__ import annotations

from typing import Any

import pytest
from tinytown.contracts import Finished, Outcome, RateLimited, Unauthorized


@pytest.fixture
def kinds(town_dir: Any, scripted_backend: Any) -> Any:
    """The kinds scripted, second and third, of which the last is the first to stand in for the first."""
    scripted = type(scripted_backend.backends[0])
    scripted_backend.backends += [scripted("second"), scripted("third")]
    town_dir.configure('[plugins.ops.fallback]\nscripted = ["third", "second"]\n')
    return scripted_backend


@pytest.mark.parametrize("trouble", [RateLimited(retry_after_s=3600), Unauthorized(reason="no login", hint="log in")])
async def test_its_waiting_tasks_go_to_the_first_kind_that_can_work(
    town_dir: Any, kinds: Any, trouble: Outcome
) -> None:
    async def script(work: Any, report: Any) -> Outcome:
        return trouble if work.environment["TINYTOWN_AGENT_NAME"] == "ada" else Finished(text="done")

    kinds.script = script
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        for name, kind, role in (("ben", "second", ""), ("cleo", "third", "reviewer"), ("dan", "third", "")):
            await (await town.spawn(name, cli=kind, **({"role": role} if role else {}))).wait_for_idle()
        tasks = [await ada.assign(f"number {number}") for number in range(2)]
        done = [await town.wait_for_task(task.id) for task in tasks]
        assert [(task.state, task.assigned_to) for task in done] == [("completed", "dan")] * 2
        events = await town_dir.wait_for_events(town, 2, "task_fell_back")
        assert {(event["from"], event["to"]) for event in events} == {("ada", "dan")}


async def test_without_anybody_to_stand_in_they_wait(town_dir: Any, kinds: Any) -> None:
    outcomes: list[Outcome] = [RateLimited(retry_after_s=0.5), Finished(text="done")]

    async def script(work: Any, report: Any) -> Outcome:
        return outcomes.pop(0)

    kinds.script = script
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        await town.spawn("cleo", cli="third", role="reviewer")
        task = await town.wait_for_task((await ada.assign("it")).id)
        assert (task.state, task.assigned_to) == ("completed", "ada")
