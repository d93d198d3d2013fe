"""`tt agent-tools` as a process: every revision of the protocol, and input that is not of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tinytown_cli.main import READER_GONE
from tinytown_mcp.mcp_server import LINE_LIMIT_BYTES, REVISIONS
from tinytown_mcp.plugin import tinytown_reporting_guide
from tinytown_testing.shell import Shell

from .conftest import RoundTown

MODERN = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_a_handshake_negotiates_the_requested_revision(round_town: RoundTown, revision: str) -> None:
    tools = round_town.tools("ada")
    about = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
    result = tools.request("initialize", **about)["result"]
    assert result["protocolVersion"] == revision
    assert result["capabilities"] == {"tools": {"listChanged": False}}
    tools.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
    assert tools.request("ping")["result"] == {}
    listed = tools.request("tools/list")["result"]
    assert listed.keys() == {"tools"}
    called = tools.request("tools/call", name="my_task")["result"]
    assert called["content"] == [{"type": "text", "text": "this round has no task"}]
    assert ("structuredContent" in called) == (revision >= "2025-06-18")


def test_an_unknown_revision_is_answered_with_the_newest_that_has_a_handshake(round_town: RoundTown) -> None:
    tools = round_town.tools("ada")
    assert tools.request("initialize", protocolVersion="2099-01-01")["result"]["protocolVersion"] == "2025-11-25"
    assert tools.request("initialize")["error"]["code"] == -32602


def test_without_a_handshake_every_request_names_its_revision(round_town: RoundTown) -> None:
    tools = round_town.tools("ada")
    discovered = tools.request("server/discover", _meta=MODERN)["result"]
    assert discovered["supportedVersions"] == list(REVISIONS)
    for method, more in (("tools/list", {}), ("tools/call", {"name": "my_task", "arguments": {}})):
        result = tools.request(method, _meta=MODERN, **more)["result"]
        assert result["resultType"] == "complete"
        assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "town"
    assert tools.request("tools/list", _meta=MODERN)["result"]["cacheScope"] == "private"
    answer = tools.request("tools/list", _meta={**MODERN, "io.modelcontextprotocol/protocolVersion": "2099-01-01"})
    assert answer["error"]["code"] == -32022
    assert answer["error"]["data"] == {"supported": list(REVISIONS), "requested": "2099-01-01"}


def test_invalid_input_is_answered_or_ignored_and_never_ends_the_server(round_town: RoundTown) -> None:
    tools = round_town.tools("ada")
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
        tools.write(line)
        answer = tools.read()
        assert (answer["jsonrpc"], answer["error"]["code"]) == ("2.0", code), line[:80]
    for silent in (
        b"",
        b"   ",
        b'{"jsonrpc": "2.0", "id": 9, "result": {}}',
        b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}',
        b'{"jsonrpc": "2.0", "method": "notifications/nonesuch"}',
    ):
        tools.write(silent)
    assert tools.request("ping")["result"] == {}
    tools.write(b'[{"jsonrpc":"2.0","id":"a","method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"},3]')
    assert [answer.get("id") for answer in tools.read()] == ["a", None]


def test_the_server_ends_with_its_input_and_prints_only_the_protocol(round_town: RoundTown) -> None:
    tools = round_town.tools("ada")
    tools.request("ping")
    assert tools.close() == (0, "")


def test_a_reader_that_goes_away_ends_the_server(round_town: RoundTown) -> None:
    tools = round_town.tools("ada")
    tools.request("ping")
    with tools.process as process:
        assert process.stdout is not None
        process.stdout.close()
        tools.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
        assert process.wait(timeout=30) == READER_GONE


def test_outside_of_a_round_the_error_says_who_starts_it(in_town: Shell) -> None:
    error = in_town("agent-tools", "--json", code=2).error
    assert "in its round" in error["message"]
    assert "tt agent-tools --list" in error["hint"]


def test_the_round_of_another_town_is_refused_by_every_call(round_town: RoundTown, in_town: Shell) -> None:
    tools = round_town.tools("ada")
    tools.close()
    argv = [*round_town.tt.argv("agent-tools"), "--town", str(in_town.directory)]
    line = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"my_task"}}\n'
    done = subprocess.run(
        argv,
        input=line,
        env=round_town.tt.variables | round_town.environment("ada"),
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert json.loads(done.stdout)["result"]["structuredContent"]["error"]["hint"] == "leave out --town"


def test_the_tools_are_listed_outside_of_a_town_too(tt: Shell) -> None:
    listing = tt("agent-tools", "--list").out
    for tool in tt("agent-tools", "--list", "--json").json["tools"]:
        assert re.fullmatch(r"[a-z_]{1,40}", tool["name"])
        assert 20 < len(tool["description"]) < 400
        assert tool["inputSchema"]["type"] == "object"
        assert tool["inputSchema"]["additionalProperties"] is False
        for argument in tool["inputSchema"]["properties"].values():
            assert "type" in argument
            assert "description" in argument or "enum" in argument
        assert tool["name"] in listing


def test_the_reporting_guide_names_every_tool_but_the_one_that_shows_what_the_prompt_holds(tt: Shell) -> None:
    names = {tool["name"] for tool in tt("agent-tools", "--list", "--json").json["tools"]}
    guide = tinytown_reporting_guide(town_tools=True)
    assert guide is not None
    text = f"{guide.task} {guide.mail} {guide.agents}\n{guide.reporting}\n{guide.acting}"
    named = set(re.findall(r"`([a-z_]+)`", text))
    assert named == names - {"my_task"}
    named_by_cli = tinytown_reporting_guide(town_tools="mcp__town__{}")
    assert named_by_cli is not None
    assert set(re.findall(r"`([a-z_]+)`", named_by_cli.acting)) <= {f"mcp__town__{name}" for name in names}
    assert tinytown_reporting_guide(town_tools=False) is None


def test_it_imports_neither_the_kernel_nor_an_sdk() -> None:
    code = (
        "import sys, tinytown_mcp.command as command\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'trio', 'redis', 'mcp', 'pydantic', 'asyncio'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(find_spec("mcp") is None, reason="the official SDK is not installed")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_official_client_understands_it(round_town: RoundTown, mode: str) -> None:
    task = round_town.tt("assign", "ada", "count the words", "--json").json["task_id"]
    tools = round_town.start_round("ada", task)
    client = Path(__file__).with_name("official_client.py")
    done = subprocess.run(
        [sys.executable, client, mode, *round_town.tt.argv("agent-tools")],
        env=round_town.tt.variables | tools.environment,
        cwd=round_town.tt.directory,
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["protocol"] == {"auto": "2026-07-28", "legacy": "2025-11-25"}[mode]
    assert len(report["tools"]) == 16
    assert report["task"] == task
    assert report["refused"]["code"] == "not_found"
    assert report["completed"] == "completed"
    assert round_town.tt("task", "show", task, "--json").json["result"] == "by the official client"
