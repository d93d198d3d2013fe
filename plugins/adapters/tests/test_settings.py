"""Settings of coding CLIs, and presets as further kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tinytown.errors import ConfigError
from tinytown_adapters import CliSettings
from tinytown_adapters.settings import settings_by_kind

ROOT = Path("/town")


class Settings(CliSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    depth: int = 1


def kinds(table: dict[str, Any], presets: dict[str, dict[str, Any]] | None = None) -> dict[str, Settings]:
    return settings_by_kind("deep", "deep", msgspec.convert(table, Settings), ROOT, presets)


def test_a_preset_says_only_what_is_different() -> None:
    found = kinds(
        {"model": "large", "depth": 2, "env": {"A": "1"}, "presets": {"deep-s": {"model": "s", "env": {"B": "2"}}}}
    )
    assert found["deep"].model == "large"
    small = found["deep-s"]
    assert (small.model, small.depth, small.env, small.presets) == ("s", 2, {"A": "1", "B": "2"}, {})


def test_a_preset_that_comes_with_an_adapter_can_be_changed() -> None:
    ours = {"deep-mini": {"model": "mini", "depth": 3}}
    assert kinds({}, ours)["deep-mini"].model == "mini"
    changed = kinds({"presets": {"deep-mini": {"model": "nano"}}}, ours)["deep-mini"]
    assert (changed.model, changed.depth) == ("nano", 3)


@pytest.mark.parametrize(
    ("presets", "key"),
    [
        ({"x": {"colour": "s"}}, "plugins.deep.presets.x.colour"),
        ({"x": {"depth": "s"}}, "plugins.deep.presets.x.depth"),
        ({"x": {"env": ["A"]}}, "plugins.deep.presets.x.env"),
        ({"x": {"presets": {}}}, "plugins.deep.presets.x"),
        ({"deep": {"model": "s"}}, "plugins.deep.presets.deep"),
        ({"../x": {"model": "s"}}, "plugins.deep.presets.../x"),
    ],
)
def test_a_preset_that_does_not_fit_is_named(presets: dict[str, dict[str, Any]], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kinds({"presets": presets})
    assert caught.value.fields["key"] == key
