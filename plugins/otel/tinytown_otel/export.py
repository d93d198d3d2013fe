"""Sends spans and metrics to a collector with OpenTelemetry's own exporters. Blocking: called in threads."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

#: Answers about what was sent: the same again would be refused again.
_REFUSALS = {400, 413, 415, 422}

#: What the exporters log, addresses included, is in `NotExported`.
_LOGGER = logging.getLogger("opentelemetry.exporter.otlp")
_LOGGER.propagate = False
_LOGGER.addHandler(logging.NullHandler())


class NotExported(Exception):
    """The collector has not taken what was sent; `final`: it would never take it."""

    def __init__(self, reason: str, *, final: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final


class Exporter:
    """A collector at `endpoint`, its base address. Each attempt takes `timeout_s` at most, as far as the network can tell."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], timeout_s: float) -> None:
        base = endpoint.rstrip("/")
        self._session = _Session()
        options: dict[str, Any] = {
            "headers": dict(headers) or None,  # None: those of OTEL_EXPORTER_OTLP_HEADERS
            "timeout": timeout_s,
            "compression": Compression.Gzip,
            "session": self._session,
        }
        self._spans = OTLPSpanExporter(f"{base}/v1/traces", **options)
        self._metrics: Any = OTLPMetricExporter(f"{base}/v1/metrics", **options)  # half typed

    def send_spans(self, spans: Sequence[ReadableSpan]) -> None:
        """Export some spans. Raises: NotExported."""
        if self._spans.export(spans) is not SpanExportResult.SUCCESS:
            raise self._session.failure()

    def send_metrics(self, metrics: MetricsData) -> None:
        """Export all numbers. Raises: NotExported."""
        if self._metrics.export(metrics) is not MetricExportResult.SUCCESS:
            raise self._session.failure()

    def close(self) -> None:
        """Close the connections; an attempt in another thread ends."""
        self._spans.shutdown()  # type: ignore[no-untyped-call]
        self._metrics.shutdown()


class _Session(requests.Session):
    """Remembers why a request failed, which the exporters do not tell, and fails for a redirect, which they take for success."""

    def __init__(self) -> None:
        super().__init__()
        self._status = 0
        self._reason = "no answer in time"

    def request(self, *args: Any, **options: Any) -> requests.Response:
        self._status, self._reason = 0, "no answer in time"
        try:
            answer = super().request(*args, **options)
        except requests.RequestException as error:
            self._reason = f"no connection: {type(error).__name__}"
            raise
        self._status, self._reason = answer.status_code, f"it answered {answer.status_code} {answer.reason}".rstrip()
        if answer.is_redirect or 300 <= answer.status_code < 400:
            raise requests.TooManyRedirects("redirects are not followed")
        return answer

    def failure(self) -> NotExported:
        """Why the last request failed."""
        return NotExported(self._reason, final=self._status in _REFUSALS)
