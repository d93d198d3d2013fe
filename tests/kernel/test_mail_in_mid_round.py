"""Urgent mail in the middle of a round: the model gets it where its session can, else it waits or ends the round."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from tinytown.contracts import Failed, Finished
from tinytown.model.messages import Informational, Query, TaskOrder


class Desk:
    """A session that works until the test says so, and takes mail as `takes` says, one answer for each call."""

    def __init__(self, *takes: bool, outcome: Any = None) -> None:
        self.takes = list(takes)
        self.outcome = outcome or Finished(text="fine")
        self.done = trio.Event()
        self.seen: list[str] = []
        self.asked = trio.Event()

    async def work(self, work: Any, report: Any) -> Any:
        await self.done.wait()
        return self.outcome

    async def deliver(self, text: str) -> bool:
        self.seen.append(text)
        self.asked.set()
        self.asked = trio.Event()
        if not self.takes:
            await trio.sleep_forever()
        return self.takes.pop(0)


@pytest.fixture
def desk(scripted_backend) -> Desk:
    desk = Desk(True, True, True)
    scripted_backend.script, scripted_backend.deliver = desk.work, desk.deliver
    return desk


async def begin(town: Any, scripted_backend: Any) -> tuple[Any, Any]:
    agent = await town.spawn("ada")
    task = await agent.assign("do it")
    await scripted_backend.wait_for_rounds(1)
    return agent, task


@pytest.mark.parametrize("interrupts", [False, True])
@pytest.mark.parametrize("body", [Query(question="are you sure?"), TaskOrder(description="are you sure?")])
async def test_the_model_gets_urgent_mail_in_its_round(town_dir, scripted_backend, desk, interrupts, body) -> None:
    town_dir.configure(interrupt_on_urgent=interrupts)
    async with town_dir.open() as town:
        agent, task = await begin(town, scripted_backend)
        asked = desk.asked
        await agent.send(body, priority="urgent")
        await asked.wait()
        assert "are you sure?" in desk.seen[0]
        assert "from supervisor, urgent" in desk.seen[0]
        desk.done.set()
        assert (await town.wait_for_task(task.id)).attempts == 1
        await agent.wait_until(lambda agent: agent.state == "idle")
        assert len(scripted_backend.rounds) == 1
        assert (await agent.info()).mail.total == 0


async def test_mail_that_is_not_urgent_and_tasks_wait(town_dir, scripted_backend, desk) -> None:
    async with town_dir.open() as town:
        agent, task = await begin(town, scripted_backend)
        await agent.send(Informational(summary="by the way"))
        asked = desk.asked
        await agent.send(Informational(summary="hurry"), priority="urgent")
        await asked.wait()
        other = await agent.assign("and that", priority="urgent")
        desk.done.set()
        assert (await town.wait_for_task(task.id)).attempts == 1
        assert (await town.wait_for_task(other.id)).attempts == 1
        assert ["hurry" in text and "by the way" not in text for text in desk.seen] == [True]
        assert "by the way" in "".join(round.prompt for round in scripted_backend.rounds[1:])
        assert "hurry" not in "".join(round.prompt for round in scripted_backend.rounds)


async def test_mail_that_no_model_has_seen_comes_again_untouched(town_dir, scripted_backend, desk) -> None:
    desk.takes.clear()
    async with town_dir.open() as town:
        agent, task = await begin(town, scripted_backend)
        asked = desk.asked
        await agent.send(Informational(summary="hurry"), priority="urgent")
        await asked.wait()
        desk.done.set()
        assert (await town.wait_for_task(task.id)).attempts == 1
        await scripted_backend.wait_for_rounds(2)
        assert "hurry" in scripted_backend.rounds[1].prompt
        await agent.wait_until(lambda agent: agent.state == "idle")
        assert (await agent.info()).mail.total == 0


async def test_mail_of_a_round_that_fails_comes_again_in_the_next(town_dir, scripted_backend, desk) -> None:
    town_dir.configure(retry_delay_s=0)
    desk.outcome = Failed(reason="no good")
    async with town_dir.open() as town:
        agent, _ = await begin(town, scripted_backend)
        asked = desk.asked
        await agent.send(Informational(summary="hurry"), priority="urgent")
        await asked.wait()
        desk.done.set()
        await scripted_backend.wait_for_rounds(2)
        assert "hurry" in scripted_backend.rounds[1].prompt


async def test_a_session_that_fails_at_it_is_a_fault_and_the_round_goes_on(town_dir, scripted_backend, desk) -> None:
    async def fail(text: str) -> bool:
        desk.asked.set()
        raise RuntimeError("no mail here")

    scripted_backend.deliver = fail
    async with town_dir.open() as town:
        agent, task = await begin(town, scripted_backend)
        asked = desk.asked
        await agent.send(Informational(summary="hurry"), priority="urgent")
        await asked.wait()
        desk.done.set()
        assert (await town.wait_for_task(task.id)).attempts == 1
        await scripted_backend.wait_for_rounds(2)
        assert "hurry" in scripted_backend.rounds[1].prompt
        (event,) = await town_dir.wait_for_events(town, 1, "plugin_reported", plugin="scripted")
        assert "no mail here" in str(event)
