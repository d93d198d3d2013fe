"""The service that gives waiting tasks to agents of another kind while their own agents cannot work.

Which kinds stand in for which is the person's choice (`fallback` in ``[plugins.ops]``). A task that an agent works on stays
with it, and nothing goes back by itself: who has a task by then keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Literal

import trio
from tinytown.contracts import Service
from tinytown.errors import ServerUnreachable, TinytownError
from tinytown.model.events import AccountParked, AgentStateChanged, Event, TaskStateChanged
from tinytown.town import Town
from tinytown_sinks import events_from

from tinytown_ops.costs import ledger
from tinytown_ops.fallback.hand_over import declined_by, hand_over
from tinytown_ops.fallback.stand_ins import can_work, kinds_left, needs_own_cli, stand_in

_PAUSE_S = 1.0


class Fallback(Service):
    """Gives the tasks of agents that cannot work to agents of the kinds that `kinds` lists for theirs, the first first.

    An agent cannot work while its account is parked, and in the state ``error``. Who stands in has the same role, and is of no
    kind that has declined the task. A task that starts from a session of the agent's CLI waits.
    """

    name = "fallback"
    scope: Literal["host", "town"] = "town"

    def __init__(self, kinds: Mapping[str, Sequence[str]]) -> None:
        self._kinds = kinds

    async def run(self, town: Town) -> None:
        """Follow the town's events until cancelled."""
        while True:
            with suppress(ServerUnreachable):
                await self._move(town)
                async with aclosing(events_from(town, self.name, _may_need_it)) as events:
                    async for _ in events:
                        await self._move(town)
            await trio.sleep(_PAUSE_S)

    async def _move(self, town: Town) -> None:
        agents = await town.agents()
        parked = await parked_accounts(town)
        for agent in agents:
            if agent.cli in self._kinds and not can_work(agent, parked):
                without_stand_in: set[tuple[str, ...]] = set()
                for task in await town.tasks(state="assigned", agent=agent.name):
                    if needs_own_cli(task):
                        continue
                    kinds = kinds_left(self._kinds, agent.cli, declined_by(task))
                    to = None if kinds in without_stand_in else stand_in(agent, agents, kinds, parked)
                    if to is None:
                        without_stand_in.add(kinds)
                        continue
                    with suppress(TinytownError):
                        await town.run(hand_over(town.operations.keys, task, to, agent.reason or "it cannot work"))
                    agents = await town.agents()


async def parked_accounts(town: Town) -> set[str]:
    """The names of the accounts that are rate limited."""
    return {each.name for each in await town.run(ledger.accounts(town.operations.keys)) if each.parked_until}


def _may_need_it(event: Event) -> bool:
    match event:
        case AccountParked():
            return True
        case AgentStateChanged(new=new):
            return new == "error"
        case TaskStateChanged(new=new):
            return new == "assigned"
        case _:
            return False
