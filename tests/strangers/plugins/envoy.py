"""Agents of the kind `envoy`: a program that speaks the Agent Client Protocol."""

from pathlib import Path
from typing import Any, ClassVar

from tinytown.contracts import AgentBackend
from tinytown.hookspecs import hookimpl
from tinytown_acp import AcpAdapter, AcpSettings
from tinytown_adapters import backends_for

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_settings_type() -> type[AcpSettings]:
    return AcpSettings


@hookimpl
def tinytown_agent_backends(settings: AcpSettings, root: Path) -> list[AgentBackend]:
    return list(backends_for(Envoy(), settings, root))


class Envoy(AcpAdapter):
    plugin: ClassVar[str] = "envoy"
    kind: ClassVar[str] = "envoy"
    title: ClassVar[str] = "Envoy"
    command: ClassVar[tuple[str, ...]] = ("envoy",)
    install: ClassVar[str] = "see the documentation of envoy"
    login: ClassVar[str] = "envoy login"


def scenarios(sandbox: Any) -> dict[str, object]:
    from tinytown_testing.fake_acp import acp_scenarios, install_fake_agent

    install_fake_agent(sandbox, "envoy")
    return {"backend envoy": acp_scenarios()}
