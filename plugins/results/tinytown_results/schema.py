"""What a JSON schema is, and what is wrong with a text by it. Blocking, and as slow as the schema's patterns make it.

Source: JSON Schema 2020-12, or the draft that ``$schema`` names; by the library `jsonschema`. No schema is fetched from anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec
from jsonschema.exceptions import (
    SchemaError,
    ValidationError,
    best_match,  # pyright: ignore[reportUnknownVariableType] - its stub leaves the result open
)
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

SCHEMA_BYTES = 64 * 1024
_PROBLEMS_SHOWN = 10
_PROBLEM_LENGTH = 300
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_FENCED = re.compile(r"^(`{3,})(?:json)?[ \t]*\n(.*?)^\1[ \t]*$", re.DOTALL | re.MULTILINE)


def check_schema(raw: bytes) -> dict[str, Any]:
    """The schema in a document. Raises: ValueError with what is wrong with it."""
    if len(raw) > SCHEMA_BYTES:
        raise ValueError(f"expected a schema of at most {SCHEMA_BYTES:,} bytes, got {len(raw):,}")
    try:
        decoded = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"expected JSON: {error}") from error
    if not isinstance(decoded, dict):
        raise ValueError("expected a JSON schema, which is an object")  # noqa: TRY004 - bad content
    schema = cast("dict[str, Any]", decoded)
    if elsewhere := next(_references_elsewhere(schema), None):
        raise ValueError(f"expected references within the schema (#/$defs/...), got {elsewhere!r}")
    try:
        validator_for(schema, Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"{_line(error.message)} at {error.json_path}") from error
    return schema


def _references_elsewhere(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        members = cast("dict[str, Any]", node)
        references = [each for name in _REFERENCES if isinstance(each := members.get(name), str)]
        yield from (each for each in references if not each.startswith("#"))
        for each in members.values():
            yield from _references_elsewhere(each)
    elif isinstance(node, list):
        for item in cast("Iterable[Any]", node):
            yield from _references_elsewhere(item)


def value_in(text: str) -> Any:
    """The value that a result says: all of it is JSON, or its last fenced block is. Raises: ValueError."""
    try:
        return msgspec.json.decode(text.strip())
    except (msgspec.DecodeError, RecursionError) as error:
        problem = error
    for _, block in reversed(_FENCED.findall(text)):
        try:
            return msgspec.json.decode(block.strip())
        except (msgspec.DecodeError, RecursionError):
            continue
    raise ValueError(f"it is no JSON: {problem}")


def problems_with(value: Any, schema: Mapping[str, Any]) -> Sequence[str]:
    """What is wrong with a value, one line each; empty if it is valid."""
    validator = validator_for(schema, Draft202012Validator)(schema, registry=Registry())
    problems: list[str] = []
    try:
        for error in validator.iter_errors(value):
            # Of alternatives the one that is nearest.
            cause = cast("ValidationError | None", best_match([error])) or error
            problems.append(f"{cause.json_path}: {_line(cause.message)}")
            if len(problems) > _PROBLEMS_SHOWN:
                return [*problems[:_PROBLEMS_SHOWN], "and more"]
    except Unresolvable as error:
        return [f"the schema refers to what it does not have: {_line(str(error))}"]
    except RecursionError:
        return ["it is nested too deeply to be checked"]
    return problems


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _PROBLEM_LENGTH else line[: _PROBLEM_LENGTH - 1] + "…"
