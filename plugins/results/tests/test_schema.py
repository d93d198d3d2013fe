"""Schemas, values in texts, and what is said of those that do not fit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st
from tinytown_results.check import Checked, Submitted, checked
from tinytown_results.schema import SCHEMA_BYTES, check_schema, problems_with, value_in

SCHEMA = {
    "type": "object",
    "properties": {"files": {"type": "array", "items": {"type": "string"}}, "passed": {"type": "boolean"}},
    "required": ["files"],
}


def test_a_schema_is_read_with_its_draft() -> None:
    assert check_schema(json.dumps(SCHEMA).encode()) == SCHEMA
    old = {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"n": {"type": "integer"}}}
    assert check_schema(json.dumps({**old, "$ref": "#/definitions/n"}).encode())["$ref"] == "#/definitions/n"


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"no json", "expected JSON"),
        (b"[]", "which is an object"),
        (b'{"type": "text"}', r"not valid .* at \$\.type"),
        (b'{"$ref": "https://example.org/schema.json"}', "references within the schema"),
        (b'{"properties": {"a": {"anyOf": [{"$ref": "other.json"}]}}}', "references within the schema"),
        (b'{"title": "' + b"a" * SCHEMA_BYTES + b'"}', "at most 65,536 bytes"),
    ],
)
def test_what_is_no_schema_is_refused_with_the_reason(raw: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        check_schema(raw)


@pytest.mark.parametrize(
    "text",
    [
        '{"files": []}',
        ' \n{"files": []}\n',
        'Here it is:\n\n```json\n{"files": []}\n```\nAll is well.',
        '```\n{"files": ["not this one"]}\n```\nno, rather:\n````json\n{"files": []}\n````',
        '```json\n{"files": []}\n```\n```sh\nls\n```',
    ],
)
def test_a_value_is_the_whole_text_or_its_last_block_that_is_json(text: str) -> None:
    assert value_in(text) == {"files": []}


@pytest.mark.parametrize(
    "text", ["", "done", "{'files': []}", '```json\n{"files": [}\n```', '{"files": NaN}', "[" * 10_000]
)
def test_a_text_without_a_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it is no JSON"):
        value_in(text)


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=5))
def test_every_value_comes_back_as_it_was_said(value: Any) -> None:
    assert value_in(f"so:\n```json\n{json.dumps(value, indent=1)}\n```\n") == value


def test_every_problem_is_said_with_its_place() -> None:
    assert problems_with({"files": ["a", 3], "passed": "yes"}, SCHEMA) == [
        "$.files[1]: 3 is not of type 'string'",
        "$.passed: 'yes' is not of type 'boolean'",
    ]
    assert problems_with({"files": []}, SCHEMA) == []
    assert problems_with([[0]] * 50, {"items": {"items": {"type": "string"}}})[-1] == "and more"


@pytest.mark.parametrize(
    "schema", [{"$ref": "#/$defs/none"}, {"$dynamicRef": "https://example.org/a"}, {"$ref": "http://127.0.0.1:9/a"}]
)
def test_a_reference_to_elsewhere_is_never_followed(schema: dict[str, Any]) -> None:
    assert "refers to what it does not have" in problems_with({}, schema)[0]


def test_what_cannot_be_checked_is_not_valid() -> None:
    endless = {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}
    assert problems_with(1, endless) == ["it is nested too deeply to be checked"]


def test_a_result_is_checked_as_a_whole() -> None:
    assert checked(Submitted(schema=SCHEMA, text='{"files": ["a"]}')) == Checked(value={"files": ["a"]})
    assert checked(Submitted(schema=SCHEMA, text="done")).problems[0].startswith("it is no JSON")
    assert checked(Submitted(schema=SCHEMA, text="{}")).problems == ("$: 'files' is a required property",)
