"""The metrics of a town: histograms of rounds by the conventions for generative AI, and counters of tasks, mail and money."""

from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource
from tinytown import __version__
from tinytown.config import Config
from tinytown.model.events import Event, MessageDead, MessageSent, PluginReported, RoundEnded, TaskStateChanged
from tinytown.model.round_records import RoundRecord
from tinytown.model.tasks import FINISHED

from tinytown_otel import conventions
from tinytown_otel.traces import round_attributes

#: As the conventions advise.
_SECONDS = (
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
    327.68,
    1310.72,
    5242.88,
)
_TOKENS = tuple(4**power for power in range(14))


class Instruments:
    """Counts what `record` gets; `read` gives all numbers since the start."""

    def __init__(self, config: Config, resource: Resource) -> None:
        self._config = config
        self._reader = InMemoryMetricReader()
        provider = MeterProvider([self._reader], resource=resource, shutdown_on_exit=False)
        meter = provider.get_meter("tinytown", __version__)
        self._duration = meter.create_histogram(
            conventions.OPERATION_DURATION,
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            conventions.TOKEN_USAGE,
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._cost = meter.create_counter("tinytown.cost", "{USD}", "What rounds cost, as far as it is known.")
        self._tasks = meter.create_counter("tinytown.tasks.finished", "{task}", "Tasks that have finished, by state.")
        self._sent = meter.create_counter("tinytown.messages.sent", "{message}", "Messages, by category and priority.")
        self._dead = meter.create_counter("tinytown.messages.dead", "{message}", "Messages that became dead letters.")
        self._faults = meter.create_counter("tinytown.plugin.faults", "{fault}", "What plugins have failed at.")

    def read(self) -> MetricsData | None:
        """All numbers; None before there are any."""
        return self._reader.get_metrics_data()

    def record(self, event: Event, record: RoundRecord | None) -> None:
        """Count an event; `record` is that of the round that it ends, if it is known."""
        match event:
            case RoundEnded():
                self._record_round(event, record)
            case TaskStateChanged() if event.new in FINISHED:
                self._tasks.add(1, {"tinytown.task.state": event.new})
            case MessageSent():
                self._sent.add(
                    1, {"tinytown.message.category": event.category, "tinytown.message.priority": event.priority}
                )
            case MessageDead():
                self._dead.add(1)
            case PluginReported():
                self._faults.add(1, {"tinytown.plugin": event.plugin})
            case _:
                pass

    def _record_round(self, event: RoundEnded, record: RoundRecord | None) -> None:
        if record is None:
            return
        attributes = round_attributes(record, self._config)
        self._duration.record((event.duration_ms or 0) / 1000, attributes)
        usage = record.usage or {}
        for member, kind in (("input_tokens", "input"), ("output_tokens", "output")):
            if tokens := usage.get(member):
                self._tokens.record(tokens, attributes | {conventions.TOKEN_TYPE: kind})
        if cost := usage.get("cost_usd"):
            self._cost.add(cost, attributes)
