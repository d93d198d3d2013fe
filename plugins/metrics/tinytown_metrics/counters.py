"""What is counted while a kernel runs, event by event."""

from __future__ import annotations

from collections import OrderedDict

from prometheus_client import CollectorRegistry, Counter, Histogram
from tinytown.model.events import (
    Event,
    MessageDead,
    MessageSent,
    PluginReported,
    RoundEnded,
    TaskAdded,
    TaskStateChanged,
    event_fields,
)
from tinytown.model.round_records import RoundRecord
from tinytown.model.tasks import FINISHED
from tinytown_cli.public import is_doctors

_ROUND_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
_DELIVERY_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
_REMEMBERED = 10_000


class TownCounters:
    """Counters and histograms of one town in `registry`. Of what ``tt doctor`` has done, only its events are counted."""

    def __init__(self, town: str, registry: CollectorRegistry) -> None:
        self._town = town
        self._sent = OrderedDict[str, int]()  # id of a message, or of the task that an order is for -> when, in ms

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"tinytown_{name}", text, ("town", *labels), registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"tinytown_{name}", text, ("town", *labels), buckets=buckets, registry=registry)

        self._events = counter("events", "Events, by type.", "type")
        self._rounds = histogram("round_duration_seconds", "How long rounds took.", _ROUND_S, "kind", "outcome")
        self._delivery = histogram(
            "delivery_latency_seconds", "How long mail waited for its round to begin.", _DELIVERY_S, "kind"
        )
        self._tokens = counter(
            "tokens", "Tokens, as far as reported: input, output, and cached, a part of input.", "kind", "direction"
        )
        self._cost = counter("cost_usd", "What rounds cost in dollars, as far as it is known.", "kind")
        self._tasks = counter("tasks_finished", "Tasks that have finished, by state.", "state")
        self._messages = counter("messages_sent", "Messages, by category and priority.", "category", "priority")
        self._dead = counter("messages_dead", "Messages that became dead letters.")
        self._faults = counter("plugin_faults", "What plugins have failed at.", "plugin")
        self._gaps = counter("sink_gaps", "How often a sink missed events.", "sink")
        self._dead.labels(town)

    def add(self, event: Event, record: RoundRecord | None) -> None:
        """Count an event; `record` is that of the round that it ends, if it is known."""
        self._events.labels(self._town, event.type).inc()
        if is_doctors(event):
            return
        match event:
            case RoundEnded():
                self._add_round(event, record)
            case TaskAdded(state="assigned") | TaskStateChanged(new="assigned"):
                self._remember(event.task, event)
            case TaskStateChanged() if event.new in FINISHED:
                self._tasks.labels(self._town, event.new).inc()
            case MessageSent():
                self._messages.labels(self._town, event.category, event.priority).inc()
                self._remember(event.message, event)
            case MessageDead():
                self._dead.labels(self._town).inc()
            case PluginReported():
                self._faults.labels(self._town, event.plugin).inc()
            case _:
                if event.type == "sink_gap":
                    self._gaps.labels(self._town, str(event_fields(event).get("sink", ""))).inc()

    def _add_round(self, event: RoundEnded, record: RoundRecord | None) -> None:
        kind, took_ms = (record.cli if record else ""), event.duration_ms or 0
        self._rounds.labels(self._town, kind, event.outcome).observe(took_ms / 1000)
        if record is None:
            return
        began_ms = _ms(event) - took_ms
        for message in record.messages:
            # The id of an order is that of its task with a number.
            sent_ms = self._sent.pop(message, None) or self._sent.pop(message.rpartition(".")[0], None)
            if sent_ms is not None:
                self._delivery.labels(self._town, kind).observe(max(0, began_ms - sent_ms) / 1000)
        usage = record.usage or {}
        for direction in ("input", "output", "cached"):
            self._tokens.labels(self._town, kind, direction).inc(usage.get(f"{direction}_tokens") or 0)
        self._cost.labels(self._town, kind).inc(usage.get("cost_usd") or 0)

    def _remember(self, id_: str, event: Event) -> None:
        self._sent[id_] = _ms(event)
        while len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)


def _ms(event: Event) -> int:
    return int(event.id.partition("-")[0])
