"""The wire: both kinds of revisions of the protocol, and everything that can come in which is none of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tinytown.kernel.prompt import build_prompt
from tinytown_cli.main import READER_GONE
from tinytown_mcp.mcp import LINE_LIMIT_BYTES, REVISIONS
from tinytown_testing.pytest_plugin import Shell

from plugins.mcp.tests.conftest import Round
from tests.kernel.prompts.cases import ADA, ORDER, TASK

MODERN = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
PAGE = Path(__file__).parents[3] / "docs" / "agent-tools.md"


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_a_handshake_agrees_on_the_revision_that_was_asked_for(round_: Round, revision: str) -> None:
    tools = round_.tools("ada")
    about = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
    result = tools.ask("initialize", **about)["result"]
    assert result["protocolVersion"] == revision
    assert result["capabilities"] == {"tools": {"listChanged": False}}
    tools.say(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
    assert tools.ask("ping")["result"] == {}
    listed = tools.ask("tools/list")["result"]
    assert listed.keys() == {"tools"}
    told = tools.ask("tools/call", name="my_task")["result"]
    assert told["content"] == [{"type": "text", "text": "this round has no task"}]
    assert ("structuredContent" in told) == (revision >= "2025-06-18")


def test_a_revision_that_is_not_known_is_answered_with_the_newest_that_has_a_handshake(round_: Round) -> None:
    tools = round_.tools("ada")
    assert tools.ask("initialize", protocolVersion="2099-01-01")["result"]["protocolVersion"] == "2025-11-25"
    assert tools.ask("initialize")["error"]["code"] == -32602


def test_without_a_handshake_every_request_says_its_revision_itself(round_: Round) -> None:
    tools = round_.tools("ada")
    found = tools.ask("server/discover", _meta=MODERN)["result"]
    assert found["supportedVersions"] == list(REVISIONS)
    for method, more in (("tools/list", {}), ("tools/call", {"name": "my_task", "arguments": {}})):
        result = tools.ask(method, _meta=MODERN, **more)["result"]
        assert result["resultType"] == "complete"
        assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "town"
    assert tools.ask("tools/list", _meta=MODERN)["result"]["cacheScope"] == "private"
    refused = tools.ask("tools/list", _meta={**MODERN, "io.modelcontextprotocol/protocolVersion": "2099-01-01"})
    assert refused["error"]["code"] == -32022
    assert refused["error"]["data"] == {"supported": list(REVISIONS), "requested": "2099-01-01"}


def test_what_is_no_request_is_answered_or_passed_over_and_never_the_end(round_: Round) -> None:
    tools = round_.tools("ada")
    for line, code in (
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 100_000, -32700),
        (b"[]", -32600),
        (b"3", -32600),
        (b'{"id": 1, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": {}, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 7}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "resources/list"}', -32601),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": [1]}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": "x"}}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "nonesuch"}}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "inbox", "arguments": 3}}', -32602),
        (b"x" * (LINE_LIMIT_BYTES + 10), -32600),
    ):
        tools.say(line)
        answer = tools.hear()
        assert (answer["jsonrpc"], answer["error"]["code"]) == ("2.0", code), line[:80]
    for silent in (
        b"",
        b"   ",
        b'{"jsonrpc": "2.0", "id": 9, "result": {}}',
        b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}',
        b'{"jsonrpc": "2.0", "method": "notifications/nonesuch"}',
    ):
        tools.say(silent)
    assert tools.ask("ping")["result"] == {}
    tools.say(b'[{"jsonrpc":"2.0","id":"a","method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"},3]')
    assert [answer.get("id") for answer in tools.hear()] == ["a", None]


def test_the_server_ends_with_its_input_and_says_nothing_beside_the_protocol(round_: Round) -> None:
    tools = round_.tools("ada")
    tools.ask("ping")
    assert tools.end() == (0, "")


def test_a_reader_that_goes_away_ends_the_server(round_: Round) -> None:
    tools = round_.tools("ada")
    tools.ask("ping")
    with tools.process as process:
        assert process.stdout is not None
        process.stdout.close()
        tools.say(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
        assert process.wait(timeout=30) == READER_GONE


def test_outside_of_a_round_it_says_who_is_to_start_it(in_town: Shell) -> None:
    error = in_town("agent-tools", "--json", code=2).error
    assert "in its round" in error["message"]
    assert "tt agent-tools --list" in error["hint"]


def test_the_round_of_another_town_is_refused_by_each_call(round_: Round, in_town: Shell) -> None:
    tools = round_.tools("ada")
    tools.end()
    argv = [*round_.tt.argv("agent-tools"), "--town", str(in_town.directory)]
    line = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"my_task"}}\n'
    done = subprocess.run(
        argv,
        input=line,
        env=round_.tt.variables | round_.environment("ada"),
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert json.loads(done.stdout)["result"]["structuredContent"]["error"]["hint"] == "leave out --town"


def test_the_tools_are_listed_for_people_also_outside_of_a_town(tt: Shell) -> None:
    told = tt("agent-tools", "--list").out
    for tool in tt("agent-tools", "--list", "--json").json["tools"]:
        assert re.fullmatch(r"[a-z_]{1,40}", tool["name"])
        assert 20 < len(tool["description"]) < 400
        assert tool["inputSchema"]["type"] == "object"
        assert tool["inputSchema"]["additionalProperties"] is False
        for argument in tool["inputSchema"]["properties"].values():
            assert "type" in argument
            assert "description" in argument or "enum" in argument
        assert tool["name"] in told


def test_the_page_of_the_manual_has_every_tool_with_its_arguments(tt: Shell) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|([^|]*)\|", PAGE.read_text(), re.MULTILINE))
    told = {
        tool["name"]: {
            name + ("" if name in tool["inputSchema"].get("required", ()) else "?")
            for name in tool["inputSchema"]["properties"]
        }
        for tool in tt("agent-tools", "--list", "--json").json["tools"]
    }
    assert {name: set(re.findall(r"`(\w+\??)`", words)) for name, words in rows.items()} == told


def test_every_tool_that_a_prompt_speaks_of_is_there(tt: Shell) -> None:
    names = {tool["name"] for tool in tt("agent-tools", "--list", "--json").json["tools"]}
    spoken = build_prompt(agent=ADA, town="t", task=TASK, messages=[ORDER], town_tools=True).split("## How to report")[
        1
    ]
    named = set(re.findall(r"`([a-z_]+)`", spoken)) - {"town", "tt", "mcp__town__send"}
    assert named <= names
    assert named == names - {"my_task"}


def test_it_imports_nothing_that_a_kernel_or_an_sdk_needs() -> None:
    code = (
        "import sys, tinytown_mcp.command as command\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'trio', 'redis', 'mcp', 'pydantic', 'asyncio'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(find_spec("mcp") is None, reason="the official SDK is not installed")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_official_client_understands_it(round_: Round, mode: str) -> None:
    task = round_.tt("assign", "ada", "count the words", "--json").json["task_id"]
    tools = round_.begin("ada", task)
    client = Path(__file__).with_name("official_client.py")
    done = subprocess.run(
        [sys.executable, client, mode, *round_.tt.argv("agent-tools")],
        env=round_.tt.variables | tools.environment,
        cwd=round_.tt.directory,
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["protocol"] == {"auto": "2026-07-28", "legacy": "2025-11-25"}[mode]
    assert len(told["tools"]) == 16
    assert told["task"] == task
    assert told["refused"]["code"] == "not_found"
    assert told["completed"] == "completed"
    assert round_.tt("task", "show", task, "--json").json["result"] == "by the official client"
