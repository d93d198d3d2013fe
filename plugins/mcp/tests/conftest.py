"""The server as a coding CLI starts it: a process of its own, in the environment of a round, one JSON message a line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tinytown.model.ids import new_id
from tinytown.protocol import TownOperations
from tinytown.redis import parse_url
from tinytown_cli.blocking_client import BlockingClient
from tinytown_testing.installed import install_plugin
from tinytown_testing.shell import Shell

#: A plugin with tools of every kind of behaviour.
PLUGIN = """
import msgspec
from tinytown_mcp.contracts import AgentTool, ToolResult
from tinytown.errors import Refused
from tinytown.hookspecs import hookimpl

TINYTOWN_HOOK_API = 2

class Place(msgspec.Struct, frozen=True):
    name: str

class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    place: Place
    days: int = 1

class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass

class Tool(AgentTool):
    def __init__(self, name, call, arguments=Nothing, changes=True):
        self.name, self._call, self.arguments, self.changes = name, call, arguments, changes
        self.description = f"A tool of the plugin: {name}."

    def call(self, session, arguments):
        return self._call(session, arguments)

def fail(error):
    raise error

@hookimpl
def tinytown_agent_tools(settings, config, root):
    return [
        Tool("forecast", lambda session, given: f"rain in {given.place.name} for {given.days} d", Arguments, changes=False),
        Tool("whoami", lambda session, given: ToolResult("you", {"agent": session.caller.agent_name, "town": session.config.name,
            "agents": [agent.name for agent in session.run(session.operations.agents())]})),
        Tool("refusing", lambda session, given: fail(Refused("not today", hint="come back tomorrow"))),
        Tool("failing", lambda session, given: fail(KeyError("a bug"))),
        Tool("exiting", lambda session, given: fail(SystemExit(3))),
        Tool("printing", lambda session, given: print("noise") or "printed"),
        Tool("returning_nothing", lambda session, given: None),
        Tool("returning_a_set", lambda session, given: ToolResult("x", {1j: 2})),
        Tool("returning_a_list", lambda session, given: ToolResult("x", [1])),
        Tool("returning_half_a_character", lambda session, given: "\\ud800"),
        Tool("status", lambda session, given: "not the town's"),
        Tool("without_arguments", lambda session, given: "never called", int),
    ]
"""


class ToolClient:
    """A running `tt agent-tools` and its client, which uses the revision without a handshake unless a test makes one."""

    def __init__(self, shell: Shell, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.process = subprocess.Popen(
            shell.argv("agent-tools"),
            cwd=shell.directory,
            env=shell.variables | self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._count = 0

    def write(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def request(self, method: str, **params: Any) -> dict[str, Any]:
        """The whole answer to a request."""
        self._count += 1
        self.write(json.dumps({"jsonrpc": "2.0", "id": self._count, "method": method, "params": params}).encode())
        answer: dict[str, Any] = self.read()
        assert answer["id"] == self._count
        return answer

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured content of a call that succeeds."""
        result = self.request("tools/call", name=tool, arguments=arguments)["result"]
        assert result["isError"] is False, result
        value: dict[str, Any] = result["structuredContent"]
        return value

    def text(self, tool: str, **arguments: Any) -> str:
        """The text of a call that succeeds."""
        result = self.request("tools/call", name=tool, arguments=arguments)["result"]
        assert result["isError"] is False, result
        (content,) = result["content"]
        return str(content["text"])

    def error(self, tool: str, **arguments: Any) -> dict[str, str]:
        """The error of a call that fails."""
        result = self.request("tools/call", name=tool, arguments=arguments)["result"]
        assert result["isError"] is True, result
        error: dict[str, str] = result["structuredContent"]["error"]
        assert error["message"] in result["content"][0]["text"]
        return error

    def close(self) -> tuple[int, str]:
        """Close the server's input and wait for its end: the exit code, and its stderr."""
        _, stderr = self.process.communicate(timeout=30)
        return self.process.returncode, stderr.decode()


class RoundTown:
    """A town with the agents ada (a reviewer) and bob. Rounds are started by the operations that a kernel uses."""

    def __init__(self, shell: Shell) -> None:
        self.tt = shell
        self._operations = TownOperations("tools")
        self._clients: list[ToolClient] = []
        with self._connect() as client:
            ada = client.run(self._operations.create_agent("ada", cli="echo", role="reviewer"))
            bob = client.run(self._operations.create_agent("bob", cli="echo"))
        self._ids = {"ada": ada.id, "bob": bob.id}

    def _connect(self) -> BlockingClient:
        return BlockingClient(parse_url(self.tt.server().url))

    def environment(self, name: str, task: str = "", token: str = "") -> dict[str, str]:
        return {
            "TINYTOWN_TOWN": str(self.tt.directory),
            "TINYTOWN_AGENT_ID": self._ids[name],
            "TINYTOWN_AGENT_NAME": name,
            "TINYTOWN_TASK_ID": task,
            "TINYTOWN_TASK_TOKEN": token,
            "TINYTOWN_ROUND_ID": "a-run",
        }

    def tools(self, name: str, task: str = "", token: str = "", **variables: str) -> ToolClient:
        """The server in the environment of a round of the agent `name`."""
        client = ToolClient(self.tt, self.environment(name, task, token) | variables)
        self._clients.append(client)
        return client

    def start_round(self, name: str, *tasks: str) -> ToolClient:
        """Start tasks as the agent's kernel does; the server in the environment of that round."""
        with self._connect() as client:
            operations, host = self._operations, new_id()
            client.run(operations.register_host(host, lease_ms=60_000, details={"name": "here", "pid": "1"}))
            placement = client.run(operations.place_agents(host, ["echo"], count=10))
            placed = {agent.name: agent for agent in placement.agents}
            agent, fence = placed[name].id, placed[name].token or ""
            count = len(tasks)
            batch = client.run(
                operations.claim(agent, token=new_id(), fence=fence, count=count, orders=count, lease_ms=60_000)
            )
            assert len(batch.deliveries) == count
            started = [client.run(operations.start_task(agent, fence, task, "a-run")).task for task in tasks]
        (token,) = {task.token for task in started if task}
        return self.tools(name, tasks[0] if count == 1 else "", token or "")

    def close(self) -> None:
        for client in self._clients:
            if client.process.returncode is None:
                client.close()


@pytest.fixture
def round_town(tt: Shell) -> Iterator[RoundTown]:
    """A new town without a kernel."""
    tt("init", "--name", "tools")
    tt("list")
    town = RoundTown(tt)
    try:
        yield town
    finally:
        town.close()


@pytest.fixture
def tool_plugin(tmp_path: Path) -> dict[str, str]:
    """An installed plugin with tools: the variables by which a process has it."""
    install_plugin(tmp_path, "weather", PLUGIN)
    return {"PYTHONPATH": str(tmp_path)}
