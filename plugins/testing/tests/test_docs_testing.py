"""The manual's page on testing has every promise, every scenario and every name of the kit, and its examples run."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import tinytown_testing as testing
from tinytown_testing import PROMISES, BackendScenarios, ConverterScenarios, GateScenarios, Scenario, SinkScenarios
from tinytown_testing.scaffold import KINDS

PAGE = (Path(__file__).parents[3] / "docs" / "testing.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_promise_stands_on_the_page_word_for_word_and_in_order() -> None:
    told = re.findall(r"^\| ([A-Z]\d+) \| (.*) \|$", PAGE, re.MULTILINE)
    assert told == [(promise.id, promise.sentence) for book in PROMISES.values() for promise in book]


@pytest.mark.parametrize("kind", [BackendScenarios, SinkScenarios, ConverterScenarios, GateScenarios])
def test_every_scenario_stands_on_the_page(kind: Any) -> None:
    section = PAGE.partition(f" takes `{kind.__name__}`.")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert told == [field.name for field in dataclasses.fields(kind)]


def test_what_a_scenario_is_made_of_stands_on_the_page() -> None:
    assert [field.name for field in dataclasses.fields(Scenario) if f"`{field.name}`" not in PAGE] == []


def test_every_check_and_kind_stands_on_the_page() -> None:
    checks = [name for name in testing.__all__ if name.startswith("check_") and name != "check_plugin"]
    assert [name for name in checks if f"`{name}(make, ...)`" not in PAGE] == []
    assert [kind for kind in KINDS if kind not in PAGE] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=["scenarios", "bench", "fake CLI", "model server", "prompt sections"])
def test_the_examples_pass(example: str) -> None:
    names: dict[str, Any] = {}
    exec(compile(example, "testing.md", "exec", dont_inherit=True), names)
    for test in [found for name, found in names.items() if name.startswith("test_")]:
        test()
