"""Tools that an installed plugin adds."""

from __future__ import annotations

import pytest

from .conftest import RoundTown

PLUGINS_OWN = {
    "forecast", "whoami", "refusing", "failing", "exiting", "printing", "returning_nothing", "returning_a_set",
    "returning_a_list", "returning_half_a_character",
}  # fmt: skip


def test_a_plugins_tools_are_listed_behind_the_towns_own(round_town: RoundTown, tool_plugin: dict[str, str]) -> None:
    listing = round_town.tt("agent-tools", "--list", "--json", env=tool_plugin)
    tools = {tool["name"]: tool for tool in listing.json["tools"]}
    own = [tool["name"] for tool in round_town.tt("agent-tools", "--list", "--json").json["tools"]]
    assert list(tools)[: len(own)] == own
    assert tools.keys() - set(own) == PLUGINS_OWN
    schema = tools["forecast"]["inputSchema"]
    assert (schema["required"], schema["additionalProperties"]) == (["place"], False)
    assert schema["properties"]["place"] == {"$ref": "#/$defs/Place"}
    assert schema["$defs"]["Place"]["required"] == ["name"]
    hints = {name: tools[name]["annotations"]["readOnlyHint"] for name in ("forecast", "whoami")}
    assert hints == {"forecast": True, "whoami": False}


def test_a_tool_that_cannot_be_served_is_left_out_with_a_warning(
    round_town: RoundTown, tool_plugin: dict[str, str]
) -> None:
    warnings = round_town.tt("agent-tools", "--list", env=tool_plugin).err
    assert "left out the tool status of a plugin: the town has a tool of this name" in warnings
    assert "left out the tool without_arguments of a plugin: expected a msgspec Struct" in warnings
    assert round_town.tools("ada", **tool_plugin).call("status")["town"] == "tools"


def test_a_plugins_tool_acts_as_the_agent_of_the_round(round_town: RoundTown, tool_plugin: dict[str, str]) -> None:
    tools = round_town.tools("bob", **tool_plugin)
    assert tools.call("whoami") == {"agent": "bob", "town": "tools", "agents": ["ada", "bob"]}
    assert tools.text("forecast", place={"name": "Bern"}, days=2) == "rain in Bern for 2 d"
    assert tools.call("forecast", place={"name": "Bern"}) == {"text": "rain in Bern for 1 d"}
    error = tools.error("forecast", place={})
    assert (error["code"], "`name`" in error["message"]) == ("usage", True)


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("failing", "KeyError: 'a bug'"),
        ("exiting", "SystemExit: 3"),
        ("returning_nothing", "TypeError: expected a text or a ToolResult, got NoneType"),
        ("returning_a_set", "TypeError"),
        ("returning_a_list", "TypeError: expected a result that is a JSON object, got list"),
        ("returning_half_a_character", "UnicodeEncodeError"),
    ],
)
def test_a_faulty_tool_costs_its_own_call_only(
    round_town: RoundTown, tool_plugin: dict[str, str], tool: str, message: str
) -> None:
    tools = round_town.tools("ada", **tool_plugin)
    error = tools.error(tool)
    assert error["code"] == "internal"
    assert message in error["message"]
    assert tools.text("printing") == "printed"
    code, stderr = tools.close()
    assert (code, tool in stderr, "noise" in stderr) == (0, True, True)


def test_a_refusal_of_a_plugins_tool_is_its_answer(round_town: RoundTown, tool_plugin: dict[str, str]) -> None:
    error = round_town.tools("ada", **tool_plugin).error("refusing")
    assert error == {"code": "refused", "message": "not today", "hint": "come back tomorrow"}
