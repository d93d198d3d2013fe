"""Which JSON schemas Codex can hold its model to: OpenAI's service refuses a whole request with any other. Pure.

Source: OpenAI's guide to structured outputs, "supported schemas".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

_OTHERS = {
    "allOf", "contains", "dependentRequired", "dependentSchemas", "else", "if", "not", "oneOf", "patternProperties",
    "prefixItems", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
}  # fmt: skip
_SCHEMAS_BY_NAME = ("properties", "$defs", "definitions")


def may_hold_to(schema: Mapping[str, Any] | None) -> bool:
    """Whether the model can be held to a schema: an object whose members are all required, without any other, and so within."""
    if schema is None or schema.get("type") != "object" or "anyOf" in schema:
        return False
    try:
        return _is_supported(schema)
    except (RecursionError, TypeError, ValueError):  # a program may have given a task whatever it likes
        return False


def _is_supported(node: Any) -> bool:
    schema = cast("dict[str, Any]", node) if isinstance(node, dict) else None
    if schema is None or _OTHERS & schema.keys():
        return False
    members = schema.get("properties", {})
    if "properties" in schema or schema.get("type") == "object":
        closed = schema.get("additionalProperties") is False
        if not closed or not isinstance(members, dict) or {*schema.get("required", ())} != {*members}:
            return False
    below = [each for name in _SCHEMAS_BY_NAME for each in dict(schema.get(name, {})).values()]
    below += [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else [])]
    return all(map(_is_supported, below))
