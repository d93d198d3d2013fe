"""What kernels do when an account is throttled, on one host and on two."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import trio
from tinytown.config import AgentCli, Config
from tinytown.contracts import Finished, RateLimited
from tinytown.kernel.context import accounts_by_kind
from tinytown_cli import administration

AN_HOUR_S = 3600.0


def throttled(agent: Any) -> bool:
    return "throttled until" in (agent.reason or "")


async def test_a_rate_limit_parks_all_agents_of_the_account_and_costs_no_attempt(
    town_dir, scripted_backend, scripted_answers
) -> None:
    scripted = type(scripted_backend.backends[0])
    scripted_backend.backends += [scripted("other"), scripted("sister")]
    scripted_backend.backends[2].account = "scripted"
    scripted_backend.script = scripted_answers(RateLimited(retry_after_s=0.8), Finished(text="fine"))
    async with town_dir.open() as town:
        kinds = {"ada": "scripted", "bea": "scripted", "eve": "other", "sis": "sister"}
        ada, bea, eve, sis = [await town.spawn(name, cli=kind) for name, kind in kinds.items()]
        for agent in (ada, bea, eve, sis):
            await agent.wait_for_idle()
        began = trio.current_time()
        task = await ada.assign("do it")
        for agent in (ada, bea, sis):
            assert (await agent.wait_until(throttled)).state == "idle"
        waiting = [await bea.assign("and this"), await sis.assign("this too")]
        assert (await town.wait_for_task((await eve.assign("and that")).id)).state == "completed"
        assert trio.current_time() - began < 0.8
        assert (await town.task(task.id)).attempts == 0
        for each in (task, *waiting):
            assert (await town.wait_for_task(each.id)).attempts == 1
        assert trio.current_time() - began >= 0.8
        assert len(scripted_backend.rounds) == 5
        await ada.wait_until(lambda agent: agent.reason is None)


async def test_a_throttle_without_a_time_is_tried_again_in_seconds(
    town_dir, scripted_backend, scripted_answers
) -> None:
    scripted_backend.script = scripted_answers(RateLimited(reason="too many requests"), Finished(text="fine"))
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        began = trio.current_time()
        task = await agent.assign("do it")
        await agent.wait_until(throttled)
        assert (await town.task(task.id)).reason == "too many requests"
        assert (await town.wait_for_task(task.id)).attempts == 1
        assert 1.0 <= trio.current_time() - began < 5.0


async def test_a_parked_account_stays_so_over_a_restart_until_people_let_it_go(
    town_dir, scripted_backend, scripted_answers
) -> None:
    scripted_backend.script = scripted_answers(RateLimited(retry_after_s=AN_HOUR_S), Finished(text="fine"))
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        await agent.wait_until(throttled)
    async with town_dir.open() as town:
        agent = await town.agent("ada")
        await agent.wait_until(throttled)
        assert len(scripted_backend.rounds) == 1
        assert await town.run(
            administration.unpark_account(town.operations.keys, "scripted", reason="a person knows better")
        )
        assert (await town.wait_for_task(task.id)).state == "completed"


async def test_a_throttled_agent_can_be_paused_resumed_and_closed(town_dir, scripted_backend, scripted_answers) -> None:
    scripted_backend.script = scripted_answers(RateLimited(retry_after_s=AN_HOUR_S))
    async with town_dir.open() as town:
        agent, other = await town.spawn("ada"), await town.spawn("bea")
        await agent.assign("do it")
        await agent.wait_until(throttled)
        await agent.interrupt()
        await agent.wait_until(lambda now: now.state == "paused")
        await agent.resume()
        await agent.wait_until(lambda now: now.state == "idle" and throttled(now))
        await town.run(town.operations.set_desired_state(agent.id, "drained"))
        await agent.wait_until(lambda now: now.state == "draining" and throttled(now))
        await agent.kill()
        await agent.wait_until(lambda now: now.state == "stopped")
        await town.run(town.operations.set_desired_state(other.id, "drained"))
        await other.wait_until(lambda now: now.state == "stopped")


def test_the_settings_name_an_account_before_the_backend_does(scripted_backend) -> None:
    backends = {kind: type(scripted_backend.backends[0])(kind) for kind in "abc"}
    backends["b"].account = backends["c"].account = "shared"
    plugins: Any = SimpleNamespace(backends=backends)
    config = Config(name="t", agent_clis={"c": AgentCli(command="c", account="mine")})
    assert accounts_by_kind(config, plugins) == {"a": "a", "b": "shared", "c": "mine"}
