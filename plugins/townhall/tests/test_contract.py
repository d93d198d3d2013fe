"""The OpenAPI document is true: whatever is asked, the answer is one that it describes, and never a fault of ours."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jsonschema
import pytest
import trio
from tinytown_townhall.application import all_endpoints
from tinytown_townhall.extensions import Extensions
from tinytown_townhall.openapi import document
from tinytown_townhall.routing import Endpoint

from plugins.townhall.tests.conftest import Answer, Client

DOCUMENT = document(all_endpoints(Extensions()))
ASKED = [endpoint for endpoint in all_endpoints(Extensions()) if endpoint.media_type == "application/json"]
TIMES = 12
ODD = [
    "", " ", "\x00", "\u202e", "\ud7ff", "é😀", "../..", "%00", "a" * 5000, "0", "-1", "null", "true", "ada", "supervisor", "all",
    "2026-01-31", "{{}}", "'; DROP", "\\", "\r\nX: y", "\u0661",
]  # fmt: skip


RECORD = Path(__file__).with_name("openapi.json")


def recorded() -> str:
    """The document as it is kept beside the tests, so that a change of the interface is seen."""
    return json.dumps({**DOCUMENT, "info": {**DOCUMENT["info"], "version": ""}}, indent=1) + "\n"


def test_the_interface_is_the_recorded_one() -> None:
    assert RECORD.read_text() == recorded(), "if this change is meant: python -m plugins.townhall.tests.test_contract"


def test_the_document_is_one() -> None:
    operations = [each for path in DOCUMENT["paths"].values() for each in path.values()]
    names = [each["operationId"] for each in operations]
    assert len(set(names)) == len(names)
    assert all(each["summary"].endswith(".") for each in operations)
    references = set(json.dumps(DOCUMENT).split('"#/components/schemas/')[1:])
    assert {each.partition('"')[0] for each in references} <= set(DOCUMENT["components"]["schemas"])
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


class Fuzzer:
    """Makes requests of an endpoint: some right, some nearly, some not at all. The same for the same seed."""

    def __init__(self, seed: int, known: list[str]) -> None:
        self.random = random.Random(seed)
        self.known = known

    def text(self) -> str:
        kind = self.random.random()
        if kind < 0.45:
            return self.random.choice(self.known)
        if kind < 0.8:
            return self.random.choice(ODD)
        return "".join(self.random.choices(string.printable, k=self.random.randrange(1, 40)))

    def value(self, schema: dict[str, Any], depth: int = 0) -> Any:
        if self.random.random() < 0.06 or depth > 6:
            return self.random.choice([None, True, -1, 1.5, "x", [], {}, 10**30, [[[]]]])
        if "$ref" in schema:
            return self.value(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]], depth + 1)
        if "anyOf" in schema:
            return self.value(self.random.choice(schema["anyOf"]), depth + 1)
        if "enum" in schema:
            return self.random.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                required = schema.get("required", ())
                names = [
                    name for name in schema.get("properties", {}) if name in required or self.random.random() < 0.5
                ]
                made = {name: self.value(schema["properties"][name], depth + 1) for name in names}
                return {**made, "odd": 1} if self.random.random() < 0.05 else made
            case "array":
                return [self.value(schema.get("items", {}), depth + 1) for _ in range(self.random.randrange(3))]
            case "integer":
                return self.random.choice([0, 1, 2, 50, -5, 10**9])
            case "number":
                return self.random.choice([0.0, 1.5, -1.0])
            case "boolean":
                return self.random.random() < 0.5
            case _:
                return self.text()

    async def ask(self, client: Client, endpoint: Endpoint) -> Answer:
        operation = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
        path = endpoint.path
        query: dict[str, str] = {}
        for parameter in operation["parameters"]:
            value = self.value(parameter["schema"])
            text = value if isinstance(value, str) else json.dumps(value)
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", quote(text, safe="") or "%20")
            elif parameter["required"] or parameter["name"] == "timeout_s" or self.random.random() < 0.5:
                query[parameter["name"]] = text
        body = operation.get("requestBody")
        content = self.value(body["content"]["application/json"]["schema"]) if body else None
        return await client.ask(endpoint.method, path + (f"?{urlencode(query)}" if query else ""), content)


@pytest.mark.parametrize("endpoint", ASKED, ids=lambda endpoint: endpoint.function.__name__)
async def test_every_answer_is_one_that_the_document_describes(client: Client, endpoint: Endpoint) -> None:
    await client.town.spawn("ada", cli="scripted")
    task = await client.town.add_task("count words", agent="ada")
    fuzzer = Fuzzer(len(endpoint.path), ["ada", task.id, task.id[:8], "all"])
    for _ in range(TIMES):
        with trio.fail_after(60):
            answer = await fuzzer.ask(client, endpoint)
        assert answer.status < 500, answer
        responses = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]["responses"]
        described = responses.get(str(answer.status), responses["default"])
        if answer.status == 204:
            assert answer.body == b""
            continue
        (media_type,) = described["content"]
        assert answer.headers["content-type"] == media_type, answer
        schema = {**described["content"][media_type]["schema"], "components": DOCUMENT["components"]}
        jsonschema.validate(answer.json, schema)


if __name__ == "__main__":
    RECORD.write_text(recorded())
