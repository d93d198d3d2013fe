"""The misbehaviour table: what plugins were seen to do wrong, each with the promise of the kit that names it.

The objects that misbehave are those of the tests of each contract, beside the good one that they derive from.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown_testing import BackendScenarios, check_agent_backend, check_converter, check_status_sink

DEADLINE_S = 90.0
SLACK_S = 1.5

_BACKENDS, _SINKS, _CONVERTERS = (
    runpy.run_path(str(Path(__file__).with_name(f"test_{contract}_promises.py")))
    for contract in ("backend", "sink", "converter")
)

BACKENDS = [
    ("works in the wrong directory", "B25", "WorksElsewhere"),
    ("passes the kernel's environment", "B26", "PassesTheKernelsEnvironment"),
    ("adds the kernel's environment to that of the round", "B26", "AddsTheKernelsEnvironment"),
    ("drops mail from the prompt", "B28", "DropsMail"),
    ("calls exit 1 finished", "B29", "TakesAnyEndForSuccess"),
    ("swallows cancellation", "B9", "SwallowsCancelled"),
    ("puts the prompt into arguments", "B27", "PutsThePromptIntoArguments"),
    ("puts the task alone into arguments", "B27", "PutsTheTaskIntoArguments"),
    ("invents session ids", "B30", "InventsSessionIds"),
    ("returns negative usage", "B4", "OwesTokens"),
    ("returns a cost that is not a number", "B4", "CostsNothingThatIsANumber"),
    ("reports negative usage", "B5", "ReportsNonsense"),
]
SINKS = [
    ("keeps everything until closed", "S6", "KeepsUntilClosed"),
    ("drops partly repeated batches", "S7", "DropsWhatCameInPart"),
    ("compares ids as text", "S6", "ComparesIdsAsText"),
]
CONVERTERS = [
    ("strips", "C5", "Strips"),
    ("turns CRLF into LF", "C5", "TurnsCrlfIntoLf"),
    ("sorts tags", "C4", "SortsTags"),
    ("merges equal tasks", "C2", "MergesEqualTasks"),
]


def rows(table: list[tuple[str, str, str]]) -> pytest.MarkDecorator:
    """A test for each row, called what the plugin does wrong."""
    return pytest.mark.parametrize(("promise", "name"), [row[1:] for row in table], ids=[row[0] for row in table])


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@rows(BACKENDS)
async def test_a_backend(promise: str, name: str) -> None:
    def make() -> Any:
        made = _BACKENDS["Good"]()
        vars(made)["session"] = _BACKENDS[name]
        return made

    every: BackendScenarios = _BACKENDS["ALL"]
    with trio.fail_after(DEADLINE_S):
        good = await check_agent_backend(_BACKENDS["Good"], scenarios=every, only={promise}, slack_s=SLACK_S)
        bad = await check_agent_backend(make, scenarios=every, only={promise}, slack_s=SLACK_S)
    assert [result.promise.id for result in (*good.passed, *bad.broken)] == [promise, promise], f"{good}\n{bad}"


@rows(SINKS)
async def test_a_sink(promise: str, name: str) -> None:
    reports = []
    for which in ("Good", name):
        destination = _SINKS["Destination"]()
        with trio.fail_after(DEADLINE_S):
            reports.append(
                await check_status_sink(
                    lambda which=which, destination=destination: _SINKS[which](destination),
                    scenarios=_SINKS["scenarios_of"](destination),
                    only={"S4", promise},  # after the events of another promise, as in a whole check
                    slack_s=SLACK_S,
                )
            )
    good, bad = reports
    assert promise in {result.promise.id for result in good.passed}, str(good)
    assert [result.promise.id for result in bad.broken] == [promise], str(bad)


@rows(CONVERTERS)
async def test_a_converter(promise: str, name: str) -> None:
    with trio.fail_after(DEADLINE_S):
        good = await check_converter(_CONVERTERS["Good"], scenarios=_CONVERTERS["SCENARIOS"], only={promise})
        bad = await check_converter(_CONVERTERS[name], scenarios=_CONVERTERS["SCENARIOS"], only={promise})
    assert [result.promise.id for result in (*good.passed, *bad.broken)] == [promise, promise], f"{good}\n{bad}"
