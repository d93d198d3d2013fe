"""Two kernels of a town: one of them notifies, and the other continues behind its last batch when it stops, dies or freezes."""

from __future__ import annotations

import signal
from collections import Counter

import pytest
import trio
from tinytown.model.messages import Query
from tinytown.protocol import Operation
from tinytown.town import Town
from tinytown_notify import queue
from tinytown_notify.service import _SETTLE_EVERY
from tinytown_testing import Receiver
from tinytown_testing.town_pairs import TownPair
from tinytown_testing.towns import KernelProcess

pytestmark = pytest.mark.usefixtures("deadline")

#: A webhook that posts each event by itself, one that posts up to eight at once, and a person.
CHANNELS = """
[[plugins.notify.webhooks]]
name = "single"
url = "{url}/single"
events = ["tick"]
[[plugins.notify.webhooks]]
name = "batch"
url = "{url}/batch"
events = ["tick"]
batch = 8
[[plugins.notify.rules]]
name = "person"
urls = "json://127.0.0.1:{port}/person"
events = ["question"]
"""


#: A question comes with each fourth event: one notification has at most 20 in full.
EACH = {"single": 1, "batch": 1, "person": 4}


async def tick(town: Town, numbers: range) -> None:
    for number in numbers:
        await town.run(town.operations.emit("tick", {"number": str(number)}))
        if number % EACH["person"] == 0:
            await town.send("supervisor", Query(question=f"question {number}?"), sender="ada")


def taken(receiver: Receiver) -> dict[str, list[int]]:
    """The numbers that each channel has delivered, as they came; of a notification for several questions each."""
    found: dict[str, list[int]] = {channel: [] for channel in EACH}
    for request in receiver.taken:
        channel = request.path.strip("/")
        if channel == "person":
            lines = request.json["message"].splitlines()
            found[channel] += [int(line[9:-1]) for line in lines if line.startswith("question ") and line.endswith("?")]
        else:
            events = request.json if channel == "batch" else [request.json]
            found[channel] += [int(event["number"]) for event in events]
    return found


async def has_all(receiver: Receiver, numbers: range) -> None:
    """Wait until each channel has delivered all of `numbers`."""
    await receiver.wait_until(
        lambda: all(set(numbers[:: EACH[channel]]) <= set(delivered) for channel, delivered in taken(receiver).items())
    )


async def holder(town: Town) -> str:
    """The host that notifies; empty while there is none."""
    lease = f"{town.operations.keys.base}:lease:service.notify"
    return await town.run(Operation(("GET", lease), lambda reply: (reply or b"").decode()))


async def nothing_waits(town: Town) -> None:
    """Wait until the town knows that everything was delivered."""
    await town.wait_until(
        lambda: town.run(queue.statuses(town.operations.keys)),
        lambda statuses: len(statuses) == 3 and not any(status.queued for status in statuses),
    )


@pytest.fixture
async def kernels(town_pair: TownPair, receiver: Receiver) -> tuple[KernelProcess, KernelProcess]:
    """The kernel that notifies, and the one that could."""
    town_pair.configure(CHANNELS.format(url=receiver.url, port=receiver.port))
    async with town_pair.watch() as town:
        first = await town_pair.start(town_pair.first)
        await town.spawn("ada", cli="echo")
        await town.wait_until(lambda: holder(town), bool)
    return first, await town_pair.start(town_pair.second)


async def test_a_kernel_that_stops_hands_over_and_nothing_comes_twice(
    town_pair: TownPair, receiver: Receiver, kernels: tuple[KernelProcess, KernelProcess]
) -> None:
    async with town_pair.watch() as town:
        before = await holder(town)
        await tick(town, range(20))
        await trio.to_thread.run_sync(kernels[0].stop)
        await tick(town, range(20, 40))
        await has_all(receiver, range(40))
        assert await holder(town) not in ("", before)
    assert taken(receiver) == {channel: list(range(0, 40, each)) for channel, each in EACH.items()}


@pytest.mark.parametrize("fate", ["killed", "frozen"])
async def test_the_other_kernel_continues_behind_the_last_batch(
    town_pair: TownPair, receiver: Receiver, kernels: tuple[KernelProcess, KernelProcess], fate: str
) -> None:
    async with town_pair.watch() as town:
        before = await holder(town)
        await tick(town, range(8))
        await has_all(receiver, range(8))
        await nothing_waits(town)
        receiver.delay_s = 0.02  # so that it is in the midst of what follows
        await tick(town, range(8, 72))
        await receiver.wait_until(lambda: all(max(delivered) >= 12 for delivered in taken(receiver).values()))
        if fate == "killed":
            kernels[0].kill()
        else:
            kernels[0].signal(signal.SIGSTOP)
        await has_all(receiver, range(72))
        await nothing_waits(town)
        after = await holder(town)
        assert after not in ("", before)
        receiver.delay_s = 0
        if fate == "frozen":
            kernels[0].signal(signal.SIGCONT)
        await tick(town, range(72, 80))
        await has_all(receiver, range(80))
        await nothing_waits(town)
        assert await holder(town) == after
    for channel, delivered in taken(receiver).items():
        first_times = list(dict.fromkeys(delivered))
        assert first_times == list(range(0, 80, EACH[channel])), channel
        repeated = [number for number, times in Counter(delivered).items() if times > 1]
        # What was delivered before is settled; of the rest at most what one kernel settles at once may come again.
        assert all(8 <= number < 80 for number in repeated), channel
        assert len(repeated) <= _SETTLE_EVERY + 8, channel
        assert max(Counter(delivered).values()) <= 2, channel
