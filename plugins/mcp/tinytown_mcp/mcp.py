"""A server of the Model Context Protocol that offers tools and nothing else: one JSON-RPC message a line, in and out.

Speaks the revisions with a handshake (``initialize``) and the one without, where each request says its own; nothing is
remembered but the revision that the handshake agreed on. Whatever comes in gets an answer that the protocol knows:
broken JSON, unknown methods, wrong arguments, a tool that raises. Knows nothing of towns.

Source: the specification at modelcontextprotocol.io, revisions 2024-11-05 to 2026-07-28.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeGuard

import msgspec
from tinytown.errors import TinytownError

HANDSHAKE_REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
REVISIONS = (*HANDSHAKE_REVISIONS, "2026-07-28")
_STRUCTURED_SINCE = "2025-06-18"

_REVISION_KEY = "io.modelcontextprotocol/protocolVersion"
_SERVER_KEY = "io.modelcontextprotocol/serverInfo"

_PARSE_ERROR = -32700
_INVALID_REQUEST = -32600
_METHOD_NOT_FOUND = -32601
_INVALID_PARAMS = -32602
_UNSUPPORTED_REVISION = -32022

#: Longer lines are refused without being held in memory.
LINE_LIMIT_BYTES = 16 << 20
_FRESH_MS = 3_600_000  # the list of tools stays the same for as long as we run


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answers: a short text for the model, and the same as a JSON object."""

    text: str
    value: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: `schema` is the JSON Schema of its arguments, `changes` says that it is more than a look.

    `call` takes the arguments. A TinytownError is the tool's answer too, and so is a ``msgspec.ValidationError``, which
    says that the arguments do not fit.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    changes: bool
    call: Callable[[Mapping[str, Any]], ToolResult]

    @property
    def shape(self) -> dict[str, Any]:
        """The tool as the protocol lists it."""
        hints = {"readOnlyHint": not self.changes, "destructiveHint": False, "openWorldHint": False}
        return {"name": self.name, "description": self.description, "inputSchema": self.schema, "annotations": hints}


class _Wrong(Exception):
    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message} | ({} if data is None else {"data": data})


