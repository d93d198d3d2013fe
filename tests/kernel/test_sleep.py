"""An agent that has been idle for its time sleeps: no session, no lease, no place of a host, until there is work for it.

The lease is long in these tests: between two beats only a ring of the bell can wake anybody.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
from tinytown.contracts import Finished, RateLimited
from tinytown.model.time import rfc3339
from tinytown.town import AgentHandle, Town
from tinytown_cli import administration

LONG_LEASE = "lease_s = 60.0\n"
WITHIN_S = 10.0  # a beat comes every 20 seconds


async def asleep(agent: AgentHandle) -> None:
    await agent.wait_until(lambda now: now.state == "suspended" and (now.reason or "").startswith("asleep"))


@pytest.fixture
def sleepy(town_dir: Any, scripted_backend: Any, scripted_answers: Any) -> Any:
    scripted_backend.script = scripted_answers(Finished(text="done", session_id="session-1"))
    town_dir.configure(LONG_LEASE, idle_timeout_s=0.1)
    return town_dir


async def test_a_sleeping_agent_has_no_session_and_takes_no_place(sleepy, scripted_backend) -> None:
    sleepy.configure(LONG_LEASE + "capacity = 1\n", idle_timeout_s=0.1)
    async with sleepy.open() as town:
        first = await town.spawn("first")
        await first.send("hello")
        await asleep(first)
        assert scripted_backend.backends[0].closed == ["first"]
        second = await town.spawn("second")  # the one place is free for it
        await second.send("hello")
        await asleep(second)
        assert [host.agents for host in await town.run(town.operations.hosts())] == [0]
        await town.wait_for_idle()  # whoever sleeps is at rest


async def send(town: Town) -> None:
    await town.send("ann", "a message")


async def assign(town: Town) -> None:
    await (await town.agent("ann")).assign("a task")


async def send_later(town: Town) -> None:
    now_ms = (await town.run(town.operations.claim("nobody", token="t"))).now_ms
    await town.send("ann", "a message", not_before_ms=now_ms + 700)


async def add_to_the_backlog(town: Town) -> None:
    await town.add_task("for somebody who writes", tags=["writing"])


async def free_what_it_needs(town: Town) -> None:
    first = await town.add_task("of a person")
    await town.add_task("for somebody who writes", tags=["writing"], needs=[first.id])
    await town.complete_task(first.id)


@pytest.mark.parametrize("wake", [send, assign, send_later, add_to_the_backlog, free_what_it_needs])
async def test_what_there_is_to_do_wakes_an_agent_at_once_and_its_session_id_is_kept(
    sleepy, scripted_backend, wake
) -> None:
    async with sleepy.open() as town:
        agent = await town.spawn("ann", tags=["writing"])
        await agent.send("hello")
        await asleep(agent)
        with trio.fail_after(WITHIN_S):
            await wake(town)
            await scripted_backend.wait_for_rounds(2)
        assert [round.session_id for round in scripted_backend.rounds] == [None, "session-1"]
        await asleep(agent)
        assert (await agent.info()).at_rest


async def test_mail_that_comes_while_an_agent_falls_asleep_wakes_it(sleepy, scripted_backend) -> None:
    async with sleepy.open() as town:
        agent = await town.spawn("ann")
        for number in range(1, 16):  # about when its time is over, a little sooner or later
            await agent.send(f"message {number}")
            with trio.fail_after(WITHIN_S):
                await scripted_backend.wait_for_rounds(number)
            await trio.sleep(0.09 + number * 0.002)
        reported = [round.messages[0].text for round in scripted_backend.rounds]
        assert reported == [f"message {number}" for number in range(1, 16)]


async def test_delayed_mail_is_no_reason_to_stay_awake_but_to_wake_in_time(sleepy, scripted_backend) -> None:
    async with sleepy.open() as town:
        agent = await town.spawn("ann")
        await send_later(town)
        await asleep(agent)
        assert not scripted_backend.rounds
        with trio.fail_after(WITHIN_S):
            await scripted_backend.wait_for_rounds(1)


async def test_an_agent_that_may_begin_nothing_sleeps_too_when_there_is_nothing_to_begin(
    sleepy, scripted_backend, scripted_answers
) -> None:
    scripted_backend.script = scripted_answers(RateLimited(retry_after_s=3600.0), Finished(text="done"))
    async with sleepy.open() as town:
        ann, ben = await town.spawn("ann"), await town.spawn("ben")
        await ann.send("hello")
        await ann.wait_until(lambda now: "throttled until" in (now.reason or ""))
        await asleep(ben)  # of the same account
        await trio.sleep(0.3)
        assert (await ann.info()).state == "idle"  # it has mail
        await ben.send("hello")
        await ben.wait_until(lambda now: now.state == "idle" and "throttled until" in (now.reason or ""))
        await town.run(administration.unpark_account(town.operations.keys, "scripted", reason="a person knows better"))
        with trio.fail_after(WITHIN_S):
            await scripted_backend.wait_for_rounds(3)
            await asleep(ann)
            await asleep(ben)


async def test_a_sleeping_agent_is_closed_paused_and_killed_like_any_other(sleepy) -> None:
    async with sleepy.open() as town:
        for name, wanted, state in [
            ("ann", "paused", "paused"),
            ("ben", "drained", "stopped"),
            ("cat", "stopped", "stopped"),
        ]:
            agent = await town.spawn(name)
            await asleep(agent)
            with trio.fail_after(WITHIN_S):
                await town.run(town.operations.set_desired_state(agent.id, wanted))
                await agent.wait_until(lambda now, state=state: now.state == state)


async def test_a_sleeping_agent_is_not_woken_for_the_backlog_where_agents_claim_nothing(
    sleepy, scripted_backend
) -> None:
    sleepy.configure(LONG_LEASE + "auto_claim = false\n", idle_timeout_s=0.1)
    async with sleepy.open() as town:
        agent = await town.spawn("ann", tags=["writing"])
        await asleep(agent)
        await add_to_the_backlog(town)
        await send(town)
        await scripted_backend.wait_for_rounds(1)
        await asleep(agent)
        assert (await town.status()).backlog == 1


async def test_the_kind_says_when_its_agents_sleep(sleepy, scripted_backend) -> None:
    sleepy.configure(
        LONG_LEASE + '[agent_clis.scripted]\ncommand = "true"\nidle_timeout_s = 0\n[plugins.shell]\n',
        idle_timeout_s=0.1,
    )
    async with sleepy.open() as town:
        assert town.config.idle_timeout_s("scripted") == float("inf")
        assert town.config.idle_timeout_s("another") == 0.1


async def test_a_hold_is_over_at_its_moment_and_wakes_whoever_it_was_for(sleepy, scripted_backend) -> None:
    async with sleepy.open() as town:
        agent = await town.spawn("ann")
        await asleep(agent)
        now_ms = (await town.run(town.operations.claim("nobody", token="t"))).now_ms
        with trio.fail_after(WITHIN_S):
            await agent.assign("a task", held="until it is time", held_until=rfc3339(now_ms + 500))
            assert not scripted_backend.rounds
            await scripted_backend.wait_for_rounds(1)
