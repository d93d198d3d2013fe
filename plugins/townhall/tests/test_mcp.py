"""MCP, spoken by the official SDK's own client: over HTTP with a key, and on standard input and output."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from tinytown.errors import NotFound, UsageError
from tinytown_testing.shell import Shell
from tinytown_testing.towns import TownDirectory
from tinytown_townhall.application import all_endpoints
from tinytown_townhall.auth import PERSON, check_scopes
from tinytown_townhall.extensions import Extensions
from tinytown_townhall.keys import new_key, store_key
from tinytown_townhall.routing import Call
from tinytown_townhall.tools import town_tools

from plugins.townhall.tests.conftest import Client, open_client

MANUAL = Path(__file__).parents[3] / "docs" / "townhall.md"
CLIENT = str(Path(__file__).with_name("official_client.py"))
TOOLS = town_tools(all_endpoints(Extensions()))


@asynccontextmanager
async def guarded(town_dir: TownDirectory) -> AsyncGenerator[Client]:
    with trio.fail_after(120):
        async with town_dir.connect() as town, open_client(town, auth="key") as client:
            yield client


async def make_key(client: Client, *scopes: str) -> str:
    record, text = new_key("model", check_scopes(scopes), None)
    await client.town.run(store_key(client.town.operations, record))
    return text


async def converse(client: Client, key: str, mode: str) -> Any:
    url = f"http://127.0.0.1:{client.address[1]}/mcp"
    done = await trio.run_process([sys.executable, CLIENT, mode, "http", url, key], capture_stdout=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_runs_a_town_over_http(town_dir: TownDirectory, no_kernel: None, mode: str) -> None:
    async with guarded(town_dir) as client:
        reported = await converse(client, await make_key(client, "admin"), mode)
        assert set(reported["tools"]) == set(town_tools(all_endpoints(client.hall.extensions))) > set(TOOLS)
        assert reported["tools"]["show_status"] == [True, False]
        assert reported["tools"]["kill_agent"] == [False, True]
        assert (reported["town"], reported["read"], reported["task"]) == ("t", "t", "count the words")
        assert reported["missing"] == [True, "not_found"]
        assert reported["wrong"] == [True, "usage"]
        assert reported["added"] == [False, "pending", None]
        assert "tinytown://agents" in reported["resources"]
        followed = reported["followed"]
        # Without sessions, a client of the protocol before today's has no subscriptions.
        assert followed["changed"] == (followed["uri"] if mode == "auto" else None)
        assert followed["progress"][0] in ("sum them up is blocked", "sum them up is pending")
        assert followed["final"] == "completed"
        assert reported["prompts"] == ["conductor", "role"]
        assert "conductor of the town t" in reported["conductor"]
        events = await client.town.run(client.town.operations.latest_events(500))
        requests = [event.fields for event in events if event.type == "townhall_request"]
        assert [(each["method"], each["path"], each["status"]) for each in requests][:2] == [
            ("MCP", "add_task", "usage"),
            ("MCP", "add_task", "ok"),
        ]


async def test_a_key_that_only_reads_gets_tools_that_only_read(town_dir: TownDirectory) -> None:
    async with guarded(town_dir) as client:
        reported = await converse(client, await make_key(client, "town.read"), "auto")
        assert all(read_only for read_only, _ in reported["tools"].values())
        assert reported["added"][2]["code"] == "not_allowed"
        assert await client.town.tasks() == ()


async def test_without_a_key_or_from_a_foreign_page_nobody_speaks_mcp(town_dir: TownDirectory) -> None:
    async with guarded(town_dir) as client:
        request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        assert (await client.ask("POST", "/mcp", request)).code == "unauthorized"
        key = {"Authorization": f"Bearer {await make_key(client, 'admin')}"}
        foreign = await client.ask("POST", "/mcp", request, {**key, "Origin": "https://evil.example"})
        assert foreign.code == "origin_not_allowed"
        for raw in (b"{", b"[]", b'{"jsonrpc": "2.0"}', b"\xff", b"null"):
            answer = await client.ask("POST", "/mcp", raw=raw, headers={**key, "Content-Type": "application/json"})
            assert 400 <= answer.status < 500


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_official_client_runs_a_town_on_standard_input_and_output(tt: Shell, mode: str) -> None:
    tt("init", "--name", "desk")
    command = [sys.executable, CLIENT, mode, "stdio", sys.executable, "-m", "tinytown", "mcp"]
    done = subprocess.run(command, cwd=tt.directory, env=tt.variables, capture_output=True, timeout=120, check=True)
    reported = json.loads(done.stdout)
    assert (reported["town"], reported["task"]) == ("desk", "count the words")
    assert reported["followed"]["changed"] == reported["followed"]["uri"]
    assert reported["followed"]["final"] == "completed"
    assert tt.json("task", "list", "--tag", "x")["tasks"][0]["description"] == "count the words"


def desktop_settings(tt: Shell) -> dict[str, Any]:
    """The settings of a desktop application that the manual shows, for the town of `tt`."""
    (shown,) = re.findall(r"```json\n(.*?mcpServers.*?)```", MANUAL.read_text(), re.DOTALL)
    settings: dict[str, Any] = json.loads(shown.replace("/path/to/project", str(tt.directory)))
    assert settings["mcpServers"]["town"]["command"] == "tt"
    return settings


@pytest.mark.skipif(not MANUAL.is_file(), reason="the manual is not beside the plugin")
def test_the_settings_of_the_manual_start_a_server_from_anywhere(tt: Shell, tmp_path: Path) -> None:
    tt("init", "--name", "desk")
    (server,) = desktop_settings(tt)["mcpServers"].values()
    command = [sys.executable, CLIENT, "auto", "stdio", server["command"], *server["args"]]
    done = subprocess.run(command, cwd=tmp_path, env=tt.variables, capture_output=True, timeout=120, check=True)
    reported = json.loads(done.stdout)
    assert (reported["town"], reported["added"][1]) == ("desk", "pending")
    assert "kill_agent" not in reported["tools"]  # its scopes are read and write


@pytest.mark.skipif(
    shutil.which("mcp-inspector") is None, reason="npm install --global @modelcontextprotocol/inspector"
)
def test_the_inspector_reads_the_settings_of_the_manual(tt: Shell, tmp_path: Path) -> None:
    tt("init", "--name", "desk")
    settings = tmp_path / "desktop.json"
    settings.write_text(json.dumps(desktop_settings(tt)))

    def inspect(*words: str) -> Any:
        command = ["mcp-inspector", "--cli", "--config", str(settings), "--server", "town", "--method", *words]
        done = subprocess.run(command, cwd=tmp_path, env=tt.variables, capture_output=True, timeout=120, check=True)
        return json.loads(done.stdout)

    assert {"show_status", "add_task"} <= {tool["name"] for tool in inspect("tools/list")["tools"]}
    assert "tinytown://agents" in {each["uri"] for each in inspect("resources/list")["resources"]}
    assert [each["name"] for each in inspect("prompts/list")["prompts"]] == ["conductor", "role"]
    added = inspect("tools/call", "--tool-name", "add_task", "--tool-arg", "description=count the words")
    assert added["structuredContent"]["state"] == "pending"
    refused = inspect("tools/call", "--tool-name", "show_task", "--tool-arg", "task=zed")
    assert refused["isError"]
    assert "zed" in refused["content"][0]["text"]


def test_an_agent_in_a_round_does_not_act_for_a_person(tt: Shell) -> None:
    tt("init")
    round_ = {"TINYTOWN_ROUND_ID": "r1", "TINYTOWN_AGENT_ID": "a1", "TINYTOWN_TOWN": str(tt.directory)}
    assert tt("mcp", "--json", code=4, env=round_).error["code"] == "refused"
    assert tt("mcp", "--scope", "all", "--json", code=2).error["code"] == "usage"


@pytest.mark.parametrize("name", TOOLS)
def test_every_tool_is_described_with_its_schemas(name: str) -> None:
    tool = TOOLS[name]
    assert tool.description.endswith(".")
    assert tool.input_schema["type"] == "object"
    assert tool.input_schema["additionalProperties"] is False
    output = tool.output_schema
    assert output is None or output["type"] == "object"
    assert "$ref" not in json.dumps([schema for schema in (tool.input_schema, output or {}) if "$defs" not in schema])


async def test_a_tool_answers_what_its_endpoint_does(client: Client) -> None:
    call = Call(client.hall, PERSON, None)
    await TOOLS["spawn_agent"].call(call, {"name": "ada", "cli": "scripted"})
    task = await TOOLS["add_task"].call(call, {"description": "x", "agent": "ada"})
    assert task["assigned_to"] == "ada"
    held = await TOOLS["hold_task"].call(call, {"task": task["id"], "reason": "wait"})
    assert held["held"] == "wait"
    assert msgspec.json.encode(await TOOLS["list_events"].call(call, {"agent": "ada"}))
    with pytest.raises(UsageError):
        await TOOLS["hold_task"].call(call, {"task": task["id"]})
    with pytest.raises(NotFound):
        await TOOLS["show_task"].call(call, {"task": "zed"})