class ToolServer:
    """Answers messages. `instructions` tell the model, in a sentence or two, what the tools are for."""

    def __init__(self, tools: Sequence[Tool], *, name: str, version: str, instructions: str) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._about = {"name": name, "version": version}
        self._instructions = instructions
        self._revision = HANDSHAKE_REVISIONS[-1]

    def answer(self, line: bytes) -> bytes | None:
        """The answer to one line, without its end; None for what wants none."""
        try:
            message = msgspec.json.decode(line)
        except (ValueError, RecursionError) as error:
            return _encode(_failed(None, _Wrong(_PARSE_ERROR, f"expected one JSON-RPC message a line: {error}")))
        if _is_list(message) and message:  # the revision of 2025-03-26 has batches
            answers = [answer for each in message if (answer := self._answer(each)) is not None]
            return _encode(answers) if answers else None
        answer = self._answer(message)
        return None if answer is None else _encode(answer)

    def refuse_length(self) -> bytes:
        """The answer to a line that is too long."""
        return _encode(
            _failed(None, _Wrong(_INVALID_REQUEST, f"expected a line of at most {LINE_LIMIT_BYTES:,} bytes"))
        )

    def _answer(self, message: Any) -> dict[str, Any] | None:
        fields = message if _is_object(message) else {}
        id_, method = fields.get("id"), fields.get("method")
        if method is None and ("result" in fields or "error" in fields):
            return None  # an answer, and we have asked nothing
        known_id = id_ if isinstance(id_, str | int | float) and not isinstance(id_, bool) else None
        if fields.get("jsonrpc") != "2.0" or not isinstance(method, str) or ("id" in fields and known_id is None):
            return _failed(known_id, _Wrong(_INVALID_REQUEST, "expected a request or notification of JSON-RPC 2.0"))
        if known_id is None:
            return None  # a notification; what could be cancelled has been answered before it is read
        try:
            return {"jsonrpc": "2.0", "id": known_id, "result": self._result(method, fields.get("params"))}
        except _Wrong as wrong:
            return _failed(known_id, wrong)

    def _result(self, method: str, given: Any) -> dict[str, Any]:
        params: Any = {} if given is None else given
        if not _is_object(params):
            raise _Wrong(_INVALID_PARAMS, "expected params to be an object")
        revision = self._revision_of(method, params)
        result: dict[str, Any]
        match method:
            case "initialize":
                result = self._initialize(params)
            case "server/discover":
                result = {"supportedVersions": REVISIONS, "capabilities": {"tools": {}}, **_FRESH}
                result["instructions"] = self._instructions
            case "ping":
                result = {}
            case "tools/list":
                if params.get("cursor") is not None:
                    raise _Wrong(_INVALID_PARAMS, "no such cursor: all tools stand on one page")
                result = {"tools": [tool.shape for tool in self._tools.values()]}
                result |= _FRESH if revision not in HANDSHAKE_REVISIONS else {}
            case "tools/call":
                result = self._call(params, structured=revision >= _STRUCTURED_SINCE)
            case _:
                raise _Wrong(_METHOD_NOT_FOUND, f"no such method: {method[:80]}")
        if revision not in HANDSHAKE_REVISIONS:
            result |= {"resultType": "complete", "_meta": {_SERVER_KEY: self._about}}
        return result

    def _revision_of(self, method: str, params: Mapping[str, Any]) -> str:
        """The revision that a request is written in: the one it names, else the one that the handshake agreed on."""
        meta = params.get("_meta")
        named = meta.get(_REVISION_KEY) if _is_object(meta) else None
        if named is None or method == "initialize":
            return self._revision
        if named in HANDSHAKE_REVISIONS or named not in REVISIONS:
            data = {"supported": REVISIONS, "requested": str(named)[:80]}
            raise _Wrong(_UNSUPPORTED_REVISION, "this revision of the protocol is not known here", data)
        return str(named)

    def _initialize(self, params: Mapping[str, Any]) -> dict[str, Any]:
        wanted = params.get("protocolVersion")
        if not isinstance(wanted, str):
            raise _Wrong(_INVALID_PARAMS, "expected a protocolVersion")
        self._revision = wanted if wanted in HANDSHAKE_REVISIONS else HANDSHAKE_REVISIONS[-1]
        return {
            "protocolVersion": self._revision,
            "capabilities": {"tools": {"listChanged": False}},
            "serverInfo": self._about,
            "instructions": self._instructions,
        }

    def _call(self, params: Mapping[str, Any], *, structured: bool) -> dict[str, Any]:
        name, given = params.get("name"), params.get("arguments")
        tool = self._tools.get(name) if isinstance(name, str) else None
        if tool is None:
            raise _Wrong(_INVALID_PARAMS, f"no such tool: {str(name)[:80]}; here are: {', '.join(self._tools)}")
        arguments: Any = {} if given is None else given
        if not _is_object(arguments):
            raise _Wrong(_INVALID_PARAMS, "expected arguments to be an object")
        told, is_error = _told(tool, arguments)
        result: dict[str, Any] = {"content": [{"type": "text", "text": told.text}], "isError": is_error}
        return result | ({"structuredContent": told.value} if structured else {})


_FRESH = {"ttlMs": _FRESH_MS, "cacheScope": "private"}


def _told(tool: Tool, arguments: Mapping[str, Any]) -> tuple[ToolResult, bool]:
    """What the tool says, and whether it is an error."""
    try:
        # Models write null where they mean nothing.
        return tool.call({name: value for name, value in arguments.items() if value is not None}), False
    except TinytownError as error:
        code, message, hint = error.code, error.message, error.hint
    except msgspec.ValidationError as error:
        code, message, hint = "usage", f"the arguments of {tool.name} do not fit: {error}", ""
    except Exception as error:  # the tool's fault; the next call may go well
        print(f"{tool.name} failed: {error!r}", file=sys.stderr, flush=True)
        code, message, hint = "internal", f"internal error: {type(error).__name__}: {error}", "tt does the same"
    text = f"error: {message}; {hint}" if hint else f"error: {message}"
    return ToolResult(text, {"error": {"code": code, "message": message, "hint": hint}}), True


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _failed(id_: str | float | None, wrong: _Wrong) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "error": wrong.error}


def _encode(message: Any) -> bytes:
    return msgspec.json.encode(message)


def serve(server: ToolServer, reading: BinaryIO, writing: BinaryIO) -> None:
    """Answer lines until there are no more. Raises: BrokenPipeError when nobody reads the answers."""
    while line := reading.readline(LINE_LIMIT_BYTES + 1):
        if len(line) > LINE_LIMIT_BYTES:
            while line and not line.endswith(b"\n"):
                line = reading.readline(LINE_LIMIT_BYTES)
            answer: bytes | None = server.refuse_length()
        elif not line.strip():
            continue
        else:
            answer = server.answer(line)
        if answer is not None:
            writing.write(answer + b"\n")
            writing.flush()
