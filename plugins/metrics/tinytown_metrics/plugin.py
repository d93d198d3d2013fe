"""The hooks of the plugin, and its settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from tinytown.contracts import Service
from tinytown.hookspecs import hookimpl
from tinytown_cli.contracts import Command

TINYTOWN_HOOK_API = 2

_COMMANDS = (Command("metrics", "Show where Prometheus reads, and a dashboard.", "tinytown_metrics.command:metrics"),)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.metrics]``: where a kernel serves the numbers. They name agents: another `host` than the loopback shows them.

    Without a `port` nothing is served; 0 is any that is free.
    """

    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    """``[plugins.metrics]``."""
    return Settings


@hookimpl
def tinytown_services(settings: Settings) -> Sequence[Service]:
    """The service that serves them, where a port is configured; otherwise nothing listens."""
    if settings.port is None:
        return ()
    from tinytown_metrics.service import MetricsService  # late: commands need none of it

    return (MetricsService(settings.host, settings.port),)


@hookimpl
def tinytown_commands() -> Sequence[Command]:
    """``tt metrics``."""
    return _COMMANDS
