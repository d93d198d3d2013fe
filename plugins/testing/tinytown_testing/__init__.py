"""The kit that plugins are tested with: numbered promises for each contract, tried on your own object.

    report = await check_agent_backend(MyBackend, scenarios=BackendScenarios(answer=...))
    report.raise_if_broken()

Ours pass the same kit. It needs no pytest; `run_check` does without an async test, and `open_bench` gives a temporary
town for tests of your own.
"""

from __future__ import annotations

from tinytown.contracts import Command
from tinytown.hookspecs import hookimpl

from tinytown_testing.advice import check_chooser, check_prompt_sections
from tinytown_testing.backends import check_agent_backend
from tinytown_testing.bench import Bench, open_bench
from tinytown_testing.commands import check_command
from tinytown_testing.converters import check_converter
from tinytown_testing.gates import check_gate
from tinytown_testing.offers import PROMISES, check_plugin
from tinytown_testing.promises import BrokenPromise, CheckReport, Finding, Promise, run_check
from tinytown_testing.scenarios import (
    BackendScenarios,
    ConverterScenarios,
    GateScenario,
    GateScenarios,
    Scenario,
    SinkScenarios,
)
from tinytown_testing.services import check_service
from tinytown_testing.sinks import check_status_sink
from tinytown_testing.workspaces import check_workspace

__all__ = [
    "PROMISES",
    "BackendScenarios",
    "Bench",
    "BrokenPromise",
    "CheckReport",
    "ConverterScenarios",
    "Finding",
    "GateScenario",
    "GateScenarios",
    "Promise",
    "Scenario",
    "SinkScenarios",
    "check_agent_backend",
    "check_chooser",
    "check_command",
    "check_converter",
    "check_gate",
    "check_plugin",
    "check_prompt_sections",
    "check_service",
    "check_status_sink",
    "check_workspace",
    "open_bench",
    "run_check",
]


TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_commands() -> tuple[Command, ...]:
    """Also announced as entry points of the group `tinytown.commands`, by which they are found when typed."""
    return (
        Command(
            "plugin",
            "Write a plugin: begin one, and test what it promises.",
            "tinytown_testing.command:plugin",
            section="More",
        ),
    )
