"""The server as a coding CLI starts it: a process of its own, in the environment of a round, spoken to line by line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tinytown.model.ids import new_id
from tinytown.protocol.operations import TownOperations
from tinytown.redis.blocking_client import BlockingClient
from tinytown.redis.url import Address
from tinytown_testing.pytest_plugin import Shell, make_place


class Tools:
    """A running `tt agent-tools` and the conversation with it, of the revision that has no handshake unless one is made."""

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

    def say(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The whole answer to a request."""
        self._count += 1
        self.say(json.dumps({"jsonrpc": "2.0", "id": self._count, "method": method, "params": params}).encode())
        answer: dict[str, Any] = self.hear()
        assert answer["id"] == self._count
        return answer

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool says when all is well, as structured content."""
        result = self.ask("tools/call", name=tool, arguments=arguments)["result"]
        assert result["isError"] is False, result
        value: dict[str, Any] = result["structuredContent"]
        return value

    def text(self, tool: str, **arguments: Any) -> str:
        """What a tool says when all is well, as text."""
        result = self.ask("tools/call", name=tool, arguments=arguments)["result"]
        assert result["isError"] is False, result
        (content,) = result["content"]
        return str(content["text"])

    def refused(self, tool: str, **arguments: Any) -> dict[str, str]:
        """The error that a tool answers with."""
        result = self.ask("tools/call", name=tool, arguments=arguments)["result"]
        assert result["isError"] is True, result
        error: dict[str, str] = result["structuredContent"]["error"]
        assert error["message"] in result["content"][0]["text"]
        return error

    def end(self) -> tuple[int, str]:
        """Close the server's input, and wait for its end: the exit code, and what it said on stderr."""
        _, said = self.process.communicate(timeout=30)
        return self.process.returncode, said.decode()


class Round:
    """A town with agents, in which rounds are begun by hand: by the same calls that a kernel makes."""

    def __init__(self, shell: Shell) -> None:
        self.tt = shell
        self._calls = TownOperations("tools")
        self._running: list[Tools] = []
        with self._client() as client:
            ada = client.run(self._calls.create_agent("ada", cli="echo", role="reviewer"))
            bob = client.run(self._calls.create_agent("bob", cli="echo"))
        self._ids = {"ada": ada.id, "bob": bob.id}

    def _client(self) -> BlockingClient:
        return BlockingClient(Address("unix", path=str(self.tt.directory / ".tt" / "redis.sock")))

    def environment(self, name: str, task: str = "", token: str = "") -> dict[str, str]:
        return {
            "TINYTOWN_TOWN": str(self.tt.directory),
            "TINYTOWN_AGENT_ID": self._ids[name],
            "TINYTOWN_AGENT_NAME": name,
            "TINYTOWN_TASK_ID": task,
            "TINYTOWN_TASK_TOKEN": token,
            "TINYTOWN_RUN_ID": "a-run",
        }

    def tools(self, name: str, task: str = "", token: str = "") -> Tools:
        """The server of a round of the agent `name`."""
        tools = Tools(self.tt, self.environment(name, task, token))
        self._running.append(tools)
        return tools

    def begin(self, name: str, task: str) -> Tools:
        """Begin a task as the kernel that has the agent would, and the server in the environment of that round."""
        with self._client() as client:
            calls, host = self._calls, new_id()
            client.run(calls.join(host, lease_ms=60_000, about={"name": "here", "pid": "1"}))
            placed = {agent.name: agent for agent in client.run(calls.place_agents(host, ["echo"], count=10)).agents}
            agent, fence = placed[name].id, placed[name].token or ""
            batch = client.run(calls.claim(agent, token=new_id(), fence=fence, lease_ms=60_000))
            assert batch.deliveries
            started = client.run(calls.start_task(agent, fence, task, "a-run"))
            assert started.task is not None
            assert not started.stale
        return self.tools(name, task, started.task.token or "")

    def close(self) -> None:
        for tools in self._running:
            if tools.process.returncode is None:
                tools.end()


@pytest.fixture
def round_() -> Iterator[Round]:
    """A fresh town without a kernel, with the agents ada (a reviewer) and bob."""
    for shell in make_place():
        shell("init", "--name", "tools")
        shell("list")
        made = Round(shell)
        try:
            yield made
        finally:
            made.close()
