"""What a model says in reply to a request: text, tool calls under the client's own names, token counts. Pure."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tinytown_testing.models.requests import ModelRequest
from tinytown_testing.models.scripts import Reply

#: The shell tools of the CLIs, in order of preference, and how each wants its command.
SHELL_TOOLS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "Bash": lambda command: {"command": command, "description": "scripted"},
    "exec_command": lambda command: {"cmd": command},
    "shell_command": lambda command: {"command": command},
    "shell": lambda command: {"command": ["bash", "-lc", command]},
    "local_shell": lambda command: {"command": ["bash", "-lc", command]},
    "run_shell_command": lambda command: {"command": command, "description": "scripted"},
    "bash": lambda command: {"command": command, "description": "scripted"},
    "launch-process": lambda command: {"command": command, "wait": True, "max_wait_seconds": 60},
}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of one of the client's tools; `namespace` is what codex wants beside the name of a grouped one."""

    name: str
    input: Any
    namespace: str = ""
    free_form: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply with everything filled in. `stop` replaces the protocol's own word for why the model stopped."""

    model: str
    text: str
    tools: tuple[ToolCall, ...] = ()
    input_tokens: int = 1
    output_tokens: int = 1
    cached_tokens: int = 0
    stop: Any = None


def make_answer(reply: Reply, request: ModelRequest, number: int) -> Answer:
    """The answer to request number `number`. A tool that the client does not offer becomes a text that says so."""
    text = str(reply.get("text", ""))
    filled = {"{prompt}": request.prompt, "{tool_result}": request.tool_text, "{n}": str(number)}
    for placeholder, value in (filled | {"{model}": request.model}).items():
        text = text.replace(placeholder, value)
    wanted: list[Mapping[str, Any]] = list(reply.get("tools") or ([reply["tool"]] if "tool" in reply else []))
    if "shell" in reply:
        name = next((each for each in SHELL_TOOLS if each in request.tools), None)
        if name is None:
            text = f"no shell tool among: {', '.join(request.tools)}"
        else:
            wanted.append({"name": name, "input": SHELL_TOOLS[name](reply["shell"])})
    if "mcp" in reply:
        name = _name_of_mcp_tool(reply["mcp"], request)
        if name is None:
            text = f"no such MCP tool among: {', '.join(request.tools)}"
        else:
            wanted.append({"name": name, "input": reply["mcp"].get("input", {})})
    tools = tuple(_tool_call(each, request) for each in wanted)
    usage: Mapping[str, int] = reply.get("usage") or {}
    return Answer(
        model=request.model or "stub",
        text=text if text or tools else "ok",
        tools=tools,
        input_tokens=usage.get("input", max(1, len(request.raw) // 4)),
        output_tokens=usage.get("output", max(1, len(text) // 4 + 20 * len(tools))),
        cached_tokens=usage.get("cached", 0),
        stop=reply.get("stop"),
    )


def new_id(prefix: str) -> str:
    """A fresh id as the protocols have them: ``msg_`` and 24 letters or digits."""
    return prefix + uuid.uuid4().hex[:24]


def _name_of_mcp_tool(wanted: Mapping[str, Any], request: ModelRequest) -> str | None:
    """What the client calls it: mcp__town__say, town-say, mcp_town_say, town_say, say_town."""
    server, tool = re.escape(wanted["server"]), re.escape(wanted["tool"])
    pattern = re.compile(f"(^|[^a-zA-Z0-9])({server}[^a-zA-Z0-9]+{tool}|{tool}_{server})$")
    return next((name for name in request.tools if pattern.search(name)), None)


def _tool_call(wanted: Mapping[str, Any], request: ModelRequest) -> ToolCall:
    name = wanted["name"]
    namespace, bare = request.namespaces.get(name, ("", name))
    return ToolCall(bare, wanted.get("input", {}), namespace, name in request.free_form_tools)
