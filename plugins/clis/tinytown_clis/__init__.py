"""More coding CLIs as agents, one family: the kinds `gemini`, `copilot`, `aider`, `cursor` and `opencode`.

Each has its table, ``[plugins.clis.gemini]`` and so on, and presets of its own below that. What they have in common is
`tinytown_adapters`; a module here is what one of them alone does.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from tinytown.contracts import AgentBackend
from tinytown.hookspecs import hookimpl
from tinytown_adapters import CliSettings, backends_for

from tinytown_clis.aider import AiderAdapter
from tinytown_clis.copilot import CopilotAdapter
from tinytown_clis.cursor import CursorAdapter
from tinytown_clis.gemini import GeminiAdapter
from tinytown_clis.opencode import OpencodeAdapter

TINYTOWN_HOOK_API = 2


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.clis]``: one table for each CLI."""

    gemini: CliSettings = CliSettings()
    copilot: CliSettings = CliSettings()
    aider: CliSettings = CliSettings()
    cursor: CliSettings = CliSettings()
    opencode: CliSettings = CliSettings()


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    return Settings


@hookimpl
def tinytown_agent_backends(settings: Settings, root: Path) -> list[AgentBackend]:
    return [
        *backends_for(GeminiAdapter(), settings.gemini, root),
        *backends_for(CopilotAdapter(), settings.copilot, root),
        *backends_for(AiderAdapter(), settings.aider, root),
        *backends_for(CursorAdapter(), settings.cursor, root),
        *backends_for(OpencodeAdapter(), settings.opencode, root),
    ]
