"""Codex as an agent: the kinds `codex` and `codex-mini`, and one for each table ``[plugins.codex.presets.NAME]``."""

from __future__ import annotations

from pathlib import Path

from tinytown.contracts import AgentBackend
from tinytown.hookspecs import hookimpl
from tinytown_adapters import backends_for

from tinytown_codex.adapter import CodexAdapter, Settings

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    return Settings


@hookimpl
def tinytown_agent_backends(settings: Settings, root: Path) -> list[AgentBackend]:
    return [*backends_for(CodexAdapter(), settings, root)]
