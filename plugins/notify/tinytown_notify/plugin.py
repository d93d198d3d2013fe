"""The hooks of the plugin. Apart from the package, so that typing a command imports none of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tinytown.contracts import Service
from tinytown.hookspecs import hookimpl
from tinytown_cli.contracts import Command, HealthCheck, StatusSection

from tinytown_notify.settings import Settings

TINYTOWN_HOOK_API = 2

_COMMANDS = (
    Command("notify", "Test notifications, and deliver again what failed.", "tinytown_notify.commands:notify"),
)


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    """``[plugins.notify]``."""
    return Settings


@hookimpl
def tinytown_services(settings: Settings, root: Path) -> Sequence[Service]:
    """The service that sends, if there is where to."""
    from tinytown_notify.service import NotifyService  # late: commands need none of it

    return (NotifyService(settings, root),) if settings.channels() else ()


@hookimpl
def tinytown_commands() -> Sequence[Command]:
    """``tt notify``."""
    return _COMMANDS


@hookimpl
def tinytown_health_checks(settings: Settings) -> Sequence[HealthCheck]:
    """Whether notifications arrive."""
    from tinytown_notify.views import ChannelsCheck

    return (ChannelsCheck(settings),)


@hookimpl
def tinytown_status_sections(settings: Settings) -> Sequence[StatusSection]:
    """How the channels are."""
    from tinytown_notify.views import ChannelsSection

    return (ChannelsSection(settings),)
