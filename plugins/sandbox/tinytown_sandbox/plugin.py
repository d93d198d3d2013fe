"""The hooks of the plugin. Apart from the package, so that the programs around a box import none of them."""

from __future__ import annotations

import sys
from pathlib import Path

from tinytown.contracts import Sandbox
from tinytown.hookspecs import hookimpl
from tinytown_cli.contracts import HealthCheck

from tinytown_sandbox.settings import Settings

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    return Settings


@hookimpl
def tinytown_sandboxes(settings: Settings, root: Path) -> list[Sandbox]:
    return [_sandbox(settings, root)]


@hookimpl
def tinytown_health_checks(settings: Settings, root: Path) -> list[HealthCheck]:
    from tinytown_sandbox.health import SandboxCheck

    return [SandboxCheck(_sandbox(settings, root), settings)]


def _sandbox(settings: Settings, root: Path) -> Sandbox:
    if sys.platform == "darwin":
        from tinytown_sandbox.seatbelt import Seatbelt

        return Seatbelt(settings)
    from tinytown_sandbox.bubblewrap import Bubblewrap

    return Bubblewrap(settings, root)
