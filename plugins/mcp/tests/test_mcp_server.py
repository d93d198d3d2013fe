"""The protocol without a process: every input is answered by one JSON-RPC message or by nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given, strategies as st
from tinytown.errors import Refused
from tinytown_mcp.contracts import ToolResult
from tinytown_mcp.mcp_server import LINE_LIMIT_BYTES, Tool, ToolServer, serve


def echo(arguments: Mapping[str, Any]) -> ToolResult:
    return ToolResult("echo", {"arguments": dict(arguments)})


def refuse(arguments: Mapping[str, Any]) -> ToolResult:
    raise Refused("not today", hint="come back tomorrow")


def fail(arguments: Mapping[str, Any]) -> ToolResult:
    raise KeyError("a bug")


TOOLS = [Tool(function.__name__, "a tool", {"type": "object"}, False, function) for function in (echo, refuse, fail)]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "id": st.integers() | JSON,
        "method": st.sampled_from(["initialize", "ping", "tools/list", "tools/call", "server/discover"]) | JSON,
        "params": st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["echo", "refuse", "fail"]) | JSON,
                "arguments": JSON,
                "protocolVersion": JSON,
                "_meta": JSON
                | st.fixed_dictionaries({"io.modelcontextprotocol/protocolVersion": st.just("2026-07-28") | JSON}),
            },
        )
        | JSON,
    },
)


def server() -> ToolServer:
    return ToolServer(TOOLS, name="town", version="0", instructions="")


def check_answer(answer: Any) -> None:
    assert answer["jsonrpc"] == "2.0"
    assert "id" in answer
    assert ("result" in answer) != ("error" in answer)
    if "error" in answer:
        assert isinstance(answer["error"]["code"], int)
        assert answer["error"]["message"]


@given(REQUESTS | st.lists(REQUESTS, max_size=3) | JSON)
def test_any_json_gets_an_answer_of_the_protocol_or_none(message: Any) -> None:
    raw = server().answer(json.dumps(message).encode())
    if raw is None:
        return
    assert b"\n" not in raw
    answers = json.loads(raw)
    for answer in answers if isinstance(answers, list) else [answers]:
        check_answer(answer)


@given(st.binary())
def test_any_bytes_get_an_answer_or_none(line: bytes) -> None:
    raw = server().answer(line)
    if raw is not None:
        json.loads(raw)


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    raw = server().answer(json.dumps(request).encode())
    assert raw is not None
    result: dict[str, Any] = json.loads(raw)["result"]
    return result


def test_a_result_a_refusal_and_a_fault_are_answers(capsys: Any) -> None:
    assert call("echo", a=1, b=None)["structuredContent"] == {"arguments": {"a": 1}}
    refused = call("refuse")
    assert refused["isError"] is True
    assert refused["content"][0]["text"] == "error: not today; come back tomorrow"
    assert refused["structuredContent"]["error"]["code"] == "refused"
    assert call("fail")["structuredContent"]["error"]["code"] == "internal"
    assert "KeyError('a bug')" in capsys.readouterr().err


def test_lines_are_answered_one_by_one_whatever_is_between_them() -> None:
    ping = b'{"jsonrpc":"2.0","id":%d,"method":"ping"}'
    lines = [ping % 1, b"", b"\xff", b"x" * (2 * LINE_LIMIT_BYTES + 1), ping % 2]
    out = io.BytesIO()
    serve(server(), io.BytesIO(b"\n".join(lines)), out)  # the last one has no end
    answers = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(answer["id"], answer.get("error", {}).get("code")) for answer in answers] == [
        (1, None), (None, -32700), (None, -32600), (2, None),
    ]  # fmt: skip
