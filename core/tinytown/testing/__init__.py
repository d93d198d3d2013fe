"""The kit that plugins are tested with: numbered promises for each contract, tried on your own object.

    report = await check_agent_backend(MyBackend, scenarios=BackendScenarios(answer=...))
    report.raise_if_broken()

Ours pass the same kit. It needs no pytest; `run_check` does without an async test, and `open_bench` gives a temporary
town for tests of your own.
"""

from __future__ import annotations

from tinytown.testing.advice import check_chooser, check_prompt_sections
from tinytown.testing.backends import check_agent_backend
from tinytown.testing.bench import Bench, open_bench
from tinytown.testing.commands import check_command
from tinytown.testing.converters import check_converter
from tinytown.testing.gates import check_gate
from tinytown.testing.offers import PROMISES, check_plugin
from tinytown.testing.promises import BrokenPromise, CheckReport, Finding, Promise, run_check
from tinytown.testing.scenarios import (
    BackendScenarios,
    ConverterScenarios,
    GateScenario,
    GateScenarios,
    Scenario,
    SinkScenarios,
)
from tinytown.testing.services import check_service
from tinytown.testing.sinks import check_status_sink
from tinytown.testing.workspaces import check_workspace

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
