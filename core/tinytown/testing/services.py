"""What every service promises (V1, V2, ...), and how each promise is tried: in a real town, on a server of its own.

The town has no kernel: agents and tasks come and go in it, but no round runs.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

from tinytown.background import open_background
from tinytown.contracts import Service
from tinytown.messages import Informational
from tinytown.names import new_id, shown
from tinytown.testing.bench import Bench, on_bench
from tinytown.testing.promises import Book, Broken, CheckReport
from tinytown.testing.trial import CANCELLED_AT_STEPS, SLACK_S, Trial, check_word
from tinytown.town import Town

_QUIET_S = 0.3
_BUSY_SHARE = 0.4
_BUSY_ATTEMPTS = 3


@dataclass(slots=True)
class ServiceTrial(Trial):
    """One attempt at one promise of a service."""

    make: Callable[[], Service]
    town: Town

    @asynccontextmanager
    async def running(self, service: Service | None = None) -> AsyncGenerator[Service]:
        """A service in a task of its own, cancelled after the block. Broken when it ends before; errors come out."""
        running = service or self.make()
        leaving = False

        async def live() -> None:
            await running.run(self.town)
            if not leaving:
                raise Broken("run() returned without having been cancelled")

        async with open_background() as nursery:
            nursery.start_soon(live)
            await trio.testing.wait_all_tasks_blocked()
            yield running
            leaving = True


SERVICE = Book[ServiceTrial]("service")


async def check_service(
    make: Callable[[], Service],
    *,
    only: Collection[str] | None = None,
    bench: Bench | None = None,
    slack_s: float = SLACK_S,
) -> CheckReport:
    """Hold the services that `make` makes to all promises of a service, or to those in `only`.

    The rest is as with `check_agent_backend`. Raises: ServerUnreachable when no embedded server can be started.
    """
    async with on_bench(bench) as place, place.open_town() as town:
        return await SERVICE.hold(f"service {shown(str(make().name))}", ServiceTrial(place, slack_s, make, town), only)


@SERVICE.promise("V1", "Its name is a word that can be typed and stored.")
async def _name(trial: ServiceTrial) -> None:
    check_word("name", trial.make().name)


@SERVICE.promise("V2", "It runs until it is cancelled.")
async def _runs(trial: ServiceTrial) -> None:
    async with trial.running():
        await trio.sleep(_QUIET_S)


@SERVICE.promise("V3", "Cancelled at whatever moment, it ends at once and leaves nothing.", rests_on=("V2",))
async def _cancelled(trial: ServiceTrial) -> None:
    async def run() -> None:
        await trial.make().run(trial.town)

    async with trial.leaving_nothing("a service that was cancelled"):
        for step in CANCELLED_AT_STEPS:
            await trial.cancelled("the service", run, at_step=step, when=partial(trio.sleep, _QUIET_S))


@SERVICE.promise("V4", "It can be started again.", rests_on=("V3",))
async def _again(trial: ServiceTrial) -> None:
    service = trial.make()
    for _ in range(3):
        async with trial.running(service):
            await trio.sleep(_QUIET_S / 3)


@SERVICE.promise("V5", "It goes on while agents, tasks and mail come and go.", rests_on=("V2",))
async def _goes_on(trial: ServiceTrial) -> None:
    town = trial.town
    async with trial.running():
        agent = await town.spawn(f"ada-{new_id()[:8]}", cli="bench")
        await agent.send(Informational(summary="\u00e9 \U0001f3d8 'quoted'"))
        kept, dropped = await agent.assign("do it"), await agent.assign("or not\n\nat all")
        await town.add_task("for anybody", title="on the backlog", tags=("x",))
        await town.complete_task(kept.id, "done")
        await town.cancel_task(dropped.id)
        await agent.kill()
        await agent.remove(force=True)
        await trio.sleep(_QUIET_S)


@SERVICE.promise("V6", "It never holds up the event loop.", rests_on=("V2",))
async def _event_loop(trial: ServiceTrial) -> None:
    async def work() -> None:
        async with trial.running():
            await trial.town.add_task("something to notice")
            await trio.sleep(_QUIET_S)

    await trial.with_pulse("the service", work)


@SERVICE.promise("V7", "It uses next to no processor while nothing happens.", rests_on=("V6",))
async def _idle(trial: ServiceTrial) -> None:
    shares: list[float] = []
    async with trial.running():
        while len(shares) < _BUSY_ATTEMPTS and (not shares or shares[-1] > _BUSY_SHARE):
            began, used = time.perf_counter(), time.process_time()
            await trio.sleep(_QUIET_S)
            shares.append((time.process_time() - used) / (time.perf_counter() - began))
    if min(shares) > _BUSY_SHARE:
        raise Broken(f"in a town in which nothing happened it used {min(shares):.0%} of a processor")
