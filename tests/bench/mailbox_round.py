"""One round of the mailbox benchmark, a process of its own: `URL AGENTS MESSAGES AT_ONCE`, figures on stdout.

For each agent one task sends and one receives, all over one connection, each waiting for its every step. Receivers do
what a kernel does: ring, claim up to AT_ONCE messages, run nothing, acknowledge them with the next claim.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence

import trio
from tinytown.model.messages import Informational
from tinytown.model.results import Delivery
from tinytown.protocol.operations import TownOperations
from tinytown.redis.link import Link

from .doorbell import Doorbells, open_bench_town

#: As long as the argument of the peers' jobs; the envelope comes on top.
BODY = Informational(summary="x" * 300)

DEADLINE_S = 100.0


async def round_trip(url: str, agents: int, messages: int, at_once: int) -> dict[str, float]:
    """Send `messages` in all to `agents` agents, and receive and acknowledge every one of them."""
    shares = [messages // agents + (number < messages % agents) for number in range(agents)]
    with trio.fail_after(DEADLINE_S):
        return await _round_trip(url, shares, at_once)


async def _round_trip(url: str, shares: Sequence[int], at_once: int) -> dict[str, float]:
    messages = sum(shares)
    async with open_bench_town(url, len(shares)) as (link, calls, ids, bells):
        began_at, cpu_began_s = time.perf_counter(), _cpu_s()
        async with trio.open_nursery() as nursery:
            for agent_id, share in zip(ids, shares, strict=True):
                nursery.start_soon(_send, link, calls, agent_id, share)
                nursery.start_soon(_receive, link, calls, bells, agent_id, share, at_once)
        took_s = time.perf_counter() - began_at
        return {"messages_per_s": messages / took_s, "client_us": (_cpu_s() - cpu_began_s) / messages * 1e6}


async def _send(link: Link, calls: TownOperations, agent_id: str, share: int) -> None:
    for _ in range(share):
        await link.run(calls.send(agent_id, BODY))


async def _receive(
    link: Link, calls: TownOperations, bells: Doorbells, agent_id: str, share: int, at_once: int
) -> None:
    received, claims = 0, 0
    done: tuple[Delivery, ...] = ()
    while received < share:
        bell = bells.armed(agent_id)  # before the claim, so that no ring is missed
        claims += 1
        batch = await link.run(calls.claim(agent_id, token=f"{agent_id}-{claims}", count=at_once, acks=done))
        done = batch.deliveries
        received += len(done)
        if not done:
            await bell.wait()
    acked: tuple[bool, ...] = await link.run(calls.ack(agent_id, done))
    if not all(acked):
        raise AssertionError("a lease was lost on the way; the rate would be of something else")


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    figures = trio.run(round_trip, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    print(json.dumps(figures))
