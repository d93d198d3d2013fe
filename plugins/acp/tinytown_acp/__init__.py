"""Agents of the Agent Client Protocol: each table ``[plugins.acp.agents.NAME]`` is a kind of agent; some are known already."""

from __future__ import annotations

from pathlib import Path

import msgspec
from tinytown.config import CONFIG_FILE
from tinytown.contracts import AgentBackend
from tinytown.errors import ConfigError
from tinytown.hookspecs import hookimpl
from tinytown_adapters import backends_for

from tinytown_acp.adapter import AcpAdapter, adapter_of
from tinytown_acp.known import KNOWN, KnownAgent
from tinytown_acp.registry import agents_in
from tinytown_acp.settings import AcpSettings

#: What another plugin makes a kind of its own with.
__all__ = ["AcpAdapter", "AcpSettings"]

TINYTOWN_HOOK_API = 2


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.acp]``: a table for each agent, by the name of its kind.

    `registry` is a file in the format of the public registry of agents; each of them becomes a kind, ``acp-ID``.
    """

    registry: str = ""
    agents: dict[str, AcpSettings] = msgspec.field(default_factory=dict[str, AcpSettings])


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    return Settings


@hookimpl
def tinytown_agent_backends(settings: Settings, root: Path) -> list[AgentBackend]:
    known = dict(KNOWN)
    if settings.registry:
        known = {**agents_in(root / settings.registry, "plugins.acp.registry"), **known}
    for kind, table in settings.agents.items():
        if kind not in known and not table.command:
            path, key = root / CONFIG_FILE, f"plugins.acp.agents.{kind}.command"
            hint = 'name the program that speaks the protocol, such as ["my-agent", "--acp"]'
            raise ConfigError(f"{path}: expected a command at {key}", hint=hint, path=str(path), key=key)
        known.setdefault(kind, KnownAgent(kind, (), "install what plugins.acp.agents names as command"))
    return [
        backend
        for kind, agent in known.items()
        for backend in backends_for(adapter_of(kind, agent), settings.agents.get(kind) or AcpSettings(), root)
    ]
