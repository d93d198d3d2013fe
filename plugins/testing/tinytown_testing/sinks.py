"""What every status sink promises (S1, S2, ...), and how each promise is tried.

Events are handed over as a kernel does it: in batches, oldest first, each perhaps more than once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Unpack

import trio
from tinytown.model.events import Event
from tinytown.model.text import shown
from tinytown_sinks import StatusSink

from tinytown_testing.contract_checks import CheckOptions, check_promises
from tinytown_testing.promises import Broken, CheckReport, Contract, NotApplicable, raised
from tinytown_testing.samples import sample_events, unusual_events
from tinytown_testing.scenarios import SinkScenarios
from tinytown_testing.trial import CANCELLED_AT_STEPS, Trial, check_word, expect_context_manager

_OPEN_S = 30.0


@dataclass(slots=True)
class SinkTrial(Trial):
    """One attempt at one promise of a sink."""

    make: Callable[[], StatusSink]
    scenarios: SinkScenarios
    sent: int = 0

    @asynccontextmanager
    async def opened(self, sink: StatusSink | None = None) -> AsyncGenerator[StatusSink]:
        sink = sink or self.make()
        async with sink.open():
            yield sink

    async def put(self, sink: StatusSink, events: Sequence[Event]) -> None:
        """Hand over those that the sink wants."""
        wanted = [event for event in events if sink.wants(event)]
        await self.within(f"taking {len(wanted)} events", sink.put_timeout_s, lambda: sink.put(wanted))

    def batch(self, count: int = 3) -> tuple[Event, ...]:
        """Events that come after all those of this trial."""
        events = sample_events(count, after=self.sent)
        self.sent += count
        return events

    def unusual_batch(self) -> tuple[Event, ...]:
        events = unusual_events(after=self.sent)
        self.sent += len(events)
        return events

    @property
    def can_inspect(self) -> bool:
        return callable(self.scenarios.received)

    def expect_received(self, *batches: Sequence[Event]) -> None:
        """Broken unless these events have arrived, in this order, whatever came twice or before. Needs `received`."""
        if not callable(self.scenarios.received):
            return
        arrived = list(dict.fromkeys(self.scenarios.received()))
        wants = self.make().wants
        wanted = [event.id for batch in batches for event in batch if wants(event)]
        missing = [id for id in wanted if id not in set(arrived)]
        if missing:
            raise Broken(f"{len(missing)} of {len(wanted)} events have not arrived, the first is {missing[0]}")
        chosen = set(wanted)
        if [id for id in arrived if id in chosen] != wanted:
            raise Broken(f"the events have arrived in another order: {shown(', '.join(arrived), 200)}")


def largest_batch(sink: StatusSink) -> int:
    """How many events a kernel gives it at most."""
    return max(1, min(sink.batch, 500))


SINK = Contract[SinkTrial]("sink")


async def check_status_sink(
    make: Callable[[], StatusSink],
    *,
    scenarios: SinkScenarios | None = None,
    **options: Unpack[CheckOptions],
) -> CheckReport:
    """Check the sinks that `make` makes, all with one destination; real events are put into it.

    The options are those of every check, see `CheckOptions`.
    """
    return await check_promises(
        SINK,
        lambda place, slack_s: SinkTrial(place, slack_s, make, scenarios or SinkScenarios()),
        name=lambda: make().name,
        **options,
    )


@SINK.promise("S1", "Its name is a word that can be typed and stored.")
async def _name(trial: SinkTrial) -> None:
    check_word("name", trial.make().name)


@SINK.promise("S2", "Nothing starts before it is opened.")
async def _nothing_before_opening(trial: SinkTrial) -> None:
    async with trial.expect_no_leaks("asking to open it, without entering,"):
        expect_context_manager(trial.make().open())
        await trio.lowlevel.checkpoint()


@SINK.promise("S3", "It opens and closes without events, and leaves nothing behind.", requires=("S2",))
async def _opens_and_closes(trial: SinkTrial) -> None:
    async def open_and_close() -> None:
        async with trial.opened():
            pass

    await trial.within("opening and closing", _OPEN_S, open_and_close)
    async with trial.expect_no_leaks("a sink that had nothing to do"):
        await open_and_close()


@SINK.promise(
    "S4", "It accepts batches of any length: empty, one event, as many as its `batch` says.", requires=("S3",)
)
async def _any_length(trial: SinkTrial) -> None:
    async with trial.opened() as sink:
        for count in (1, 0, largest_batch(sink)):
            await trial.put(sink, trial.batch(count))


@SINK.promise("S5", "It accepts events of every type, of unknown types, and with any text.", requires=("S4",))
async def _any_event(trial: SinkTrial) -> None:
    odd = trial.unusual_batch()
    async with trial.opened() as sink:
        for event in odd:
            try:
                await trial.put(sink, [event])
            except Exception as error:
                raise Broken(f"for {shown(repr(event), 200)}: {raised(error)}") from error
    trial.expect_received(odd)


@SINK.promise("S6", "Accepted events have arrived, in order, before the sink is closed.", requires=("S4",))
async def _arrives(trial: SinkTrial) -> None:
    if not trial.can_inspect:
        raise NotApplicable(_reason(trial.scenarios.received, "taken"))
    async with trial.opened() as sink:
        first, second = trial.batch(), trial.batch(largest_batch(sink))
        await trial.put(sink, first)
        trial.expect_received(first)
        await trial.put(sink, second)
        trial.expect_received(first, second)
    trial.expect_received(first, second)


@SINK.promise("S7", "It accepts a batch again, whole or in part, also after a restart.", requires=("S4",))
async def _comes_again(trial: SinkTrial) -> None:
    first, second = trial.batch(), trial.batch()
    async with trial.opened() as sink:
        await trial.put(sink, first)
        await trial.put(sink, first)
    async with trial.opened() as sink:
        await trial.put(sink, [*first[-1:], *second])
    trial.expect_received(first, second)


@SINK.promise("S8", "Closed and opened again, it continues, and earlier events are still there.", requires=("S4",))
async def _opened_again(trial: SinkTrial) -> None:
    sink = trial.make()
    batches = [trial.batch() for _ in range(3)]
    for batch in batches:
        async with trial.opened(sink):
            await trial.put(sink, batch)
    trial.expect_received(*(batches if trial.can_inspect else ()))


@SINK.promise("S9", "A sink that has accepted events leaves nothing behind when it closes.", requires=("S4",))
async def _leaves_nothing(trial: SinkTrial) -> None:
    async with trial.expect_no_leaks("a sink that had worked"), trial.opened() as sink:
        await trial.put(sink, trial.batch())
        await trial.put(sink, trial.batch())


@SINK.promise(
    "S10",
    "Cancelled while it opens, accepts events or closes, it ends promptly, leaves nothing behind, and opens again.",
    requires=("S7", "S9"),
)
async def _cancelled(trial: SinkTrial) -> None:
    batch = trial.batch()
    reached = trio.Event()

    async def work() -> None:
        async with trial.opened() as sink:
            await sink.put(batch)
            reached.set()
            await trio.sleep_forever()

    async with trial.expect_no_leaks("a sink that was cancelled"):
        for step in CANCELLED_AT_STEPS:
            if not reached.is_set():
                await trial.cancel_and_wait("the sink", work, at_step=step, when=reached.wait)
    async with trial.opened() as sink:
        await trial.put(sink, batch)


@SINK.promise(
    "S11",
    "While its destination is unavailable it raises, and afterwards it accepts the same batch.",
    requires=("S4",),
)
async def _unavailable(trial: SinkTrial) -> None:
    unavailable = trial.scenarios.unavailable
    if unavailable is None or isinstance(unavailable, str):
        raise NotApplicable(_reason(unavailable, "out_of_order"))
    batch = trial.batch()
    await _expect_error(trial, unavailable(), batch)
    async with trial.opened() as sink:
        await trial.put(sink, batch)
    trial.expect_received(batch)


async def _expect_error(trial: SinkTrial, unavailable: AbstractContextManager[object], batch: Sequence[Event]) -> None:
    async def hand_over() -> None:
        async with trial.opened() as sink:
            await sink.put(batch)

    with unavailable:
        try:
            await trial.within("an attempt to hand over", _OPEN_S, hand_over)
        except Broken:
            raise
        except Exception:  # of whatever kind: the batch will come again
            return
    raise Broken("a batch counted as taken while the destination took nothing: those events are lost")


@SINK.promise("S12", "It never blocks the event loop.", requires=("S4",))
async def _event_loop(trial: SinkTrial) -> None:
    async def work() -> None:
        async with trial.opened() as sink:
            await sink.put(trial.batch(largest_batch(sink)))

    await trial.expect_responsive("the sink", work)


def _reason(given: object, name: str) -> str:
    return given if isinstance(given, str) else f"no scenario {name!r} was given"
