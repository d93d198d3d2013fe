"""From events to spans: a task is a trace, and its rounds, gates, mail and what plugins tell of it are spans in it.

The ids of traces and spans are made of those of tasks, rounds and messages. So a span that is sent twice is the same span, a
kernel that takes over continues the same traces, and a task's trace is found by the task's id without the dashes.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from tinytown import __version__
from tinytown.config import Config
from tinytown.model.events import (
    Event,
    MessageSent,
    OtherEvent,
    RoundEnded,
    RoundStarted,
    TaskStateChanged,
)
from tinytown.model.round_records import RoundRecord
from tinytown.model.tasks import FINISHED, Task
from tinytown.model.text import shown
from tinytown.model.time import parse_rfc3339

from tinytown_otel import conventions

T = TypeVar("T")
Attributes = dict[str, str | int | float | bool]

_REMEMBERED = 10_000
_TEXT = 1_000

#: Kind of agent -> who provides its models, as the conventions spell it.
_PROVIDERS = {"claude": "anthropic", "codex": "openai", "gemini": "gcp.gemini"}


def model_of(config: Config, kind: str) -> str:
    """The model that the settings name for a kind of agent, which may be a preset; empty if they name none."""
    for name, table in config.plugins.items():
        chosen = table if name == kind else _table(table.get("presets")).get(kind)
        model = _table(chosen).get("model", "")
        if model and isinstance(model, str):
            return model
    return ""


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType] - what a person wrote


def round_attributes(record: RoundRecord, config: Config) -> Attributes:
    """What the conventions ask of an agent's operation, for its span and its metrics."""
    attributes: Attributes = {
        conventions.OPERATION_NAME: conventions.INVOKE_AGENT,
        conventions.AGENT_NAME: record.agent,
        conventions.PROVIDER_NAME: _PROVIDERS.get(record.cli, record.cli),
    }
    if model := model_of(config, record.cli):
        attributes[conventions.REQUEST_MODEL] = model
    if record.outcome != "finished":
        attributes[conventions.ERROR_TYPE] = record.outcome
    return attributes


class Traces:
    """Makes the spans of a town. `add` gets every event in order; `take` gives the spans that have ended."""

    def __init__(self, config: Config, resource: Resource) -> None:
        self._config = config
        self._ids = _ChosenIds()
        self._ended: list[ReadableSpan] = []
        provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        provider.add_span_processor(_Collector(self._ended))
        self._tracer = provider.get_tracer("tinytown", __version__)
        self._rounds: dict[str, SpanContext] = {}
        self._verifying = _Memory[int]()
        self._sent = _Memory[SpanContext]()

    def take(self) -> list[ReadableSpan]:
        """The spans that have ended since the last call."""
        spans = list(self._ended)
        self._ended.clear()
        return spans

    def add(self, event: Event, *, task: Task | None, record: RoundRecord | None) -> None:
        """Note an event; `task` is what it is about, `record` the round that it ends, as far as they are known."""
        match event:
            case RoundStarted():
                self._rounds[event.agent] = _round_context(event.round_id, event.task)
            case RoundEnded():
                self._rounds.pop(event.agent, None)
                self._add_round(event, record or _record_of(event))
            case TaskStateChanged():
                self._add_gates(event)
                if event.new in FINISHED:
                    self._add_task(event, task)
            case MessageSent():
                self._add_message(event)
            case OtherEvent():
                self._add_other(event)
            case _:
                pass

    def _add_task(self, event: TaskStateChanged, task: Task | None) -> None:
        end = _ms(event)
        attributes: Attributes = {
            "tinytown.task.id": event.task,
            "tinytown.task.title": shown(event.title or (task.headline if task else ""), _TEXT),
            "tinytown.task.state": event.new,
        }
        if event.agent:
            attributes[conventions.AGENT_NAME] = event.agent
        if task:
            attributes |= {"tinytown.task.priority": task.priority, "tinytown.task.attempts": task.attempts}
        self._end(
            "task",
            _task_context(event.task),
            None,
            begin_ms=parse_rfc3339(task.created_at) if task and task.created_at else end,
            end_ms=end,
            attributes=attributes,
            error=event.reason or "failed" if event.new == "failed" else "",
        )

    def _add_round(self, event: RoundEnded, record: RoundRecord) -> None:
        end = _ms(event)
        attributes = round_attributes(record, self._config)
        attributes |= {"tinytown.round.id": event.round_id, "tinytown.round.outcome": event.outcome}
        attributes |= {"tinytown.agent.kind": record.cli, "tinytown.prompt_bytes": record.prompt_bytes}
        if event.task:
            attributes["tinytown.task.id"] = event.task
        if record.session_id:
            attributes[conventions.CONVERSATION_ID] = record.session_id
        for member, name in _USAGE.items():
            if (value := (record.usage or {}).get(member)) is not None:
                attributes[name] = value
        self._end(
            f"{conventions.INVOKE_AGENT} {event.agent}",
            _round_context(event.round_id, event.task),
            _task_context(event.task) if event.task else None,
            begin_ms=end - (event.duration_ms or 0),
            end_ms=end,
            attributes=attributes,
            error="" if event.outcome == "finished" else event.reason or event.outcome,
            links=[Link(sent) for message in record.messages if (sent := self._sent.get(message))],
        )

    def _add_gates(self, event: TaskStateChanged) -> None:
        if event.new == "verifying":
            self._verifying.put(event.task, _ms(event))
        elif event.old == "verifying" and (begin := self._verifying.pop(event.task)):
            self._end(
                "gates",
                SpanContext(_trace_id(event.task), _span_id(f"gates {event.task} {begin}"), False, _SAMPLED),
                _task_context(event.task),
                begin_ms=begin,
                end_ms=_ms(event),
                attributes={"tinytown.task.id": event.task, "tinytown.task.state": event.new},
                error="" if event.new == "completed" else event.reason or event.new,
            )

    def _add_message(self, event: MessageSent) -> None:
        parent = self._rounds.get(event.sender)
        trace_id = parent.trace_id if parent else _trace_id(event.message)
        context = SpanContext(trace_id, _span_id(f"message {event.message}"), False, _SAMPLED)
        self._sent.put(event.message, context)
        self._end(
            f"send {event.category or 'message'}",
            context,
            parent,
            begin_ms=_ms(event),
            end_ms=_ms(event),
            kind=SpanKind.PRODUCER,
            attributes={
                conventions.MESSAGING_SYSTEM: "tinytown",
                conventions.MESSAGING_OPERATION_NAME: "send",
                conventions.MESSAGING_OPERATION_TYPE: "send",
                conventions.MESSAGING_MESSAGE_ID: event.message,
                conventions.MESSAGING_DESTINATION_NAME: event.recipient,
                "tinytown.message.sender": event.sender,
                "tinytown.message.priority": event.priority,
            },
        )

    def _add_other(self, event: OtherEvent) -> None:
        """What a plugin reports of a task, such as that its work was merged; an error if it was refused or failed."""
        task = event.fields.get("task")
        if not task:
            return
        took = event.fields.get("duration_ms", "")
        self._end(
            event.type,
            SpanContext(_trace_id(task), _span_id(f"event {event.id}"), False, _SAMPLED),
            _task_context(task),
            begin_ms=_ms(event) - (int(took) if took.isdecimal() else 0),
            end_ms=_ms(event),
            attributes={f"tinytown.{name}": shown(text, _TEXT) for name, text in event.fields.items()},
            error=event.fields.get("reason", event.type) if event.type.endswith(("_refused", "_failed")) else "",
        )

    def _end(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        *,
        begin_ms: int,
        end_ms: int,
        attributes: Attributes,
        kind: SpanKind = SpanKind.INTERNAL,
        error: str = "",
        links: Sequence[Link] = (),
    ) -> None:
        """A span from its beginning to its end, with the ids of `context`."""
        self._ids.chosen = context
        span = self._tracer.start_span(
            name,
            context=set_span_in_context(NonRecordingSpan(parent), Context()) if parent else Context(),
            kind=kind,
            attributes=attributes,
            links=links,
            start_time=min(begin_ms, end_ms) * 1_000_000,
        )
        if error:
            span.set_status(StatusCode.ERROR, shown(error, _TEXT))
        span.end(end_ms * 1_000_000)


