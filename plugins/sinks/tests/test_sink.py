"""Status sinks as a running kernel feeds them: every event, in order, at their own pace."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from tinytown.model.events import Event
from tinytown_sinks import StatusSink
from trio_util import AsyncValue

DEADLINE_S = 60.0


@pytest.fixture(autouse=True)
async def _deadline() -> AsyncGenerator[None]:
    with trio.fail_after(DEADLINE_S):
        yield


class Diary(StatusSink):
    """A sink that remembers what it was given."""

    def __init__(self, name: str = "diary") -> None:
        self.name = name
        self.seen: list[Event] = []
        self.count: AsyncValue[int] = AsyncValue(0)
        self.opened = 0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        self.opened += 1
        yield

    async def put(self, events: Sequence[Event]) -> None:
        self.seen.extend(events)
        self.count.value = len(self.seen)

    @property
    def ids(self) -> list[str]:
        return [event.id for event in self.seen]

    async def has(self, type_: str) -> None:
        await self.count.wait_value(lambda _: any(event.type == type_ for event in self.seen))


class Moody(Diary):
    """Raises at its first calls, after it has taken the events."""

    def __init__(self, failures: int) -> None:
        super().__init__("moody")
        self.failures = failures

    async def put(self, events: Sequence[Event]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("the webhook says 500")
        await super().put(events)


class Stuck(Diary):
    async def put(self, events: Sequence[Event]) -> None:
        await trio.sleep_forever()


class NeverOpen(Diary):
    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        await trio.sleep_forever()
        yield


async def test_a_sink_gets_every_event_once_in_order_to_the_very_last(town_dir, scripted_backend) -> None:
    diary = Diary()
    scripted_backend.sinks = [diary]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        for number in range(5):
            await agent.assign(f"task {number}")
        await agent.wait_for_idle()
    async with town_dir.connect() as town:
        reported = await town.run(town.operations.events_after("0"))
    assert diary.ids == [event.id for event in reported]
    assert reported[-1].type == "host_left"


async def test_a_sink_goes_on_where_the_last_kernel_stopped(town_dir, scripted_backend) -> None:
    before, after = Diary(), Diary()
    scripted_backend.sinks = [before]
    async with town_dir.open() as town:
        await town.spawn("ada")
        await before.has("agent_spawned")
    async with town_dir.connect() as town:
        await town.spawn("bea")  # while no kernel runs
    scripted_backend.sinks = [after]
    async with town_dir.open() as town:
        await after.has("host_joined")
        reported = await town.run(town.operations.events_after("0"))
        expected = [event.id for event in reported]
        await after.count.wait_value(lambda _: len(before.ids + after.ids) >= len(expected))
        assert (before.ids + after.ids)[: len(expected)] == expected


async def test_a_sink_that_raises_gets_the_same_events_again_and_the_others_go_on(
    town_dir, scripted_backend, monkeypatch
) -> None:
    monkeypatch.setattr("tinytown_sinks.sink._FIRST_RETRY_S", 0.05)
    moody, diary = Moody(failures=2), Diary()
    scripted_backend.sinks = [moody, diary]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await agent.wait_for_idle()
        await diary.has("agent_spawned")
        await moody.has("agent_spawned")
        assert moody.ids == sorted(moody.ids)
        assert set(diary.ids[:3]) <= set(moody.ids)
        assert moody.opened == 3
        await diary.has("plugin_reported")
        assert len([event for event in diary.seen if event.type == "plugin_reported"]) == 1


@pytest.mark.parametrize("kind", [Stuck, NeverOpen])
async def test_a_sink_that_hangs_holds_up_neither_agents_nor_other_sinks_nor_the_end(
    town_dir, scripted_backend, monkeypatch, kind
) -> None:
    monkeypatch.setattr("tinytown.kernel.kernel._LEAVE_BOUND_S", 0.5)
    stuck, diary = kind("stuck"), Diary()
    scripted_backend.sinks = [stuck, diary]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        for number in range(20):
            await agent.assign(f"task {number}")
        await agent.wait_for_idle()
        began = trio.current_time()
    assert trio.current_time() - began < 2
    assert diary.seen[-1].type == "host_left"
    assert stuck.seen == []


async def test_a_kernel_that_waits_for_a_slow_sink_at_its_end_does_not_join_again(
    town_dir, scripted_backend, monkeypatch
) -> None:
    monkeypatch.setattr("tinytown.kernel.kernel._LEAVE_BOUND_S", 3.0)  # several heartbeats
    scripted_backend.sinks = [Stuck("stuck")]
    async with town_dir.open() as town:
        await town.spawn("ada")
        await town.wait_for_idle()
    async with town_dir.connect() as town:
        assert await town.run(town.operations.hosts()) == ()
        events = await town.run(town.operations.latest_events(100))
    assert [event.type for event in events if event.type.startswith("host_")] == ["host_joined", "host_left"]


async def test_a_sink_that_takes_too_long_gets_its_batch_again(town_dir, scripted_backend, monkeypatch) -> None:
    monkeypatch.setattr("tinytown_sinks.sink._FIRST_RETRY_S", 0.05)

    class Dozing(Diary):
        put_timeout_s = 0.1
        naps = 1

        async def put(self, events: Sequence[Event]) -> None:
            if self.naps:
                self.naps -= 1
                await trio.sleep_forever()
            await super().put(events)

    sink = Dozing()
    scripted_backend.sinks = [sink]
    async with town_dir.open() as town:
        await town.spawn("ada")
        await sink.has("agent_spawned")
        assert sink.seen[0].type == "host_joined"


class Wide(Diary):
    """Notes the size of each batch, and takes as long as `takes_s` says for each event."""

    batch = 64
    put_timeout_s = 0.5
    takes_s = 0.0

    def __init__(self) -> None:
        super().__init__("wide")
        self.sizes: list[int] = []

    async def put(self, events: Sequence[Event]) -> None:
        self.sizes.append(len(events))
        await trio.sleep(self.takes_s * len(events))
        await super().put(events)


async def test_a_batch_that_takes_too_long_is_halved_until_the_sink_can_take_it(
    town_dir, scripted_backend, monkeypatch
) -> None:
    monkeypatch.setattr("tinytown_sinks.sink._FIRST_RETRY_S", 0.01)
    async with town_dir.connect() as town:
        for number in range(100):
            await town.run(town.operations.emit("noise", {"number": str(number)}))
        expected = [event.id for event in await town.run(town.operations.events_after("0"))]
    sink = Wide()
    sink.takes_s = 0.02
    scripted_backend.sinks = [sink]
    async with town_dir.open():
        await sink.count.wait_value(lambda count: count >= len(expected))
    assert sink.sizes[:2] == [64, 32]
    assert sink.ids[: len(expected)] == expected


async def test_a_sink_is_given_only_what_it_wants(town_dir, scripted_backend) -> None:
    sink = Wide()
    sink.wants = lambda event: event.type == "agent_spawned"  # type: ignore[method-assign]
    scripted_backend.sinks = [sink]
    async with town_dir.open() as town:
        await town.spawn("ada")
        await sink.has("agent_spawned")
        await town.spawn("ben")
        await sink.count.wait_value(lambda count: count == 2)
    assert [event.agent for event in sink.seen] == ["ada", "ben"]
    assert sum(sink.sizes) == 2


async def test_events_that_were_removed_before_a_sink_took_them_are_announced_once(town_dir, scripted_backend) -> None:
    sink = Diary()
    scripted_backend.sinks = [sink]
    async with town_dir.open() as town:
        await sink.has("host_joined")
    async with town_dir.connect() as town:
        for number in range(20):
            await town.run(town.operations.emit("noise", {"number": str(number)}))
        await town.redis("test").execute_command("XTRIM", town.operations.keys.events, "MAXLEN", "5")
        oldest = (await town.run(town.operations.events_after("0")))[0].id
    last = sink.ids[-1]
    async with town_dir.open() as town:
        await sink.has("sink_gap")
        await town.spawn("ada")
        await sink.has("agent_spawned")
    (gap,) = [event for event in sink.seen if event.type == "sink_gap" and event.sink == "diary"]
    assert (gap.after, gap.before) == (last, oldest)
    assert sink.ids[sink.ids.index(last) + 1] == oldest
