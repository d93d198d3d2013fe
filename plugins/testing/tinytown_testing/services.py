"""What every service promises (V1, V2, ...), and how each promise is tried: in a real town, on a server of its own.

The town has no kernel: agents and tasks come and go in it, but no round runs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Unpack

import trio
from tinytown.concurrency import open_background
from tinytown.contracts import Service
from tinytown.model.ids import new_id
from tinytown.model.messages import Informational
from tinytown.town import Town
from tinytown_cli import administration

from tinytown_testing.contract_checks import CheckOptions, check_connected_promises
from tinytown_testing.promises import Broken, CheckReport, Contract
from tinytown_testing.trial import CANCELLED_AT_STEPS, Trial, check_word

_QUIET_S = 0.2
_MOMENT_S = 0.03
_STEPS_AT_REST = 100
_WINDOWS = 3


@dataclass(slots=True)
class ServiceTrial(Trial):
    """One attempt at one promise of a service."""

    make: Callable[[], Service]
    town: Town

    @asynccontextmanager
    async def running(self, service: Service | None = None) -> AsyncGenerator[Service]:
        """A service in a task of its own, ended after the block. Broken when it ends before; errors come out."""
        running, ended, leaving = service or self.make(), trio.Event(), False

        async def live() -> None:
            try:
                await running.run(self.town)
            finally:
                ended.set()
            if not leaving:
                raise Broken("run() returned without having been cancelled")

        async with open_background() as nursery:
            nursery.start_soon(live)
            await trio.sleep(_MOMENT_S)
            yield running
            leaving = True
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + self.slack_s):
                await ended.wait()
            if not ended.is_set():  # which another promise is about
                self.force_cancel.remove_new_shields()


SERVICE = Contract[ServiceTrial]("service")


async def check_service(make: Callable[[], Service], **options: Unpack[CheckOptions]) -> CheckReport:
    """Check the services that `make` makes. The options are those of every check, see `CheckOptions`.

    Raises: ServerUnreachable if no embedded server can be started.
    """
    return await check_connected_promises(
        SERVICE,
        lambda sandbox, slack_s, town: ServiceTrial(sandbox, slack_s, make, town),
        name=lambda: make().name,
        **options,
    )


@SERVICE.promise("V1", "Its name is a word that can be typed and stored.")
async def _name(trial: ServiceTrial) -> None:
    check_word("name", trial.make().name)


@SERVICE.promise("V2", "It runs until it is cancelled.")
async def _runs(trial: ServiceTrial) -> None:
    async with trial.running():
        await trio.sleep(_QUIET_S)


@SERVICE.promise("V3", "Cancelled at any moment, it ends promptly and leaves nothing behind.", requires=("V2",))
async def _cancelled(trial: ServiceTrial) -> None:
    async def run() -> None:
        await trial.make().run(trial.town)

    async with trial.expect_no_leaks("a service that was cancelled"):
        for step in CANCELLED_AT_STEPS:
            await trial.cancel_and_wait("the service", run, at_step=step, when=partial(trio.sleep, _MOMENT_S))


@SERVICE.promise("V4", "It can be restarted.", requires=("V3",))
async def _again(trial: ServiceTrial) -> None:
    service = trial.make()
    for _ in range(3):
        async with trial.running(service):
            await trio.sleep(_MOMENT_S)


@SERVICE.promise("V5", "It keeps running while agents, tasks and mail come and go.", requires=("V2",))
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
        await town.run(administration.remove_agent(town.operations.keys, agent.id, force=True))
        await trio.sleep(_QUIET_S)


@SERVICE.promise("V6", "It never blocks the event loop.", requires=("V2",))
async def _event_loop(trial: ServiceTrial) -> None:
    async def work() -> None:
        async with trial.running():
            await trial.town.add_task("something to notice")
            await trio.sleep(_QUIET_S)

    await trial.expect_responsive("the service", work)


@SERVICE.promise("V7", "It is idle while nothing happens.", requires=("V6",))
async def _idle(trial: ServiceTrial) -> None:
    windows: list[int] = []
    async with trial.running():
        while len(windows) < _WINDOWS and (not windows or windows[-1] > _STEPS_AT_REST):
            steps = _Steps()
            trio.lowlevel.add_instrument(steps)
            try:
                await trio.sleep(_QUIET_S)
            finally:
                trio.lowlevel.remove_instrument(steps)
            windows.append(steps.count)
    if min(windows) > _STEPS_AT_REST:
        raise Broken(f"in {_QUIET_S} s of a town in which nothing happened, tasks were woken {min(windows)} times")


class _Steps(trio.abc.Instrument):
    """Counts how often any task is let run: unlike processor time, that does not depend on what else the machine does."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1
