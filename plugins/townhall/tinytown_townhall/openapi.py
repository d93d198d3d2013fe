"""The OpenAPI 3.1 document of the endpoints, made from their signatures and structs. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response
from tinytown import __version__

from tinytown_townhall.problems import MEDIA_TYPE, Problem
from tinytown_townhall.routing import Endpoint

_REF = "#/components/schemas/{name}"
_SCOPES = """Requests carry an API key, `Authorization: Bearer KEY` or `X-API-Key: KEY`; a browser that is signed in has a cookie.
Every error is a problem (RFC 9457) whose `code` is a stable word."""


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The document, ready for JSON."""
    kinds = [kind for each in endpoints for kind in (each.body, each.query, each.answer) if _has_schema(kind)]
    schemas, components = msgspec.json.schema_components([*kinds, Problem], ref_template=_REF)
    by_kind = {repr(kind): schema for kind, schema in zip([*kinds, Problem], schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, by_kind, components)
    queries = {each.query.__name__ for each in endpoints if each.query is not None}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tinytown townhall", "version": __version__, "description": _SCOPES},
        "tags": [{"name": tag} for tag in dict.fromkeys(each.tag for each in endpoints)],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in sorted(components.items()) if name not in queries},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _has_schema(kind: Any) -> bool:
    return kind is not None and kind is not type(None) and not (isinstance(kind, type) and issubclass(kind, Response))


def _operation(endpoint: Endpoint, by_kind: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": _parameters(endpoint, components),
        "responses": _responses(endpoint, by_kind),
        "security": [{"key": []}, {"header": []}] if endpoint.scope else [],
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    if endpoint.scope:
        operation["x-scope"] = endpoint.scope
    if endpoint.body is not None:
        operation["requestBody"] = {
            "content": {"application/json": {"schema": by_kind[repr(endpoint.body)]}},
            "required": bool(components[endpoint.body.__name__].get("required")),
        }
    return operation


def _parameters(endpoint: Endpoint, components: dict[str, Any]) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", endpoint.path)
    ]
    if endpoint.query is not None:
        schema = components[endpoint.query.__name__]
        for name, each in schema["properties"].items():
            described = {"description": each["description"]} if "description" in each else {}
            plain = {key: value for key, value in each.items() if key != "description"}
            parameters.append(
                {
                    "name": name,
                    "in": "query",
                    "required": name in schema.get("required", ()),
                    **described,
                    "schema": plain,
                }
            )
    return parameters


def _responses(endpoint: Endpoint, by_kind: dict[str, Any]) -> dict[str, Any]:
    problem = {"description": "A problem", "content": {MEDIA_TYPE: {"schema": by_kind[repr(Problem)]}}}
    if endpoint.answer is type(None):
        return {"204": {"description": "Done"}, "default": problem}
    schema = by_kind[repr(endpoint.answer)] if _has_schema(endpoint.answer) else {"type": "string"}
    good = {"description": "The answer", "content": {endpoint.media_type: {"schema": schema}}}
    return {str(endpoint.status): good, "default": problem}
