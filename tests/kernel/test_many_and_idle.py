"""Idle is free, and a thousand agents are no trouble."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
import trio


async def commands_handled(town: Any) -> Counter[str]:
    """How many commands of each kind the server has handled, those inside of functions and this question included."""
    info = (await town.link.command("INFO", "commandstats")).decode()
    rows = [line.removeprefix("cmdstat_").split(":calls=") for line in info.splitlines() if line.startswith("cmdstat_")]
    return Counter({name: int(rest.partition(",")[0]) for name, rest in rows})


async def test_fifty_idle_agents_ask_the_server_for_next_to_nothing(town_dir, scripted_backend) -> None:
    town_dir.configure("lease_s = 10.0\n")
    async with town_dir.open() as town:
        for number in range(50):
            await town.spawn(f"a{number}", role="tester")
        await town.wait_for_idle()
        await trio.sleep(0.2)  # what the last event still sets off
        before, spent = await commands_handled(town), time.process_time()
        await trio.sleep(5)  # the measured span itself
        handled = await commands_handled(town) - before
        # From outside: a beat and a look at the placement every third of the lease, and the wait for events.
        assert handled["fcall"] + handled["xread"] + handled["ping"] <= 10, handled
        # Inside of the functions: a beat looks whether each agent has mail.
        assert handled.total() <= 500, handled
        assert time.process_time() - spent < 0.5


@pytest.mark.deadline_s(100)
async def test_a_thousand_agents_are_idle_in_one_kernel_and_each_gets_its_own_mail(town_dir, scripted_backend) -> None:
    town_dir.configure("lease_s = 10.0\n")
    async with town_dir.open() as town:
        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(town.spawn, f"a{number}")
        with trio.fail_after(60):
            await town.wait_for_idle()
        assert (await town.status()).hosts[0].backends
        await (await town.agent("a777")).send("hello, you")
        await scripted_backend.wait_for_rounds(1)
        await town.wait_for_idle("a777")
        assert [round.messages[0].recipient for round in scripted_backend.rounds] == ["a777"]
        assert [agent.name for agent in await town.agents() if agent.rounds_completed] == ["a777"]
        began = trio.current_time()
    assert trio.current_time() - began < 20
