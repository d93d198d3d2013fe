"""The kit that plugins are tested with: numbered promises for each contract, checked on your own object.

    report = await check_agent_backend(MyBackend, scenarios=BackendScenarios(answer=...))
    report.raise_if_broken()

Our own plugins pass the same kit. It needs no pytest: `run_check` runs a check without an async test, and `open_sandbox`
gives a temporary town for tests of your own. With pytest, `tinytown_testing.pytest_plugin` adds fixtures.

Everything is imported when first used, so that a pytest run of another project, which loads the fixtures by their entry
point, pays nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinytown_testing.agent_tools import check_agent_tool
    from tinytown_testing.backend_trial import ReportRecorder
    from tinytown_testing.backends import check_agent_backend
    from tinytown_testing.boxes import check_sandbox
    from tinytown_testing.commands import check_command, check_completer
    from tinytown_testing.converters import check_converter
    from tinytown_testing.gates import check_gate
    from tinytown_testing.health_checks import check_health_check
    from tinytown_testing.hook_checks import check_chooser, check_prompt_sections
    from tinytown_testing.plugin_check import PROMISES, check_plugin
    from tinytown_testing.promises import BrokenPromise, CheckReport, Promise, PromiseResult, run_check
    from tinytown_testing.receivers import ReceivedRequest, Receiver
    from tinytown_testing.roles import check_roles
    from tinytown_testing.round_access import check_round_access
    from tinytown_testing.sandbox import Sandbox, open_sandbox
    from tinytown_testing.scenarios import (
        BackendScenarios,
        ConverterScenarios,
        GateScenario,
        GateScenarios,
        Scenario,
        SinkScenarios,
        WorkspaceScenarios,
    )
    from tinytown_testing.servers import check_server_provider
    from tinytown_testing.services import check_service
    from tinytown_testing.shell import Answer, Shell
    from tinytown_testing.sinks import check_status_sink
    from tinytown_testing.status_sections import check_status_section
    from tinytown_testing.towns import TownDirectory
    from tinytown_testing.workspaces import check_workspace

__all__ = [
    "PROMISES",
    "Answer",
    "BackendScenarios",
    "BrokenPromise",
    "CheckReport",
    "ConverterScenarios",
    "GateScenario",
    "GateScenarios",
    "Promise",
    "PromiseResult",
    "ReceivedRequest",
    "Receiver",
    "ReportRecorder",
    "Sandbox",
    "Scenario",
    "Shell",
    "SinkScenarios",
    "TownDirectory",
    "WorkspaceScenarios",
    "check_agent_backend",
    "check_agent_tool",
    "check_chooser",
    "check_command",
    "check_completer",
    "check_converter",
    "check_gate",
    "check_health_check",
    "check_plugin",
    "check_prompt_sections",
    "check_roles",
    "check_round_access",
    "check_sandbox",
    "check_server_provider",
    "check_service",
    "check_status_section",
    "check_status_sink",
    "check_workspace",
    "open_sandbox",
    "run_check",
]

_MODULES = {
    "PROMISES": "plugin_check",
    "Answer": "shell",
    "BackendScenarios": "scenarios",
    "BrokenPromise": "promises",
    "CheckReport": "promises",
    "ConverterScenarios": "scenarios",
    "GateScenario": "scenarios",
    "GateScenarios": "scenarios",
    "Promise": "promises",
    "PromiseResult": "promises",
    "ReceivedRequest": "receivers",
    "Receiver": "receivers",
    "ReportRecorder": "backend_trial",
    "Sandbox": "sandbox",
    "Scenario": "scenarios",
    "Shell": "shell",
    "SinkScenarios": "scenarios",
    "TownDirectory": "towns",
    "WorkspaceScenarios": "scenarios",
    "check_agent_backend": "backends",
    "check_agent_tool": "agent_tools",
    "check_chooser": "hook_checks",
    "check_command": "commands",
    "check_completer": "commands",
    "check_converter": "converters",
    "check_gate": "gates",
    "check_health_check": "health_checks",
    "check_plugin": "plugin_check",
    "check_prompt_sections": "hook_checks",
    "check_roles": "roles",
    "check_round_access": "round_access",
    "check_sandbox": "boxes",
    "check_server_provider": "servers",
    "check_service": "services",
    "check_status_section": "status_sections",
    "check_status_sink": "sinks",
    "check_workspace": "workspaces",
    "open_sandbox": "sandbox",
    "run_check": "promises",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
