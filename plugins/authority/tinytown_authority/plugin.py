"""The hooks of the plugin."""

from __future__ import annotations

from collections.abc import Sequence

from tinytown.contracts import RoundAccess
from tinytown.hookspecs import hookimpl

from tinytown_authority.gateway import Gateway
from tinytown_authority.settings import Settings

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    return Settings


@hookimpl
def tinytown_round_access(settings: Settings) -> Sequence[RoundAccess]:
    return [Gateway(settings)]
