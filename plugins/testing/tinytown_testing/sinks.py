"""What every status sink promises (S1, S2, ...), and how each promise is tried.

Events are handed over as the noticeboard does it: in batches, oldest first, each perhaps more than once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass

import trio
from tinytown.contracts import StatusSink
from tinytown.model.events import Event
from tinytown.model.text import shown

from tinytown_testing.bench import Bench, on_bench
from tinytown_testing.promises import Book, Broken, CheckReport, NotApplicable, raised
from tinytown_testing.samples import odd_events, sample_events
from tinytown_testing.scenarios import SinkScenarios
from tinytown_testing.trial import CANCELLED_AT_STEPS, SLACK_S, Trial, check_word, expect_context_manager

_PUT_S = 30.0  # after which the noticeboard gives a batch up
_BATCH = 200  # the noticeboard's


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
        await self.in_time(f"taking {len(events)} events", _PUT_S, lambda: sink.put(events))

    def batch(self, count: int = 3) -> tuple[Event, ...]:
        """Events that come after all those of this trial."""
        events = sample_events(count, after=self.sent)
        self.sent += count
        return events

    def odd_batch(self) -> tuple[Event, ...]:
        events = odd_events(after=self.sent)
        self.sent += len(events)
        return events

    @property
    def can_look(self) -> bool:
        return callable(self.scenarios.taken)

    def expect_taken(self, *batches: Sequence[Event]) -> None:
        """Broken unless these events have arrived, in this order, whatever came twice or before. Needs `taken`."""
        if not callable(self.scenarios.taken):
            return
        arrived = list(dict.fromkeys(self.scenarios.taken()))
        wanted = [event.id for batch in batches for event in batch]
        missing = [id for id in wanted if id not in set(arrived)]
        if missing:
            raise Broken(f"{len(missing)} of {len(wanted)} events have not arrived, the first is {missing[0]}")
        chosen = set(wanted)
        if [id for id in arrived if id in chosen] != wanted:
            raise Broken(f"the events have arrived in another order: {shown(', '.join(arrived), 200)}")


SINK = Book[SinkTrial]("sink")


async def check_status_sink(
    make: Callable[[], StatusSink],
    *,
    scenarios: SinkScenarios | None = None,
    only: Collection[str] | None = None,
    bench: Bench | None = None,
    slack_s: float = SLACK_S,
) -> CheckReport:
    """Hold the sinks that `make` makes, all with one destination, to all promises of a sink, or to those in `only`.

    Real events are put into the destination. The rest is as with `check_agent_backend`.
    """
    async with on_bench(bench) as place:
        trial = SinkTrial(place, slack_s, make, scenarios or SinkScenarios())
        return await SINK.hold(f"sink {shown(str(make().name))}", trial, only)


@SINK.promise("S1", "Its name is a word that can be typed and stored.")
async def _name(trial: SinkTrial) -> None:
    check_word("name", trial.make().name)


@SINK.promise("S2", "Nothing is started before it is opened.")
async def _nothing_before_opening(trial: SinkTrial) -> None:
    async with trial.leaving_nothing("asking to open it, without entering,"):
        expect_context_manager(trial.make().open())
        await trio.lowlevel.checkpoint()


@SINK.promise("S3", "It opens and closes with nothing to do, and leaves nothing.", rests_on=("S2",))
async def _opens_and_closes(trial: SinkTrial) -> None:
    async def open_and_close() -> None:
        async with trial.opened():
            pass

    await trial.in_time("opening and closing", _PUT_S, open_and_close)
    async with trial.leaving_nothing("a sink that had nothing to do"):
        await open_and_close()


@SINK.promise("S4", "It takes batches of any length: no event, one, a thousand.", rests_on=("S3",))
async def _any_length(trial: SinkTrial) -> None:
    async with trial.opened() as sink:
        for count in (1, 0, _BATCH, 1_000):
            await trial.put(sink, trial.batch(count))


@SINK.promise("S5", "It takes events of every type, of unknown types, and with any text.", rests_on=("S4",))
async def _any_event(trial: SinkTrial) -> None:
    odd = trial.odd_batch()
    async with trial.opened() as sink:
        for event in odd:
            try:
                await trial.put(sink, [event])
            except Exception as error:
                raise Broken(f"for {shown(repr(event), 200)}: {raised(error)}") from error
    trial.expect_taken(odd)


@SINK.promise("S6", "What it has taken has arrived, in order.", rests_on=("S4",))
async def _arrives(trial: SinkTrial) -> None:
    if not trial.can_look:
        raise NotApplicable(_reason(trial.scenarios.taken, "taken"))
    first, second = trial.batch(), trial.batch(_BATCH)
    async with trial.opened() as sink:
        await trial.put(sink, first)
        await trial.put(sink, second)
    trial.expect_taken(first, second)


@SINK.promise("S7", "It takes a batch that comes again, also in part, also after a restart.", rests_on=("S4",))
async def _comes_again(trial: SinkTrial) -> None:
    first, second = trial.batch(), trial.batch()
    async with trial.opened() as sink:
        await trial.put(sink, first)
        await trial.put(sink, first)
    async with trial.opened() as sink:
        await trial.put(sink, [*first[-1:], *second])


@SINK.promise("S8", "Closed and opened again, it goes on, and what came before is still there.", rests_on=("S4",))
async def _opened_again(trial: SinkTrial) -> None:
    sink = trial.make()
    batches = [trial.batch() for _ in range(3)]
    for batch in batches:
        async with trial.opened(sink):
            await trial.put(sink, batch)
    trial.expect_taken(*(batches if trial.can_look else ()))


@SINK.promise("S9", "One that has worked leaves nothing when it closes.", rests_on=("S4",))
async def _leaves_nothing(trial: SinkTrial) -> None:
    async with trial.leaving_nothing("a sink that had worked"), trial.opened() as sink:
        await trial.put(sink, trial.batch())
        await trial.put(sink, trial.batch())


@SINK.promise(
    "S10",
    "Cancelled while it opens, takes events or closes, it ends at once, leaves nothing, and can be opened again.",
    rests_on=("S7", "S9"),
)
async def _cancelled(trial: SinkTrial) -> None:
    batch = trial.batch()
    reached = trio.Event()

    async def work() -> None:
        async with trial.opened() as sink:
            await sink.put(batch)
            reached.set()
            await trio.sleep_forever()

    async with trial.leaving_nothing("a sink that was cancelled"):
        for step in CANCELLED_AT_STEPS:
            if not reached.is_set():
                await trial.cancelled("the sink", work, at_step=step, when=reached.wait)
    async with trial.opened() as sink:
        await trial.put(sink, batch)


@SINK.promise(
    "S11",
    "While its destination takes nothing it raises, and afterwards it takes the same batch.",
    rests_on=("S4",),
)
async def _out_of_order(trial: SinkTrial) -> None:
    out_of_order = trial.scenarios.out_of_order
    if out_of_order is None or isinstance(out_of_order, str):
        raise NotApplicable(_reason(out_of_order, "out_of_order"))
    batch = trial.batch()
    await _expect_error(trial, out_of_order(), batch)
    async with trial.opened() as sink:
        await trial.put(sink, batch)
    trial.expect_taken(batch)


async def _expect_error(trial: SinkTrial, out_of_order: AbstractContextManager[object], batch: Sequence[Event]) -> None:
    async def hand_over() -> None:
        async with trial.opened() as sink:
            await sink.put(batch)

    with out_of_order:
        try:
            await trial.in_time("an attempt to hand over", _PUT_S, hand_over)
        except Broken:
            raise
        except Exception:  # of whatever kind: the batch will come again
            return
    raise Broken("a batch counted as taken while the destination took nothing: those events are lost")


@SINK.promise("S12", "It never holds up the event loop.", rests_on=("S4",))
async def _event_loop(trial: SinkTrial) -> None:
    async def work() -> None:
        async with trial.opened() as sink:
            await sink.put(trial.batch(_BATCH))

    await trial.with_pulse("the sink", work)


def _reason(given: object, name: str) -> str:
    return given if isinstance(given, str) else f"no scenario {name!r} was given"
