"""The hooks of the plugin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tinytown.contracts import Service
from tinytown.hookspecs import hookimpl
from tinytown_cli.contracts import HealthCheck, StatusSection

from tinytown_otel.settings import Settings

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    """``[plugins.otel]``."""
    return Settings


@hookimpl
def tinytown_services(settings: Settings, root: Path) -> Sequence[Service]:
    """The service that sends, if there is where to."""
    from tinytown_otel.service import OtelService  # late: commands need none of it

    return (OtelService(settings, root),) if settings.address else ()


@hookimpl
def tinytown_health_checks(settings: Settings) -> Sequence[HealthCheck]:
    """Whether the collector takes what is sent."""
    from tinytown_otel.views import ExportCheck

    return (ExportCheck(settings),)


@hookimpl
def tinytown_status_sections() -> Sequence[StatusSection]:
    """How sending goes."""
    from tinytown_otel.views import ExportSection

    return (ExportSection(),)
