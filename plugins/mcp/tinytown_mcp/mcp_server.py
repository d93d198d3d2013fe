"""A server of the Model Context Protocol that offers tools and nothing else: one JSON-RPC message a line, in and out.

Supports the revisions with a handshake (``initialize``) and the one without, where each request names its own. The only
state is the negotiated revision. Every request gets an answer of the protocol, also broken JSON, unknown methods, wrong
arguments and calls of a tool that raises. Knows nothing of towns.

Source: the specification at modelcontextprotocol.io, revisions 2024-11-05 to 2026-07-28.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeGuard

import msgspec
from tinytown.errors import TinytownError

from tinytown_mcp.contracts import ToolResult

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

#: Longer lines are refused without being kept in memory.
LINE_LIMIT_BYTES = 16 << 20
_FRESH_MS = 3_600_000  # the list of tools does not change while the server runs


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as it is served: `schema` is the JSON Schema of its arguments, `changes`: it does more than read.

    `call` takes the arguments as they came. Whatever it raises is the answer, except KeyboardInterrupt.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    changes: bool
    call: Callable[[Mapping[str, Any]], ToolResult]

    @property
    def listing(self) -> dict[str, Any]:
        """The tool as the protocol lists it."""
        hints = {"readOnlyHint": not self.changes, "destructiveHint": False, "openWorldHint": False}
        return {"name": self.name, "description": self.description, "inputSchema": self.schema, "annotations": hints}


class _RequestError(Exception):
    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.fields = {"code": code, "message": message} | ({} if data is None else {"data": data})


class ToolServer:
    """Answers messages. `instructions`, a sentence or two, tell the model what the tools are for."""

    def __init__(self, tools: Sequence[Tool], *, name: str, version: str, instructions: str) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._server_info = {"name": name, "version": version}
        self._instructions = instructions
        self._revision = HANDSHAKE_REVISIONS[-1]

    def answer(self, line: bytes) -> bytes | None:
        """The answer to one line, without a line end; None if none is due."""
        try:
            message = msgspec.json.decode(line)
        except (ValueError, RecursionError) as error:
            return _encode(_error(None, _RequestError(_PARSE_ERROR, f"expected one JSON-RPC message a line: {error}")))
        if _is_list(message) and message:  # the revision of 2025-03-26 has batches
            answers = [answer for item in message if (answer := self._answer(item)) is not None]
            return _encode(answers) if answers else None
        answer = self._answer(message)
        return None if answer is None else _encode(answer)

    def refuse_length(self) -> bytes:
        """The answer to a line over the limit."""
        return _encode(
            _error(None, _RequestError(_INVALID_REQUEST, f"expected a line of at most {LINE_LIMIT_BYTES:,} bytes"))
        )

    def _answer(self, message: Any) -> dict[str, Any] | None:
        fields = message if _is_object(message) else {}
        id_, method = fields.get("id"), fields.get("method")
        if method is None and ("result" in fields or "error" in fields):
            return None  # an answer, and nothing was asked
        known_id = id_ if isinstance(id_, str | int | float) and not isinstance(id_, bool) else None
        if fields.get("jsonrpc") != "2.0" or not isinstance(method, str) or ("id" in fields and known_id is None):
            return _error(
                known_id, _RequestError(_INVALID_REQUEST, "expected a request or notification of JSON-RPC 2.0")
            )
        if known_id is None:
            return (
                None  # a notification; calls are answered before the next line is read, so there is nothing to cancel
            )
        try:
            return {"jsonrpc": "2.0", "id": known_id, "result": self._result(method, fields.get("params"))}
        except _RequestError as error:
            return _error(known_id, error)

    def _result(self, method: str, value: Any) -> dict[str, Any]:
        params: Any = {} if value is None else value
        if not _is_object(params):
            raise _RequestError(_INVALID_PARAMS, "expected params to be an object")
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
                    raise _RequestError(_INVALID_PARAMS, "no such cursor: all tools are on one page")
                result = {"tools": [tool.listing for tool in self._tools.values()]}
                result |= _FRESH if revision not in HANDSHAKE_REVISIONS else {}
            case "tools/call":
                result = self._call(params, structured=revision >= _STRUCTURED_SINCE)
            case _:
                raise _RequestError(_METHOD_NOT_FOUND, f"no such method: {method[:80]}")
        if revision not in HANDSHAKE_REVISIONS:
            result |= {"resultType": "complete", "_meta": {_SERVER_KEY: self._server_info}}
        return result

    def _revision_of(self, method: str, params: Mapping[str, Any]) -> str:
        """The revision that a request is written in: the one it names, else the one that the handshake negotiated."""
        meta = params.get("_meta")
        revision = meta.get(_REVISION_KEY) if _is_object(meta) else None
        if revision is None or method == "initialize":
            return self._revision
        if revision in HANDSHAKE_REVISIONS or revision not in REVISIONS:
            data = {"supported": REVISIONS, "requested": str(revision)[:80]}
            raise _RequestError(_UNSUPPORTED_REVISION, "unknown revision of the protocol", data)
        return str(revision)

    def _initialize(self, params: Mapping[str, Any]) -> dict[str, Any]:
        requested = params.get("protocolVersion")
        if not isinstance(requested, str):
            raise _RequestError(_INVALID_PARAMS, "expected a protocolVersion")
        self._revision = requested if requested in HANDSHAKE_REVISIONS else HANDSHAKE_REVISIONS[-1]
        return {
            "protocolVersion": self._revision,
            "capabilities": {"tools": {"listChanged": False}},
            "serverInfo": self._server_info,
            "instructions": self._instructions,
        }

    def _call(self, params: Mapping[str, Any], *, structured: bool) -> dict[str, Any]:
        name, value = params.get("name"), params.get("arguments")
        tool = self._tools.get(name) if isinstance(name, str) else None
        if tool is None:
            raise _RequestError(_INVALID_PARAMS, f"no such tool: {str(name)[:80]}; available: {', '.join(self._tools)}")
        arguments: Any = {} if value is None else value
        if not _is_object(arguments):
            raise _RequestError(_INVALID_PARAMS, "expected arguments to be an object")
        text, value, is_error = _call_tool(tool, arguments)
        result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": is_error}
        return result | ({"structuredContent": value} if structured else {})


_FRESH = {"ttlMs": _FRESH_MS, "cacheScope": "private"}


def _call_tool(tool: Tool, arguments: Mapping[str, Any]) -> tuple[str, msgspec.Raw, bool]:
    """The answer as text and as a JSON object, and whether it is an error."""
    try:
        # Models write null for what they leave out.
        result = tool.call({name: value for name, value in arguments.items() if value is not None})
        return _encodable(result.text), _encoded_object(result.value), False
    except KeyboardInterrupt:
        raise
    except TinytownError as error:
        code, message, hint = error.code, error.message, error.hint
    except BaseException as error:  # a fault of the tool, be it SystemExit: it costs this call only
        print(f"{tool.name} failed: {error!r}", file=sys.stderr, flush=True)
        code, message, hint = "internal", f"internal error: {type(error).__name__}: {error}", "tt does the same"
    message = message.encode(errors="replace").decode()
    text = f"error: {message}; {hint}" if hint else f"error: {message}"
    return text, _encoded_object({"error": {"code": code, "message": message, "hint": hint}}), True


def _encodable(text: str) -> str:
    text.encode()
    return text


def _encoded_object(value: Any) -> msgspec.Raw:
    raw = msgspec.json.encode(value)
    if not raw.startswith(b"{"):
        raise TypeError(f"expected a result that is a JSON object, got {type(value).__name__}")
    return msgspec.Raw(raw)


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _error(id_: str | float | None, error: _RequestError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "error": error.fields}


def _encode(message: Any) -> bytes:
    return msgspec.json.encode(message)


def serve(server: ToolServer, reading: BinaryIO, writing: BinaryIO) -> None:
    """Answer lines until the input ends. Raises: BrokenPipeError if the answers are no longer read."""
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
