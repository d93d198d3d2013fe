"""Two kernels of a town: the other one sends what follows when the first stops, dies or freezes."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable

import pytest
import trio
from tinytown.protocol import Operation
from tinytown.town import Town
from tinytown_otel.views import PLUGIN
from tinytown_sinks import EventCursor
from tinytown_testing import Receiver
from tinytown_testing.town_pairs import TownPair
from tinytown_testing.towns import KernelProcess

from .test_otel import send, sent, spans

pytestmark = pytest.mark.usefixtures("deadline")


async def holder(town: Town) -> str:
    """The host that sends; empty while there is none."""
    lease = f"{town.operations.keys.base}:lease:service.otel"
    return await town.run(Operation(("GET", lease), lambda reply: (reply or b"").decode()))


def stop(kernel: KernelProcess) -> None:
    assert kernel.stop() == 0


def freeze(kernel: KernelProcess) -> None:
    kernel.signal(signal.SIGSTOP)


@pytest.mark.parametrize("end", [stop, KernelProcess.kill, freeze], ids=["stopped", "killed", "frozen"])
async def test_the_other_kernel_continues_behind_the_last_batch(
    town_pair: TownPair, receiver: Receiver, end: Callable[[KernelProcess], None]
) -> None:
    town_pair.configure(f'[plugins.otel]\nendpoint = "{receiver.url}"\n')
    async with town_pair.watch() as town:
        first = await town_pair.start(town_pair.first)
        before = await town.wait_until(lambda: holder(town), bool)
        await town_pair.start(town_pair.second)
        await send(town, *range(5))
        await receiver.wait_until(lambda: set(range(5)) <= set(sent(receiver)))
        cursor = EventCursor(town, PLUGIN)
        await town.wait_until(lambda: cursor.read(1), lambda left: not left)  # the town knows that it was taken
        await trio.to_thread.run_sync(end, first)
        await send(town, *range(5, 10))
        await receiver.wait_until(lambda: set(range(10)) <= set(sent(receiver)))
        after = await town.wait_until(lambda: holder(town), lambda now: now not in ("", before))
        if end is freeze:
            first.signal(signal.SIGCONT)
            await send(town, 10)
            await receiver.wait_until(lambda: 10 in sent(receiver))
            assert await holder(town) == after
    numbers = sent(receiver)
    assert list(dict.fromkeys(numbers)) == sorted(set(numbers))
    ids = Counter(span.span_id for span in spans(receiver) if span.name == "task_noted")
    assert len(ids) == len(set(numbers))  # what comes twice is the same span
    if end is not freeze:  # one that wakes up may send what it had begun
        assert max(ids.values()) == 1
