"""A request to a model, read from any of the five protocols into one shape. Knows nothing of answers or of sockets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

Api = Literal["anthropic", "responses", "chat", "gemini", "augment"]

#: Who said something, and what: the person, the model, or a tool that was called.
Said: TypeAlias = tuple[Literal["user", "model", "tool"], str]

#: What codex says above the output of a command that has not ended within 10 s, and what its model waits with.
_RUNNING = re.compile(r"^Process running with session ID (\d+)$", re.MULTILINE)
WAITING_TOOL = "write_stdin"


@dataclass(slots=True)
class ModelRequest:
    """What a client asked a model.

    `prompt` is the text of the last person's turn, `turn` how often the model has spoken since, `tool_text` the last
    result of a tool; `ends_with_tool_result` says whether nothing came after that. `running` is the client's number of a
    command that has not ended yet: its model waits for it, which is no turn. `tools` are the names of the offered tools,
    `namespaces` says which of them have to be called in two parts, `free_form_tools` which take text, not JSON.
    """

    api: Api
    path: str
    body: dict[str, Any]
    raw: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    model: str = ""
    streams: bool = False
    system: str = ""
    tools: list[str] = field(default_factory=list[str])
    prompt: str = ""
    turn: int = 0
    ends_with_tool_result: bool = False
    tool_text: str = ""
    running: int | None = None
    free_form_tools: set[str] = field(default_factory=set[str])
    namespaces: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])


def read_request(
    api: Api, path: str, body: dict[str, Any], raw: str = "", headers: Mapping[str, str] | None = None
) -> ModelRequest:
    """The request in `body`, which came to `path`; header names are in lower case."""
    request = ModelRequest(api, path, body, raw, headers or {})
    request.model = str(body.get("model") or "")
    request.streams = bool(body.get("stream"))
    previous = ""
    for who, text in _READERS[api](request):
        if who == "user":
            # Clients split one turn over several messages: surroundings first, the prompt last.
            request.prompt = f"{request.prompt}\n{text}" if previous == "user" else text
            request.turn = 0
        elif who == "tool":
            request.tool_text = text
        elif previous != "model":
            request.turn += 1
        previous = who
    request.ends_with_tool_result = previous == "tool"
    if request.ends_with_tool_result and (found := _RUNNING.search(request.tool_text)):
        request.running = int(found[1])
    return request


def text_of(content: Any) -> str:
    """The text in a content value of any of the protocols."""
    if content is None:
        return ""
    if isinstance(content, dict):
        members = cast(Mapping[str, Any], content)
        if isinstance(members.get("text"), str):
            return str(members["text"])
        inner = next((key for key in ("content", "parts", "output", "response") if key in members), None)
        return text_of(members[inner]) if inner else json.dumps(members)
    if isinstance(content, list):
        return "\n".join(text for part in cast(Sequence[Any], content) if (text := text_of(part)))
    return str(content)


def _objects(container: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects in the list under `key`; none where there is no such list."""
    listed = container.get(key)
    found = cast(Sequence[Any], listed) if isinstance(listed, list) else ()
    return [each for each in found if isinstance(each, dict)]


def _names(container: Mapping[str, Any], key: str) -> list[str]:
    return [str(each.get("name") or "") for each in _objects(container, key)]


def _read_anthropic(request: ModelRequest) -> Iterable[Said]:
    request.system = text_of(request.body.get("system"))
    request.tools = _names(request.body, "tools")
    for message in _objects(request.body, "messages"):
        content = message.get("content")
        if message.get("role") == "assistant":
            yield "model", text_of(content)
        elif message.get("role") != "system":
            results = [part for part in _objects(message, "content") if part.get("type") == "tool_result"]
            if results:  # text beside a tool's result is a reminder from the client, not a new prompt
                yield "tool", text_of([each.get("content") for each in results])
            else:
                yield "user", text_of(content)


def _read_responses(request: ModelRequest) -> Iterable[Said]:
    request.system = text_of(request.body.get("instructions"))
    for tool in _objects(request.body, "tools"):
        if tool.get("type") == "namespace":  # codex groups tools: a call carries the group's name beside the tool's
            for name in _names(tool, "tools"):
                full = f"{tool.get('name')}__{name}"
                request.namespaces[full] = (str(tool.get("name")), name)
                request.tools.append(full)
        else:
            name = str(tool.get("name") or tool.get("type"))
            request.tools.append(name)
            if tool.get("type") == "custom":
                request.free_form_tools.add(name)
    if isinstance(given := request.body.get("input"), str):
        yield "user", given
    for item in _objects(request.body, "input"):
        kind, role = str(item.get("type", "message")), item.get("role")
        if kind == "message" and role in ("user", "assistant"):
            yield ("user" if role == "user" else "model"), text_of(item.get("content"))
        elif kind == "message":
            request.system += "\n" + text_of(item.get("content"))
        elif kind.endswith("_output"):
            yield "tool", text_of(item.get("output"))
        elif (kind.endswith("_call") and item.get("name") != WAITING_TOOL) or kind == "reasoning":
            yield "model", ""


def _read_chat(request: ModelRequest) -> Iterable[Said]:
    request.tools = [str((tool.get("function") or tool).get("name") or "") for tool in _objects(request.body, "tools")]
    for message in _objects(request.body, "messages"):
        role, text = message.get("role"), text_of(message.get("content"))
        if role in ("system", "developer"):
            request.system += text
        elif role == "assistant":
            yield "model", text
        else:
            yield ("tool" if role in ("tool", "function") else "user"), text


def _read_gemini(request: ModelRequest) -> Iterable[Said]:
    if named := re.search(r"models/([^:/]+):(\w+)", request.path):
        request.model = named[1]
        request.streams = named[2] == "streamGenerateContent"
    request.system = text_of(request.body.get("systemInstruction"))
    groups = _objects(request.body, "tools")
    request.tools = [name for group in groups for name in _names(group, "functionDeclarations")]
    for content in _objects(request.body, "contents"):
        parts = _objects(content, "parts")
        results = [part["functionResponse"].get("response") for part in parts if "functionResponse" in part]
        if content.get("role") == "model":
            yield "model", text_of(parts)
        elif results:
            yield "tool", text_of(results)
        else:
            yield "user", text_of(parts)


def _read_augment(request: ModelRequest) -> Iterable[Said]:
    body = request.body
    request.streams = True
    request.system = text_of(body.get("system_prompt")) + text_of(body.get("system_prompt_append"))
    request.tools = _names(body, "tool_definitions")
    for past in _objects(body, "chat_history"):
        yield _augment_turn(past.get("request_message"), _objects(past, "request_nodes"))
        yield "model", text_of(past.get("response_text"))
    yield _augment_turn(body.get("message"), _objects(body, "nodes"))


def _augment_turn(message: Any, nodes: Sequence[Mapping[str, Any]]) -> Said:
    results = [node["tool_result_node"] for node in nodes if node.get("tool_result_node")]
    if results:
        return "tool", text_of([each.get("content") or _texts(each, "content_nodes") for each in results])
    return "user", text_of([message, *(node["text_node"].get("content") for node in nodes if node.get("text_node"))])


def _texts(container: Mapping[str, Any], key: str) -> list[Any]:
    return [part.get("text_content") for part in _objects(container, key)]


_READERS: Mapping[Api, Callable[[ModelRequest], Iterable[Said]]] = {
    "anthropic": _read_anthropic,
    "responses": _read_responses,
    "chat": _read_chat,
    "gemini": _read_gemini,
    "augment": _read_augment,
}