#: Members of `contracts.Usage` -> attributes of a span.
_USAGE = {
    "input_tokens": conventions.INPUT_TOKENS,
    "output_tokens": conventions.OUTPUT_TOKENS,
    "cached_tokens": conventions.CACHED_TOKENS,
    "cost_usd": "tinytown.cost_usd",
}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class _ChosenIds(IdGenerator):
    """Gives the next span the ids that were chosen for it."""

    chosen: SpanContext

    def generate_span_id(self) -> int:
        return self.chosen.span_id

    def generate_trace_id(self) -> int:
        return self.chosen.trace_id


class _Collector(SpanProcessor):
    """Keeps the spans that end, in order, instead of sending them by itself."""

    def __init__(self, ended: list[ReadableSpan]) -> None:
        self._ended = ended

    def on_end(self, span: ReadableSpan) -> None:
        if span.context and span.context.trace_flags.sampled:
            self._ended.append(span)


class _Memory(Generic[T]):
    """The latest things by their ids: what is never asked for again does not stay for ever."""

    def __init__(self) -> None:
        self._things = OrderedDict[str, T]()

    def put(self, id_: str, thing: T) -> None:
        self._things[id_] = thing
        while len(self._things) > _REMEMBERED:
            self._things.popitem(last=False)

    def get(self, id_: str) -> T | None:
        return self._things.get(id_)

    def pop(self, id_: str) -> T | None:
        return self._things.pop(id_, None)


def _task_context(task: str) -> SpanContext:
    return SpanContext(_trace_id(task), _span_id(f"task {task}"), False, _SAMPLED)


def _round_context(round_id: str, task: str | None) -> SpanContext:
    return SpanContext(_trace_id(task or round_id), _span_id(f"round {round_id}"), False, _SAMPLED)


def _trace_id(id_: str) -> int:
    try:
        return UUID(id_).int
    except ValueError:  # importers name tasks as they like
        return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=16).digest())


def _span_id(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _record_of(event: RoundEnded) -> RoundRecord:
    """What is known of a round whose record is gone."""
    return RoundRecord(round_id=event.round_id, outcome=event.outcome, agent=event.agent, task=event.task)


def _ms(event: Event) -> int:
    return int(event.id.partition("-")[0])
