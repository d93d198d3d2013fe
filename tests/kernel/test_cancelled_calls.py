"""Send, claim and acknowledge, cancelled at every step they take: done or not done, never half, and repeating them is safe."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.model.messages import Query
from tinytown.protocol.operation import Operation, load_library
from tinytown.protocol.operations import TownOperations
from tinytown.redis.link import Link, open_link
from tinytown.redis.url import Address, parse_url
from tinytown_server.server import EmbeddedServer


@pytest.fixture
def address() -> Iterator[Address]:
    home = Path(tempfile.mkdtemp(prefix="tt-"))
    server = EmbeddedServer(home / ".tt")
    server.ensure()
    yield parse_url(server.url)
    server.stop()
    shutil.rmtree(home)


class CancelAtStep(trio.abc.Instrument):
    """Cancels `scope` when the task that made it has been scheduled `step` times."""

    def __init__(self, scope: trio.CancelScope, step: int) -> None:
        self.scope, self.left, self.task = scope, step, trio.lowlevel.current_task()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


async def cancelled_at(step: int, link: Link, call: Operation[Any]) -> bool:
    """Whether the call was cancelled before it had its answer."""
    with trio.CancelScope() as scope:
        instrument = CancelAtStep(scope, step)
        trio.lowlevel.add_instrument(instrument)
        try:
            if step == 0:
                scope.cancel()
            await link.run(call)
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return scope.cancelled_caught


@pytest.mark.parametrize("verb", ["send", "claim", "ack"])
async def test_cancelled_at_any_step_a_call_may_be_repeated_and_acts_once(verb: str, address: Address) -> None:
    calls = TownOperations("cut")
    with trio.fail_after(20):
        async with open_link(address) as link:
            await link.run(load_library())
            agent = await link.run(calls.create_agent("ann", cli="echo"))
            answered = False
            for step in range(40):
                name = f"m{step}"
                send = calls.send("ann", Query(question="how far?"), message_id=name)
                claim = calls.claim(agent.id, token=f"c{step}", count=5, lease_ms=60_000)
                call: Operation[Any] = send
                if verb != "send":
                    await link.run(send)
                    call = claim
                if verb == "ack":
                    call = calls.ack(agent.id, (await link.run(claim)).deliveries)
                cut = await cancelled_at(step, link, call)
                await link.run(call)  # as whoever did not get the answer does
                if verb == "send":
                    assert [
                        lying.message and lying.message.id for lying in (await link.run(calls.peek("ann"))).messages
                    ] == [name]
                if verb != "ack":
                    batch = await link.run(claim)
                    assert [(each.member[1:], each.deliveries) for each in batch.deliveries] == [(name, 1)]
                    assert await link.run(calls.ack(agent.id, batch.deliveries)) == (True,)
                assert (await link.run(calls.peek("ann"))).messages == ()
                if not cut:
                    answered = True
                    break
            assert step > 0, "nothing was cancelled"
            assert answered, "the call takes more steps than were tried"
