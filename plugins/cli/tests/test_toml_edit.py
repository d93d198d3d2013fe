"""Changing TOML that people wrote: what was asked for is what comes out, or nothing does."""

from __future__ import annotations

import itertools
import tomllib
from typing import Any

import pytest
from tinytown.errors import TinytownError
from tinytown_cli.toml_edit import Place, edit

SETTINGS = """\
# The town.
name = "shop"  # as on the sign

[redis]
durability = "safe"

# Rounds are short here.
[round]
timeout_s = 60
"""


def test_a_new_key_is_added_to_its_table() -> None:
    edited = edit(
        SETTINGS,
        [
            (("max_agents",), 5),
            (("redis", "url"), "redis://h"),
            (("round", "timeout_s"), 90),
            (("agent_clis", "my.tool", "command"), ["a", "b"]),
        ],
    )
    assert edited == (
        SETTINGS.replace("sign\n", "sign\nmax_agents = 5\n")
        .replace('"safe"\n', '"safe"\nurl = "redis://h"\n')
        .replace("60", "90")
        + '\n[agent_clis."my.tool"]\ncommand = ["a", "b"]\n'
    )


def test_a_table_without_keys_is_removed() -> None:
    assert "[redis]" not in edit(SETTINGS, [(("redis", "durability"), None)])
    nested = "[agent_clis.a]\ncommand = 'x'\n"
    assert tomllib.loads(edit(nested, [(("agent_clis", "a", "command"), None)])) == {}
    assert tomllib.loads(edit("towns = [{a = 1}]\n", [(("towns", 0), None)])) == {}
    assert tomllib.loads(edit("[[towns]]\na = 1\n", [(("towns", 0), None)])) == {}


@pytest.mark.parametrize(
    ("text", "place", "value"),
    [
        ("", ("a",), 1),
        ("", ("a", "b", "c"), "x"),
        ("", ("towns", 0), {"path": "/x"}),
        ("# only a comment", ("a",), 1),
        ("[a]\n# only a comment\n\n# of b\n[b]\n", ("a", "x"), True),
        ("a.b = 1\n", ("a", "c"), 2),
        ("a = {b = 1}\n", ("a", "c"), 2),
        ("a = {}\n", ("a", "c"), 2),
        ("[a]\n[b]\n[a.c]\nx = 1\n", ("a", "d"), 2),
        ("[a.b]\nx = 1\n", ("a", "y"), 2),
        ("[a.b]\nx = 1\n", ("a", "b"), {"z": 1}),
        ("a = 1", ("a",), "several\nlines"),
        ("a = 1", ("a",), ["x", "y"]),
        ("a = [1, 2]\n", ("a", 1), 3),
        ("[[a]]\nx = 1\n[[a]]\nx = 2\n", ("a", 0), None),
        ("[[a]]\nx = 1\n[[a]]\nx = 2\n", ("a", 2), {"x": 3}),
        ("a = 1 # \\u00e9 é\n", ("b\n",), "\u007f\u0001"),
    ],
)
def test_an_edit_gives_the_requested_value_or_is_refused(text: str, place: Place, value: Any) -> None:
    wanted: Any = tomllib.loads(text)
    table = wanted
    for step, after in itertools.pairwise(place):
        empty: Any = [] if isinstance(after, int) else {}
        table = table.setdefault(step, empty) if isinstance(table, dict) else table[step]
    if value is None:
        del table[place[-1]]
    elif isinstance(table, list) and place[-1] == len(table):
        table.append(value)
    else:
        table[place[-1]] = value
    assert tomllib.loads(edit(text, [(place, value)])) == wanted


def test_an_edit_that_would_change_other_values_is_refused() -> None:
    apart = '[[tasks]]\nid = "a"\n\n[meta]\nx = 1\n\n[[tasks]]\nid = "b"\n'
    with pytest.raises(TinytownError, match="out of order") as caught:
        edit(apart, [(("tasks", 1, "status"), "x")])
    assert caught.value.code == "not_editable"
    assert caught.value.hint


@pytest.mark.parametrize("place", [("name", "x"), ("round", 3), ("redis", "durability", "x"), ("nothing",)])
def test_an_impossible_key_is_refused(place: Place) -> None:
    with pytest.raises(TinytownError) as caught:
        edit(SETTINGS, [(place, None if place == ("nothing",) else 1)])
    assert caught.value.code == "not_editable"
