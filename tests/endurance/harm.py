"""What is done to the town: its model fails for a while, and processes are killed, stopped and ended in good order.

The model and the town have their own turns, so that what strikes the one meets whatever the other suffers just then. Each kind
comes once before one comes again. `struck` counts them.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import trio
from tinytown_testing.models.scripts import Reply

from .stage import LEASE_S, Stage

#: How the model fails: the reply of everybody's requests. Refused connections are none.
TROUBLES: Mapping[str, Reply] = {
    "model refuses connections": {"drop": "start"},
    "model answers 500": {"status": 500},
    "model answers 429": {"status": 429},
    "model answers 429 with a time": {"status": 429, "headers": {"retry-after": "15"}},
    "model answers 529": {"status": 529},
    "model never answers": {"hang": "start"},
    "model falls silent": {"hang": "stream", "text": "half of an answer, and then nothing"},
    "model is cut off": {"drop": "stream", "text": "half of an answer, and then an end"},
}


class Harm:
    """Strikes a stage, until cancelled. `bad_exits` has what ended in good order and did not say so."""

    def __init__(self, stage: Stage, chance: random.Random, outage_s: tuple[float, float], pause_s: float) -> None:
        self._stage = stage
        self._chance = chance
        self._outage_s = outage_s
        self._pause_s = pause_s
        self.struck: Counter[str] = Counter()
        self.bad_exits: list[str] = []
        self._blows: dict[str, Callable[[], Awaitable[None]]] = {
            "kernel killed": self._kill_kernel,
            "server killed": self._kill_server,
            "everything killed": self._kill_everything,
            "kernel stopped beyond its lease": self._freeze_kernel,
            "tt stop and tt start": self._stop_and_start,
        }

    async def fail_model(self) -> None:
        """One outage of the model after the other."""
        models = self._stage.models
        while True:
            for name in self._chance.sample(sorted(TROUBLES), len(TROUBLES)):
                await self._pause()
                self.struck[name] += 1
                try:
                    models.trouble = TROUBLES[name]
                    if "refuses" in name:
                        models.refuse()
                    await trio.sleep(self._chance.uniform(*self._outage_s))
                finally:
                    models.trouble = None
                    models.listen()

    async def strike_town(self) -> None:
        """One blow against the town's own processes after the other, each from the blow to the kernel that runs again."""
        while True:
            for name in self._chance.sample(sorted(self._blows), len(self._blows)):
                await self._pause()
                self.struck[name] += 1
                with trio.CancelScope(shield=True):
                    await self._blows[name]()

    async def kill_clis(self) -> None:
        """Kill the CLI of a round now and then."""
        while True:
            await self._pause()
            if found := await trio.to_thread.run_sync(self._stage.commands):
                with suppress(ProcessLookupError):
                    os.kill(self._chance.choice(found), signal.SIGKILL)
                    self.struck["CLI killed"] += 1

    async def _pause(self) -> None:
        await trio.sleep(self._chance.uniform(0.5, 1.5) * self._pause_s)

    async def _start(self) -> None:
        await trio.to_thread.run_sync(self._stage.start)

    async def _kill_kernel(self) -> None:
        await trio.to_thread.run_sync(self._stage.kill_kernel)
        await trio.sleep(self._chance.choice([0.0, 2.0, 1.5 * LEASE_S]))
        await self._start()

    async def _kill_server(self) -> None:
        await trio.to_thread.run_sync(self._stage.kill_server)

    async def _kill_everything(self) -> None:
        await trio.to_thread.run_sync(self._stage.kill_everything)
        await trio.sleep(self._chance.choice([0.0, 2.0, 1.5 * LEASE_S]))
        await self._start()

    async def _freeze_kernel(self) -> None:
        kernel = self._stage.kernel
        assert kernel is not None
        kernel.signal(signal.SIGSTOP)
        try:
            await trio.sleep(LEASE_S * self._chance.uniform(1.5, 3.0))
        finally:
            kernel.signal(signal.SIGCONT)

    async def _stop_and_start(self) -> None:
        codes = await trio.to_thread.run_sync(self._stage.stop)
        if codes != (0, 0):
            self.bad_exits.append(f"tt stop ended with {codes[0]}, the kernel with {codes[1]}")
        await self._start()
