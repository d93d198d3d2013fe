"""The service that ends conversations of agents that move no task: mail of other agents starts no more rounds then.

Who is stopped is kept as the data of a plugin called ``chatter``, which the server's own functions look at when mail is sent.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from typing import Literal

import trio
from tinytown.contracts import Service
from tinytown.errors import LimitReached, NotFound, ServerUnreachable
from tinytown.model.events import Event
from tinytown.model.ids import SUPERVISOR
from tinytown.model.messages import Informational
from tinytown.model.text import counted
from tinytown.town import Town

from tinytown_ops.chatter.conversations import Conversations

#: Its fields: the id of each agent that is stopped, with its name; and what ``tt status`` shows.
DATA = "chatter"
_NOTICE = "notice"
_PAUSE_S = 1.0


class ChatterBrake(Service):
    """Stops an agent after `limit` rounds in a row without a task, and tells the supervisor once; 0 is no limit."""

    name = "chatter"
    scope: Literal["host", "town"] = "town"

    def __init__(self, limit: int) -> None:
        self._limit = limit

    async def run(self, town: Town) -> None:
        """Follow the town's events until cancelled."""
        kept = await town.run(town.operations.plugin_data(DATA))
        stopped: dict[str, str] = dict(kept)
        stopped.pop(_NOTICE, None)
        if not self._limit:
            for agent_id in stopped:
                await town.run(town.operations.set_plugin_field(DATA, agent_id, None))
            await town.run(town.operations.set_plugin_field(DATA, _NOTICE, None))
            await trio.sleep_forever()
        talks, after = Conversations(self._limit), town.position.value
        while True:
            with suppress(ServerUnreachable):
                async with aclosing(town.events(after)) as events:
                    async for event in events:
                        await self._take(town, stopped, talks, event)
                        after = event.id
            await trio.sleep(_PAUSE_S)

    async def _take(self, town: Town, stopped: dict[str, str], talks: Conversations, event: Event) -> None:
        agent = talks.add(event)
        if agent and agent not in stopped.values():
            with suppress(NotFound):  # removed meanwhile
                await self._stop(town, stopped, agent, talks.partner.get(agent, "another agent"), event)
        for agent_id, name in list(stopped.items()):
            if name in talks.begun_anew:
                await town.run(town.operations.set_plugin_field(DATA, agent_id, None))
                del stopped[agent_id]
                await self._keep_notice(town, stopped)

    async def _stop(self, town: Town, stopped: dict[str, str], name: str, partner: str, event: Event) -> None:
        agent = await town.run(town.operations.agent(name))
        await town.run(town.operations.set_plugin_field(DATA, agent.id, name))
        stopped[agent.id] = name
        await self._keep_notice(town, stopped)
        text = (
            f"{name} has had {counted(self._limit, 'round')} in a row without a task, the last one for mail of {partner} "
            "(limits.chatter). "
            f"Mail of other agents starts no more rounds of {name} until it gets a task, or mail of yours. "
            f"What waits: tt inbox {name}"
        )
        with suppress(LimitReached):  # a full mailbox; tt status shows it as well
            message_id = f"chatter.{agent.id}.{event.id}"
            await town.send(SUPERVISOR, Informational(summary=text), priority="high", message_id=message_id)

    async def _keep_notice(self, town: Town, stopped: dict[str, str]) -> None:
        names = ", ".join(sorted(stopped.values()))
        text = f"mail of other agents starts no rounds of {names}: they talked on without a task" if stopped else None
        await town.run(town.operations.set_plugin_field(DATA, _NOTICE, text))
