"""Records that a foreign hand has changed, removed or written wrongly, under a running kernel."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from tinytown.contracts import Finished
from tinytown.errors import NotFound, Refused
from tinytown_cli import administration


async def forever(work: Any, report: Any) -> None:
    await trio.sleep_forever()


async def test_a_hosted_agent_cannot_be_removed_even_by_force(town_dir, scripted_backend, scripted_answers) -> None:
    scripted_backend.script = scripted_answers(forever)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await agent.assign("do it")
        await scripted_backend.wait_for_rounds(1)
        with pytest.raises(Refused, match="tt kill ada first"):
            await town.run(administration.remove_agent(town.operations.keys, agent.id, force=True))
        await agent.kill(now=True)
        await agent.wait_until(lambda agent: agent.state == "stopped")
        await town.run(administration.remove_agent(town.operations.keys, agent.id, force=True))
        with pytest.raises(NotFound):
            await agent.info()


@pytest.mark.parametrize("working", [False, True])
async def test_an_agent_whose_record_vanishes_is_let_go_and_the_others_go_on(
    town_dir, scripted_backend, scripted_answers, working
) -> None:
    scripted_backend.script = scripted_answers(*([forever] if working else []), Finished(text="fine"))
    async with town_dir.open() as town:
        ada, bea = await town.spawn("ada"), await town.spawn("bea")
        await town.wait_for_idle()
        if working:
            await ada.assign("do it")
            await scripted_backend.wait_for_rounds(1)
        base = town.operations.keys.base
        await town.link.command("DEL", f"{base}:agent:{ada.id}")
        town_dir.kernel.placement.workers[ada.id].notify("control now")
        while ada.id in town_dir.kernel.placement.workers:  # noqa: ASYNC110
            await trio.sleep(0.01)
        assert (await town.wait_for_task((await bea.assign("do it")).id)).result == "fine"
    async with town_dir.open() as town:  # what is left of it keeps no kernel from leaving and joining
        assert len(await town.run(town.operations.hosts())) == 1
        assert (await town.wait_for_task((await town.add_task("again", agent="bea")).id)).result == "fine"


async def test_an_agent_that_waits_for_a_kernel_without_a_record_holds_nobody_up(town_dir, scripted_backend) -> None:
    async with town_dir.connect() as town:
        ada = await town.spawn("ada")
        await town.spawn("bea")
        await town.link.command("DEL", f"{town.operations.keys.base}:agent:{ada.id}")
    async with town_dir.open() as town:
        assert (await town.wait_for_task((await town.add_task("do it", agent="bea")).id)).state == "completed"


async def test_a_task_that_is_deleted_under_its_round_ends_with_it(town_dir, scripted_backend) -> None:
    async with town_dir.open() as town:

        async def delete(work: Any, report: Any) -> Finished:
            if work.task and work.task.description == "vanish":
                base = town.operations.keys.base
                await town.link.command("DEL", f"{base}:task:{work.task.id}")
            return Finished(text="fine")

        scripted_backend.script = delete
        agent = await town.spawn("ada")
        task = await agent.assign("vanish")
        await scripted_backend.wait_for_rounds(1)
        assert (await town.wait_for_task((await agent.assign("do it")).id)).result == "fine"
        assert scripted_backend.rounds[0].task.id == task.id
        await agent.wait_until(lambda agent: agent.state == "idle" and agent.mail.total == 0)


async def test_garbage_in_one_record_costs_no_other_agent_its_kernel(town_dir, scripted_backend) -> None:
    async with town_dir.open() as town:
        ada, bea = await town.spawn("ada"), await town.spawn("bea")
        await town.wait_for_idle()
        base = town.operations.keys.base
        await town.link.command("HSET", f"{base}:agent:{ada.id}", "max_rounds", "many", "tags", "{")
        town_dir.kernel.placement.workers[ada.id].notify("mail")
        assert (await town.wait_for_task((await bea.assign("do it")).id)).state == "completed"


async def test_an_agent_that_can_neither_work_nor_be_let_go_of_costs_no_other_agent_its_kernel(
    town_dir, scripted_backend
) -> None:
    async with town_dir.open() as town:
        ada, bea = await town.spawn("ada"), await town.spawn("bea")
        await town.wait_for_idle()
        leases = f"{town.operations.keys.base}:mail:{ada.id}:leases"
        await town.link.command("SET", leases, "no leases")
        await ada.send("hello")
        assert (await town.wait_for_task((await bea.assign("do it")).id)).state == "completed"
        await trio.sleep(0.5)  # the kernel has tried to let go of it
        await town.link.command("DEL", leases)
        await ada.resume()
        assert (await town.wait_for_task((await bea.assign("and this")).id)).state == "completed"
        await scripted_backend.wait_for_rounds(3)
        assert {round.messages[0].text for round in scripted_backend.rounds if not round.task} == {"hello"}
        assert not town_dir.recorded("host_left")


async def test_an_agent_that_crashes_comes_back_later_and_later(town_dir, scripted_backend, monkeypatch) -> None:
    monkeypatch.setattr("tinytown.kernel.agent_worker._FIRST_RETRY_S", 0.1)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await agent.wait_for_idle()
        key = f"{town.operations.keys.base}:agent:{agent.id}"
        for failures in (1, 2):
            await town.link.command("HSET", key, "max_rounds", "many")
            town_dir.kernel.placement.workers[agent.id].notify("mail")
            while await town.link.command("HGET", key, "failures") != str(failures).encode():  # noqa: ASYNC110
                await trio.sleep(0.01)
            assert await town.link.command("HGET", key, "state") == b"error"
            await town.link.command("HSET", key, "max_rounds", "0")
            info = await agent.info()
            assert (info.reason or "").startswith("crashed: ProtocolViolation(")
            await agent.wait_until(lambda agent: agent.state == "idle")
        task = await agent.assign("do it")
        assert (await town.wait_for_task(task.id)).state == "completed"
        await agent.wait_for_idle()
        assert (await agent.info()).failures == 0


async def test_a_kernel_that_cannot_take_agents_up_says_so_once_and_goes_on(town_dir, scripted_backend, caplog) -> None:
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await agent.wait_for_idle()
        base = town.operations.keys.base
        await town.link.command("DEL", f"{base}:placement")
        await town.link.command("SET", f"{base}:placement", "garbage")
        town_dir.kernel.placement.wake()
        assert (await town.wait_for_task((await agent.assign("do it")).id)).state == "completed"
        while "WRONGTYPE" not in caplog.text:  # noqa: ASYNC110
            await trio.sleep(0.01)
        await town.link.command("DEL", f"{base}:placement")
        bea = await town.spawn("bea")
        await bea.wait_for_idle()
        assert caplog.text.count("WRONGTYPE") <= 2
