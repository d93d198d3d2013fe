"""JSON as Go spells it, and objects changed in one place and nowhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st
from tinytown_beads.json_text import ABSENT, decode, encode, members, overlay

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=6)
#: The ways in which programs put blanks.
SPELLINGS = st.sampled_from([{"separators": (",", ":")}, {}, {"indent": 1}, {"separators": (" ,\t", " : ")}])


def test_go_escapes_what_a_browser_might_take_for_markup() -> None:
    assert encode({"a": "<b> & \u2028\u2029 é 🏘 \t"}) == '{"a":"\\u003cb\\u003e \\u0026 \\u2028\\u2029 é 🏘 \\t"}'


def test_half_a_surrogate_pair_becomes_the_replacement_character() -> None:
    assert encode(["\ud800"]) == '["\ufffd"]'


def test_whole_numbers_of_any_size_are_exact() -> None:
    assert decode("9007199254740993") == 9007199254740993
    assert encode(decode("[123456789012345678901234567890]")) == "[123456789012345678901234567890]"


@pytest.mark.parametrize(
    "text", ["", "{", "[1,]", "NaN", "-Infinity", "1 2", "[" * 100_000, '{"a":' * 100_000, "'a'", "1" * 10_000]
)
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(text)


@pytest.mark.parametrize(
    "text", ["[]", "1", '{"a"}', '{"a":1', '{"a":1 "b":2}', "{1:2}", '{"a":1,,}', '{"a":' * 100_000]
)
def test_what_is_no_object_has_no_members(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        members(text)


@given(value=VALUES)
def test_what_is_encoded_reads_as_it_was(value: Any) -> None:
    assert decode(encode(value)) == value


@given(table=OBJECTS, spelling=SPELLINGS)
def test_no_change_changes_no_character(table: dict[str, Any], spelling: dict[str, Any]) -> None:
    text = json.dumps(table, **spelling)
    assert overlay(text, {}) == text
    assert overlay(text, {"\0 nowhere": ABSENT}) == text


@given(table=OBJECTS, changes=OBJECTS, gone=st.sets(TEXTS, max_size=3), spelling=SPELLINGS)
def test_a_change_is_there_and_every_other_member_is_spelled_as_before(
    table: dict[str, Any], changes: dict[str, Any], gone: set[str], spelling: dict[str, Any]
) -> None:
    text = json.dumps(table, **spelling)
    wanted: dict[str, Any] = changes | dict.fromkeys(gone | set(list(table)[:1]), ABSENT)
    laid = overlay(text, wanted)
    expected = {key: value for key, value in (table | wanted).items() if value is not ABSENT}
    assert decode(laid) == expected
    before = {member.key: text[member.begin : member.end] for member in members(text)}
    after = {member.key: laid[member.begin : member.end] for member in members(laid)}
    assert all(after[key] == before[key] for key in after if key not in wanted)
    assert [key for key in after if key in table] == [key for key in table if key in after]


def test_a_new_key_goes_to_its_place_and_has_the_blanks_of_the_others() -> None:
    order = ("id", "title", "status", "labels")
    assert overlay('{"id": 1, "status": "open", "x": 2}', {"title": "t"}, order) == (
        '{"id": 1, "title": "t", "status": "open", "x": 2}'
    )
    assert overlay('{"x":0,"id":1}', {"labels": ["a"], "y": 1}, order) == '{"x":0,"id":1,"labels":["a"],"y":1}'


def test_of_a_key_that_stands_twice_the_last_counts_and_is_changed() -> None:
    assert overlay('{"a":1,"b":2,"a":3}', {"a": 4}) == '{"a":1,"b":2,"a":4}'
    assert overlay('{"a":1,"b":2,"a":3}', {"a": ABSENT}) == '{"b":2}'
