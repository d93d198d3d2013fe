"""Notifications are hints: whoever does not hear one acts at the next heartbeat, and at once after a reconnect."""

from __future__ import annotations

import pytest
import trio
from tinytown.contracts import Finished
from tinytown_cli import administration


async def endless(*_: object) -> Finished:
    """A round that ends by cancellation only."""
    await trio.sleep_forever()
    return Finished()


@pytest.fixture
def deaf(town_dir, scripted_backend):
    """Makes a kernel of this process deaf: nothing that is published reaches it, though its connection is well."""

    def deafen(town) -> None:
        town.link._pipeline._on_message = None

    return deafen


async def test_a_cancelled_task_ends_its_round_though_nobody_heard_of_it(town_dir, scripted_backend, deaf) -> None:
    scripted_backend.script = endless
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        task = await ada.assign("without end")
        await scripted_backend.wait_for_rounds(1)
        deaf(town)
        await town.cancel_task(task.id)
        await ada.wait_until(lambda agent: agent.state == "idle")
        assert (await town.task(task.id)).state == "cancelled"
        assert [record["outcome"] for record in town_dir.recorded("round_ended")] == ["interrupted"]


@pytest.mark.parametrize("order", ["kill", "interrupt"])
async def test_an_agent_that_is_stopped_at_once_ends_its_round_though_nobody_heard_of_it(
    town_dir, scripted_backend, deaf, order
) -> None:
    scripted_backend.script = endless
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        task = await ada.assign("without end")
        await scripted_backend.wait_for_rounds(1)
        deaf(town)
        await getattr(ada, order)(now=True)
        await ada.wait_until(lambda agent: agent.state == ("stopped" if order == "kill" else "paused"))
        assert (await town.task(task.id)).attempts == 0


async def test_a_held_task_leaves_its_round_though_nobody_heard_of_it(town_dir, scripted_backend, deaf) -> None:
    scripted_backend.script = endless
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        task = await ada.assign("without end")
        await scripted_backend.wait_for_rounds(1)
        deaf(town)
        await town.run(administration.hold_task(town.operations.keys, task.id, reason="wait"))
        await ada.wait_until(lambda agent: agent.state == "idle")
        held = await town.task(task.id)
        assert (held.state, held.attempts) == ("blocked", 0)


async def test_idle_agents_follow_mail_and_desired_states_that_nobody_heard_of(
    town_dir, scripted_backend, deaf, scripted_answers
) -> None:
    scripted_backend.script = scripted_answers(Finished(text="read"))
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        await town.wait_for_idle()
        deaf(town)
        await ada.send("hello")
        await scripted_backend.wait_for_rounds(1)
        await ada.interrupt()
        await ada.wait_until(lambda agent: agent.state == "paused")
        await ada.resume()
        await ada.wait_until(lambda agent: agent.state == "idle")
        await town.run(town.operations.set_desired_state(ada.id, "drained"))
        await ada.wait_until(lambda agent: agent.state == "stopped")


async def test_a_frozen_town_stands_still_though_the_event_was_lost(
    town_dir, scripted_backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town_dir.open() as town:
        publish = town.publish_events
        monkeypatch.setattr(
            town, "publish_events", lambda events: publish([e for e in events if not e.type.startswith("town_")])
        )
        await town.run(administration.freeze(town.operations.keys, reason="the bill"))
        await town.wait_until(town.status, lambda status: status.hosts[0].frozen is not None)
        assert town_dir.kernel.processes.clock.paused
        await town.run(administration.thaw(town.operations.keys, reason="paid"))
        await town.wait_until(town.status, lambda status: status.hosts[0].frozen is None)
        assert not town_dir.kernel.processes.clock.paused


async def test_what_happened_while_a_kernel_was_cut_off_acts_as_soon_as_it_is_connected_again(
    town_dir, scripted_backend
) -> None:
    town_dir.configure("lease_s = 60.0\n")
    scripted_backend.script = endless
    async with town_dir.open() as town, town_dir.connect() as other:
        ada = await town.spawn("ada")
        await ada.assign("without end")
        await scripted_backend.wait_for_rounds(1)
        generation = town.link.generation
        town.link._pipeline._on_message = None
        await (await other.agent("ada")).interrupt(now=True)
        town.link._session.cancel()
        await ada.wait_until(lambda agent: agent.state == "paused")
        assert town.link.generation > generation
