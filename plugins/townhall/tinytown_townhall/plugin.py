"""The hooks of the plugin. Apart from the package, so that typing a command imports none of them."""

from __future__ import annotations

from collections.abc import Sequence

from tinytown.contracts import Service
from tinytown.hookspecs import hookimpl
from tinytown.model.events import Event
from tinytown_cli.contracts import Command

from tinytown_townhall.event_text import event_text
from tinytown_townhall.settings import Settings

TINYTOWN_HOOK_API = 2

_TOWN = "The town"


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    return Settings


@hookimpl
def tinytown_commands() -> tuple[Command, ...]:
    """Also announced as entry points of the group `tinytown.commands`, by which they are found when typed."""
    return (
        Command(
            "townhall",
            "Serve the town over HTTP, with a web page.",
            "tinytown_townhall.command:townhall",
            section=_TOWN,
        ),
        Command("mcp", "Serve the town to a model over MCP.", "tinytown_townhall.mcp_command:mcp", section=_TOWN),
        Command("auth", "Say who may use the townhall.", "tinytown_townhall.auth_command:auth", section=_TOWN),
    )


@hookimpl
def tinytown_services(settings: Settings) -> Sequence[Service]:
    if not settings.enabled:
        return ()
    from tinytown_townhall.service import TownhallService  # late: it imports a web server

    return (TownhallService(settings),)


@hookimpl
def tinytown_event_text(event: Event) -> str | None:
    return event_text(event)
