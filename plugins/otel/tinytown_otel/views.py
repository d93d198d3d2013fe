"""How sending to the collector goes: kept in the town, for ``tt status --deep`` and ``tt doctor``."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from tinytown.model.text import counted, shown
from tinytown.model.time import now_rfc3339
from tinytown.protocol import Operation, TownOperations
from tinytown_cli.client import TownClient
from tinytown_cli.contracts import Finding, HealthCheck, SectionContent, StatusSection

from tinytown_otel.settings import ENDPOINT_VARIABLE, Settings

PLUGIN = "otel"
_FIELD = "status"
#: What ``tt status`` shows of a plugin, if there is anything.
_NOTICE_FIELD = "notice"


class ExportStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Since when and why sending fails, and how many spans the collector has refused, the last one why."""

    failing_since: str | None = None
    failure: str | None = None
    dropped: int = 0
    refusal: str | None = None

    def working(self) -> ExportStatus:
        """The same, without a failure."""
        return msgspec.structs.replace(self, failing_since=None, failure=None)

    def failing(self, reason: str) -> ExportStatus:
        """The same, failing since before or from now on."""
        return msgspec.structs.replace(self, failing_since=self.failing_since or now_rfc3339(), failure=reason)

    def dropping(self, reason: str) -> ExportStatus:
        """The same, with one more span that was refused."""
        return msgspec.structs.replace(self, dropped=self.dropped + 1, refusal=reason)

    def write(self, operations: TownOperations) -> Sequence[Operation[bool]]:
        """Keep this in the town, and what ``tt status`` shows of it."""
        notice = f"{counted(self.dropped, 'span')} refused by the collector; see: tt doctor" if self.dropped else None
        return (
            operations.set_plugin_field(PLUGIN, _FIELD, msgspec.to_builtins(self)),
            operations.set_plugin_field(PLUGIN, _NOTICE_FIELD, notice),
        )

    @classmethod
    def read(cls, operations: TownOperations) -> Operation[ExportStatus]:
        """What the town keeps."""
        kept = operations.plugin_field(PLUGIN, _FIELD)
        return Operation(kept.command, lambda reply: msgspec.convert(kept.decode(reply) or {}, cls))


class ExportSection(StatusSection):
    """How sending to the collector goes."""

    name = "otel"

    def read(self, town: TownClient) -> SectionContent | None:
        """Failures and what was dropped; None if all is well."""
        status = town.run(ExportStatus.read(town.operations))
        if status == ExportStatus():
            return None
        lines = [f"failing since {status.failing_since}: {shown(status.failure, 200)}"] if status.failure else []
        if status.dropped:
            lines.append(
                f"{counted(status.dropped, 'span')} refused by the collector: {shown(status.refusal or '', 200)}"
            )
        return SectionContent("OpenTelemetry", lines or ["works"], status)


class ExportCheck(HealthCheck):
    """Whether the collector takes what is sent."""

    name = "otel"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def check(self, town: TownClient) -> Sequence[Finding]:
        """What keeps traces and metrics from arriving."""
        status = town.run(ExportStatus.read(town.operations))
        findings: list[Finding] = []
        if status.failure:
            found = f"the collector has not been reached since {status.failing_since}: {shown(status.failure, 300)}"
            findings.append(Finding("otel", "problem", found, "check endpoint and headers in [plugins.otel]"))
        if status.dropped:
            found = f"{counted(status.dropped, 'span')} refused by the collector: {shown(status.refusal or '', 300)}"
            findings.append(Finding("otel", "note", found, "the collector's own log says what it accepts"))
        if not self._settings.address and not findings:
            found = "installed, but no collector is configured"
            findings.append(Finding("otel", "note", found, f"set endpoint in [plugins.otel], or {ENDPOINT_VARIABLE}"))
        return findings or [Finding("otel", "ok", "the collector takes what is sent")]
