"""Follows the town's events and sends what they make: spans in order, each at least once, and metrics from time to time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import trio
from tinytown import __version__
from tinytown.contracts import Service
from tinytown.errors import NotFound, ServerUnreachable, TinytownError
from tinytown.model.events import Event, RoundEnded, TaskStateChanged
from tinytown.model.round_records import RoundRecord
from tinytown.model.tasks import FINISHED, Task
from tinytown.state import town_id
from tinytown.town import Town
from tinytown_cli import administration
from tinytown_cli.secrets import look_up
from tinytown_sinks import EventCursor

from tinytown_otel.settings import Settings
from tinytown_otel.views import PLUGIN, ExportStatus

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from tinytown_otel.export import Exporter
    from tinytown_otel.instruments import Instruments
    from tinytown_otel.traces import Traces

_AT_ONCE = 250
_SPANS_AT_ONCE = 500
_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 60.0
_SERVER_PAUSE_S = 1.0
_GRACE_S = 1.0
_FINISH_S = 2.0


class OtelService(Service):
    """Sends the traces and metrics of the whole town, from one of its kernels."""

    name = "otel"
    scope: Literal["host", "town"] = "town"

    def __init__(self, settings: Settings, root: Path) -> None:
        self._settings = settings
        self._root = root

    async def run(self, town: Town) -> None:
        """Send until cancelled, then what is there within 2 s. Raises: ConfigError if a secret cannot be looked up."""
        status = await town.run(ExportStatus.read(town.operations))
        pipeline = await trio.to_thread.run_sync(self._open, town, status)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pipeline.follow)
                nursery.start_soon(pipeline.hurry_at_the_end)
                if self._settings.metrics_every_s:
                    nursery.start_soon(pipeline.send_metrics_every, self._settings.metrics_every_s)
        finally:
            with trio.CancelScope(shield=True, relative_deadline=_FINISH_S), suppress(TinytownError):
                await pipeline.finish()
            pipeline.exporter.close()

    def _open(self, town: Town, status: ExportStatus) -> _Pipeline:
        """In a thread: OpenTelemetry takes long to import."""
        from opentelemetry.sdk.resources import Resource

        from tinytown_otel.export import Exporter
        from tinytown_otel.instruments import Instruments
        from tinytown_otel.traces import Traces

        headers = {name: look_up(value, self._root) for name, value in self._settings.headers.items()}
        exporter = Exporter(look_up(self._settings.address, self._root), headers, self._settings.timeout_s)
        about = {
            "service.name": "tinytown",
            "service.namespace": town.name,
            "service.instance.id": town_id(self._root),
            "service.version": __version__,
        }
        resource = Resource.create(about | self._settings.resource)
        traces, instruments = Traces(town.config, resource), Instruments(town.config, resource)
        return _Pipeline(town, status, exporter, traces, instruments, timeout_s=2 * self._settings.timeout_s)


class _Pipeline:
    """From the event stream to the collector. `timeout_s` bounds an attempt whose own limits have failed."""

    def __init__(
        self,
        town: Town,
        status: ExportStatus,
        exporter: Exporter,
        traces: Traces,
        instruments: Instruments,
        *,
        timeout_s: float,
    ) -> None:
        self.exporter = exporter
        self._town = town
        self._traces = traces
        self._instruments = instruments
        self._timeout_s = timeout_s
        self._cursor = EventCursor(town, PLUGIN)
        self._status = status
        self._attempts = 0
        self._sending = set[trio.CancelScope]()
        self._has_news = False

    async def follow(self) -> None:
        """Send the spans of all events until cancelled."""
        while True:
            try:
                position = self._town.position.value
                if not await self._forward():
                    await self._town.wait_for_change(position)
            except ServerUnreachable:
                await trio.sleep(_SERVER_PAUSE_S)

    async def send_metrics_every(self, seconds: float) -> None:
        """Send all numbers from time to time, if there are new ones."""
        while True:
            await trio.sleep(seconds)
            await self._send_metrics()

    async def hurry_at_the_end(self) -> None:
        """Wait until cancelled, and leave the present attempts, and those that follow, a second then."""
        try:
            await trio.sleep_forever()
        finally:
            self._timeout_s = _GRACE_S
            for scope in self._sending:
                scope.deadline = min(scope.deadline, trio.current_time() + _GRACE_S)

    async def finish(self) -> None:
        """Send what there is, with one attempt."""
        if not self._attempts:
            while await self._forward():
                pass
        await self._send_metrics()

    async def _forward(self) -> bool:
        """Send what the next events make; False when there are none."""
        events = await self._cursor.read(_AT_ONCE)
        if not events:
            return False
        reported = [(event, await self._task(event), await self._record(event)) for event in events]
        for event, task, record in reported:
            self._traces.add(event, task=task, record=record)
        await self._send_spans(self._traces.take())
        for event, _, record in reported:
            self._instruments.record(event, record)
        self._has_news = True
        # Shielded: what was taken should not be sent and counted again because this kernel is ending.
        with trio.CancelScope(shield=True, relative_deadline=_GRACE_S):
            await self._cursor.advance(events[-1])
        return True

    async def _task(self, event: Event) -> Task | None:
        """The task that finishes, if it is still there."""
        if not isinstance(event, TaskStateChanged) or event.new not in FINISHED:
            return None
        with suppress(NotFound):
            return await self._town.run(self._town.operations.task(event.task))
        return None

    async def _record(self, event: Event) -> RoundRecord | None:
        """The record of the round that ends, if it is still there."""
        if not isinstance(event, RoundEnded):
            return None
        read = administration.rounds(self._town.operations.keys, event.agent, round_id=event.round_id, limit=1)
        try:
            records = await self._town.run(read)
        except NotFound:  # its agent was removed
            return None
        return records[0] if records else None

    async def _send_spans(self, spans: Sequence[ReadableSpan]) -> None:
        """Send spans in order, however long it takes. One that the collector refuses is dropped and counted."""
        left = deque(spans[at : at + _SPANS_AT_ONCE] for at in range(0, len(spans), _SPANS_AT_ONCE))
        while left:
            failure, is_final = await self._attempt(partial(self.exporter.send_spans, left[0]))
            if not failure:
                left.popleft()
                self._attempts = 0
                await self._note(self._status.working())
            elif is_final:
                refused = left.popleft()
                if half := len(refused) // 2:
                    left.extendleft((refused[half:], refused[:half]))
                else:
                    await self._note(self._status.dropping(failure))
            else:
                self._attempts += 1
                await self._note(self._status.failing(failure))
                await trio.sleep(min(_FIRST_RETRY_S * 2 ** min(self._attempts - 1, 16), _LONGEST_RETRY_S))

    async def _send_metrics(self) -> None:
        if self._has_news and (metrics := self._instruments.read()):
            failure, _ = await self._attempt(partial(self.exporter.send_metrics, metrics))
            self._has_news = bool(failure)  # the next time sends all numbers anyway

    async def _attempt(self, send: Callable[[], None]) -> tuple[str, bool]:
        """Why sending failed (empty: it did not), and whether it would always."""
        from tinytown_otel.export import NotExported

        await trio.lowlevel.checkpoint()
        # Not cancelled: what is being sent should not be sent again because the kernel is ending.
        with trio.CancelScope(shield=True, relative_deadline=self._timeout_s) as scope:
            self._sending.add(scope)
            try:
                await trio.to_thread.run_sync(send, abandon_on_cancel=True)
            except NotExported as error:
                return error.reason, error.final
            finally:
                self._sending.remove(scope)
            return "", False
        return "no answer in time", False

    async def _note(self, status: ExportStatus) -> None:
        """Keep in the town how sending goes, when that has changed."""
        if status != self._status:
            self._status = status
            for operation in status.write(self._town.operations):
                await self._town.run(operation)
