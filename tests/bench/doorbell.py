"""A town on a bare server, with agents that no kernel hosts: the mailbox alone, over the kernel's own link.

Knows how mail is announced. Nothing here measures.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from tinytown.config import Config
from tinytown.protocol.operation import load_library
from tinytown.protocol.operations import TownOperations
from tinytown.redis.link import Link, open_link
from tinytown.redis.url import parse_url

TOWN = "bench"


class Doorbells:
    """Events by agent id, set when the agent's bell rings."""

    def __init__(self, calls: TownOperations) -> None:
        self._calls = calls
        self._armed: dict[bytes, trio.Event] = {}

    def armed(self, agent_id: str) -> trio.Event:
        """An event that the next ring of this agent sets; an earlier one of it is forgotten."""
        event = self._armed[self._calls.keys.host_channel(agent_id).encode()] = trio.Event()
        return event

    def rung(self, channel: bytes, _: bytes) -> None:
        """What the link calls for every published message."""
        if (event := self._armed.get(channel)) is not None:
            event.set()


async def set_up(link: Link, calls: TownOperations) -> None:
    """Make the town's data, with the bounds that a town has by default."""
    await link.run(load_library())
    await link.run(calls.setup(Config(name=TOWN).server_settings))


@asynccontextmanager
async def open_bench_town(url: str, agents: int) -> AsyncIterator[tuple[Link, TownOperations, list[str], Doorbells]]:
    """A link to a fresh town with so many agents, subscribed to all their bells; the agents' ids."""
    calls = TownOperations(TOWN)
    bells = Doorbells(calls)
    async with open_link(parse_url(url), on_push=bells.rung) as link:
        await set_up(link, calls)
        ids = [(await link.run(calls.create_agent(f"agent-{number}", cli="none"))).id for number in range(agents)]
        await link.subscribe(*(calls.keys.host_channel(agent_id) for agent_id in ids))
        yield link, calls, ids, bells
