"""What plugins keep in a town: each its own, read as it was written, and never overwritten unseen."""

from __future__ import annotations

from typing import Any

import pytest
from tinytown.errors import Refused, UsageError
from tinytown_snapshots.functions import plugins_with_data

from tests.protocol.conftest import BareTown


@pytest.mark.parametrize("value", [{"b": [], "a": {"c": None}}, [1, 2.5, 9007199254740993], "é\n", 0, False, ""])
def test_a_value_is_read_as_it_was_written(town: BareTown, value: Any) -> None:
    assert town.run(town.operations.set_plugin_field("rules", "x", value))
    assert town.run(town.operations.plugin_field("rules", "x")) == value
    assert town.run(town.operations.plugin_data("rules")) == {"x": value}
    assert town.run(town.operations.set_plugin_field("rules", "x", "other", expected=value))


def test_a_plugin_sees_its_own_data_alone(town: BareTown) -> None:
    town.run(town.operations.set_plugin_field("rules", "x", 1))
    town.run(town.operations.set_plugin_field("beads", "x", 2))
    assert town.run(town.operations.plugin_data("rules")) == {"x": 1}
    assert town.run(town.operations.plugin_field("none", "x")) is None
    assert town.run(plugins_with_data(town.operations.keys)) == ("beads", "rules")


def test_nothing_is_written_over_what_somebody_else_has_changed(town: BareTown) -> None:
    put = town.operations.set_plugin_field
    assert town.run(put("rules", "x", {"n": 1}, expected=None))
    assert not town.run(put("rules", "x", {"n": 2}, expected=None))
    assert not town.run(put("rules", "x", None, expected={"n": 2}))
    assert town.run(town.operations.plugin_field("rules", "x")) == {"n": 1}
    assert town.run(put("rules", "x", {"n": 2}, expected={"n": 1}))


def test_a_plugin_that_keeps_nothing_any_more_leaves_no_trace(town: BareTown) -> None:
    before = {key for key in town.dump() if key.startswith("plugin")}
    town.run(town.operations.set_plugin_field("rules", "x", 1))
    town.run(town.operations.set_plugin_field("rules", "x", None))
    assert {key for key in town.dump() if key.startswith("plugin")} == before == set()


def test_each_change_is_told_once_and_no_change_is_not(town: BareTown) -> None:
    for value in (1, 1, 2, None, None):
        town.run(town.operations.set_plugin_field("rules", "x", value))
    reported = [event for event in town.events() if event["type"] == "plugin_data_changed"]
    assert reported == [{"type": "plugin_data_changed", "plugin": "rules", "field": "x"}] * 3


def test_an_event_of_the_plugins_own_is_told_with_the_change_and_not_without(town: BareTown) -> None:
    event = ("colour_chosen", {"colour": "blue", "by": "ann"})
    for value, expected in ((1, None), (2, None), (1, 1)):
        town.run(town.operations.set_plugin_field("rules", "x", value, expected=expected, event=event))
    reported = [event for event in town.events() if event["type"] == "colour_chosen"]
    assert reported == [{"type": "colour_chosen", "colour": "blue", "by": "ann"}]


def test_what_a_plugin_keeps_is_bounded(town: BareTown) -> None:
    town.run(town.operations.setup({"message_bytes": 100}))
    assert isinstance(town.refusal(town.operations.set_plugin_field("rules", "x", "y" * 99)), Refused)
    town.command("HSET", town.key("plugin:rules"), *[word for n in range(10_000) for word in (f"f{n}", "1")])
    assert "10000" in town.refusal(town.operations.set_plugin_field("rules", "x", 1)).message
    assert town.run(town.operations.set_plugin_field("rules", "f1", 2)), "what is there may change"


@pytest.mark.parametrize(
    ("plugin", "field"), [("", "x"), ("a b", "x"), ("rules", ""), ("rules", "a/b"), ("rules", "x" * 129)]
)
def test_names_that_are_none_are_refused_before_anything_is_sent(town: BareTown, plugin: str, field: str) -> None:
    with pytest.raises(UsageError):
        town.operations.set_plugin_field(plugin, field, 1)
