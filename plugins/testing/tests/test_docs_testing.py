"""The manual's page on testing lists every promise, scenario and check of the kit, and its examples run."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tinytown_testing as testing
from tinytown_testing import (
    PROMISES,
    BackendScenarios,
    ConverterScenarios,
    GateScenarios,
    Scenario,
    SinkScenarios,
    WorkspaceScenarios,
    pytest_plugin,
)
from tinytown_testing.scaffold import KINDS

PATH = Path(__file__).parents[3] / "docs" / "testing.md"
if not PATH.is_file():
    pytest.skip("the manual is not beside the plugin", allow_module_level=True)
PAGE = PATH.read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_lists_every_promise_word_for_word_and_in_order() -> None:
    outcome_text = re.findall(r"^\| ([A-Z]\d+) \| (.*) \|$", PAGE, re.MULTILINE)
    assert outcome_text == [(promise.id, promise.sentence) for promises in PROMISES.values() for promise in promises]


@pytest.mark.parametrize(
    "kind", [BackendScenarios, SinkScenarios, ConverterScenarios, WorkspaceScenarios, GateScenarios]
)
def test_the_page_lists_every_scenario(kind: Any) -> None:
    section = PAGE.partition(f" takes `{kind.__name__}`.")[2].partition("\n## ")[0]
    outcome_text = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert outcome_text == [field.name for field in dataclasses.fields(kind)]


def test_the_page_names_every_field_of_a_scenario() -> None:
    assert [field.name for field in dataclasses.fields(Scenario) if f"`{field.name}`" not in PAGE] == []


def test_the_page_names_every_check_and_kind() -> None:
    checks = [name for name in testing.__all__ if name.startswith("check_") and name != "check_plugin"]
    called = set(re.findall(r"`(check_\w+)\((?:make|provide|plugin), \.\.\.\)`", PAGE))
    assert set(checks) == called
    assert [kind for kind in KINDS if kind not in PAGE] == []


FIXTURES = [example for example in EXAMPLES if "async def test_" in example]
OTHERS = [example for example in EXAMPLES if example not in FIXTURES]


@pytest.mark.parametrize(
    "example",
    OTHERS,
    ids=["scenarios of a plugin", "scenarios", "sandbox", "fake CLI", "model server", "prompt sections"],
)
def test_the_examples_pass(example: str) -> None:
    names: dict[str, Any] = {}
    exec(compile(example, "testing.md", "exec", dont_inherit=True), names)
    for test in [value for name, value in names.items() if name.startswith("test_")]:
        test()


def test_the_example_of_the_fixtures_passes(tmp_path: Path) -> None:
    (example,) = FIXTURES
    (tmp_path / "test_example.py").write_text(example)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey"],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_page_lists_every_fixture() -> None:
    source = (Path(pytest_plugin.__file__)).read_text()
    fixtures = re.findall(r"^@pytest\.fixture.*\n(?:async )?def (\w+)", source, re.MULTILINE)
    section = PAGE.partition("## Fixtures for pytest")[2].partition("\n## ")[0]
    assert sorted(fixtures) == sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
