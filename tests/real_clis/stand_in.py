"""Takes the place of a coding CLI where none is installed: ``stand_in.py claude|codex|auggie ARGUMENTS...``.

It takes the arguments and the prompt as the real one does, starts the MCP server that it is given, does what the script in
its prompt says (as a model would that `tinytown_testing.models` plays), and ends in the real one's words. Standard library
only.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any


def say(record: dict[str, Any]) -> None:
    print(json.dumps(record), flush=True)


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def server_command(cli: str, arguments: list[str]) -> list[str]:
    """How this CLI was configured to start the town's MCP server."""
    if cli == "codex":
        given = dict(each.split("=", 1) for before, each in itertools.pairwise(arguments) if before == "-c")
        return [json.loads(given["mcp_servers.town.command"]), *json.loads(given["mcp_servers.town.args"])]
    server = json.loads(Path(option(arguments, "--mcp-config")).read_text())["mcpServers"]["town"]
    return [server["command"], *server["args"]]


class Server:
    """The town's MCP server, without the variables of the round: no CLI can be relied on to pass them on."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={})
        about = {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "stand-in", "version": "0"},
        }
        self.ask("initialize", about)

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        result: dict[str, Any] = json.loads(self.process.stdout.readline())["result"]
        return result

    def end(self) -> None:
        self.process.communicate(timeout=30)


def act(prompt: str, server: Server) -> str:
    """Do the script; the last text of it."""
    script = re.search(r"<stub>(.*?)</stub>", prompt, re.DOTALL)
    text = "ok"
    for reply in json.loads(script[1]) if script else []:
        if "shell" in reply:
            subprocess.run(reply["shell"], shell=True, check=True)
        elif "mcp" in reply:
            reported = server.ask("tools/call", {"name": reply["mcp"]["tool"], "arguments": reply["mcp"]["input"]})
            assert not reported["isError"], reported
        else:
            text = reply["text"]
    return text


class Auggie:
    """Its prompt is in a file, its answer the last line."""

    def prompt(self, arguments: list[str]) -> str:
        return Path(option(arguments, "--instruction-file")).read_text()

    def answer(self, text: str) -> None:
        say({"type": "result", "subtype": "success", "is_error": False, "result": text, "session_id": "s"})


class Claude(Auggie):
    """Its prompt is the first message of the user, on its standard input, which stays open."""

    def prompt(self, arguments: list[str]) -> str:
        assert option(arguments, "--input-format") == "stream-json"
        servers = [{"name": "town", "status": "connected"}]
        say({"type": "system", "subtype": "init", "session_id": "s", "mcp_servers": servers})
        prompt: str = json.loads(sys.stdin.readline())["message"]["content"]
        return prompt


class Codex:
    """Its app server: a thread, and one turn of it."""

    def prompt(self, arguments: list[str]) -> str:
        assert arguments[0] == "app-server"
        thread, turn = {"thread": {"id": "s"}}, {"turn": {"id": "1"}}
        opened = {"initialize": {}, "thread/start": thread, "thread/resume": thread, "turn/start": turn}
        while True:
            heard = json.loads(sys.stdin.readline())
            if "id" in heard:
                say({"id": heard["id"], "result": opened[heard["method"]]})
            if heard["method"] == "turn/start":
                prompt: str = heard["params"]["input"][0]["text"]
                return prompt

    def answer(self, text: str) -> None:
        about = {"threadId": "s", "turnId": "1"}
        say({"method": "item/completed", "params": {**about, "item": {"type": "agentMessage", "text": text}}})
        ended = {"id": "1", "status": "completed", "error": None}
        say({"method": "turn/completed", "params": {**about, "turn": ended}})


CLIS = {"auggie": Auggie, "claude": Claude, "codex": Codex}


def main(name: str, arguments: list[str]) -> None:
    cli = CLIS[name]()
    prompt = cli.prompt(arguments)
    server = Server(server_command(name, arguments))
    text = act(prompt, server)
    server.end()
    cli.answer(text)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
