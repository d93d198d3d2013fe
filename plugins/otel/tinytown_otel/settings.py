"""``[plugins.otel]``: where traces and metrics go. Secrets are looked up when they are used."""

from __future__ import annotations

import os
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from tinytown_cli.secrets import is_reference

#: Where a collector is, as every program with OpenTelemetry reads it.
ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.otel]``: the collector, by OTLP over HTTP.

    `endpoint` is its base address, to which ``/v1/traces`` and ``/v1/metrics`` are added, or ``env:NAME`` or ``file:PATH`` for
    where that is; empty, it is that of OTEL_EXPORTER_OTLP_ENDPOINT, and without that nothing is sent. Values of `headers` are
    secrets: ``env:NAME`` or ``file:PATH``. Metrics are sent every `metrics_every_s` seconds; 0: not at all.
    """

    endpoint: str = ""
    headers: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    resource: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=300)] = 10.0
    metrics_every_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 15.0

    def __post_init__(self) -> None:
        if self.endpoint and not is_reference(self.endpoint):
            parts = urlsplit(self.endpoint)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(
                    "expected an address such as http://127.0.0.1:4318 as endpoint, or env:NAME or file:PATH"
                )
            if parts.password:
                raise ValueError(
                    "the endpoint has a password: put it into a variable or a file, and write env:NAME here"
                )
        for name, value in self.headers.items():
            if not is_reference(value):
                raise ValueError(
                    f"expected env:NAME or file:PATH as the header {name}: secrets do not belong into this file"
                )

    @property
    def address(self) -> str:
        """The endpoint, or where it is; empty if there is none."""
        return self.endpoint or (f"env:{ENDPOINT_VARIABLE}" if os.environ.get(ENDPOINT_VARIABLE) else "")
