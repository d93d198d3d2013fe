"""The kit that plugins are tested with: numbered promises for each contract, tried on your own object.

    report = await check_agent_backend(MyBackend, scenarios=BackendScenarios(answer=...))
    report.raise_if_broken()

Ours pass the same kit. It needs no pytest; `run_check` does without an async test. `open_bench` gives a temporary town
for tests of your own.
"""

from __future__ import annotations

from tinytown.testing.backends import check_agent_backend
from tinytown.testing.bench import Bench, open_bench
from tinytown.testing.promises import BrokenPromise, CheckReport, Finding, Promise
from tinytown.testing.scenarios import (
    BackendScenarios,
    ConverterScenarios,
    GateScenario,
    GateScenarios,
    Scenario,
    SinkScenarios,
)

__all__ = [
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
    "open_bench",
]
