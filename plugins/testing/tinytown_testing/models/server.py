"""The model server itself: which path is which protocol, sockets, streams, and the trouble that a reply asks for.

Each connection is a thread of its own; a request that is left hanging ends when the client goes or the server stops.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import select
import socket
import sys
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import parse_qs, urlsplit

from tinytown_testing.models.answers import make_answer, new_id
from tinytown_testing.models.requests import Api, ModelRequest, read_request
from tinytown_testing.models.scripts import Reply, Script
from tinytown_testing.models.wire import BODIES, EVENTS, LINE, Event, error_body, stream_error

_SECRET_HEADERS = {"authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie"}
_FOR_EVER_S = 1e9
_LOOK_AGAIN_S = 0.05

_Action: TypeAlias = Literal["generate", "count"]

#: What a path ends with, the protocol it belongs to, and what is asked for there. Any prefix is taken.
_PATHS: tuple[tuple[str, tuple[Api, _Action]], ...] = (
    (r"/messages/count_tokens$", ("anthropic", "count")),
    (r"/messages$", ("anthropic", "generate")),
    (r"/chat/completions$", ("chat", "generate")),
    (r"/responses$", ("responses", "generate")),
    (r"/models/[^/:]+:(generateContent|streamGenerateContent)$", ("gemini", "generate")),
    (r"/models/[^/:]+:countTokens$", ("gemini", "count")),
    (r"/chat-stream$", ("augment", "generate")),
)
#: Where auggie tells and asks things that are not for a model.
_AUGMENT_ASIDE = re.compile(
    r"^/(settings/|agents/|indexed-commits/|(report-error|record-.*-events|client-.*|find-missing|batch-upload"
    r"|checkpoint-blobs|subscription-info)$)"
)


class ModelServer(ThreadingHTTPServer):
    """The server, listening on the loopback; inside its `with` block it answers, on threads of its own.

    `script` may be replaced at any time. `requests` are all so far, oldest first, also those that no model answers:
    ``{"n", "t", "method", "path", "headers", "body"}``, and of one for a model ``{"api", "model", "prompt", "system",
    "tools", "turn", "reply"}`` too; once all of the answer has been sent, ``"answered"`` has its tokens as in a reply's `usage`.
    Values of headers that hold keys are cut to four characters.

    Raises: OSError when the port is taken, ValueError for bad rules.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, rules: Sequence[Reply] = (), *, port: int = 0, log: Path | None = None) -> None:
        self.script = Script(rules)
        self.requests: list[dict[str, Any]] = []
        self.stopping = threading.Event()
        self._log = log
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Connection)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def model_requests(self) -> list[dict[str, Any]]:
        """Those of the requests that were for a model."""
        return [each for each in self.requests if "api" in each]

    def note(self, entry: dict[str, Any]) -> int:
        """Keep what was asked; its number, from 1."""
        with self._lock:
            entry = {"n": len(self.requests) + 1, "t": round(time.time(), 3), **entry}
            self.requests.append(entry)
            if self._log:
                with self._log.open("a") as file:
                    file.write(json.dumps(entry) + "\n")
        return int(entry["n"])

    def note_answered(self, number: int, usage: Mapping[str, int]) -> None:
        """Keep that all of the answer to request `number` has been sent, and the tokens that it names."""
        self.requests[number - 1]["answered"] = usage

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that goes away is everyday life
            super().handle_error(request, client_address)

    def __enter__(self) -> ModelServer:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": _LOOK_AGAIN_S}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()


class _Connection(BaseHTTPRequestHandler):
    """One connection of a client; the methods named ``do_*`` are those of HTTP."""

    protocol_version = "HTTP/1.1"
    server_version = "tinytown-models"

    @property
    def models(self) -> ModelServer:
        return cast(ModelServer, self.server)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self._note(None, "")
        if self.headers.get("upgrade", "").lower() == "websocket":
            self._send_json(426, {"error": {"message": "there are no websockets here"}})
        elif re.search(r"/models(/[^/]+)?$", path):
            self._send_json(200, _models(path))
        elif path in ("/", "/api/hello", "/health"):
            self._send_json(200, {"ok": True})
        else:
            self._send_json(404, {"error": {"message": f"no such path: {path}"}})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        raw = self._read_body()
        path = urlsplit(self.path).path
        asked = next((asked for pattern, asked in _PATHS if re.search(pattern, path)), None)
        try:
            body: Any = json.loads(raw or "{}")
        except ValueError:
            body = None
        if asked is None or not isinstance(body, dict):
            self._note(None, raw)
            self._answer_aside(path)
            return
        api, action = asked
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = read_request(api, path, cast(dict[str, Any], body), raw, headers)
        if action == "count":
            self._note(request, raw, {"count": True})
            tokens = max(1, len(raw) // 4)
            self._send_json(200, {"totalTokens" if api == "gemini" else "input_tokens": tokens})
            return
        reply = self.models.script.choose(request)
        number = self._note(request, raw, reply)
        try:
            self._reply(request, reply, number)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_PUT = do_PATCH = do_DELETE = do_POST

    def _answer_aside(self, path: str) -> None:
        if path.endswith("/get-models"):
            self._send_json(200, _AUGMENT_MODELS)
        elif _AUGMENT_ASIDE.search(path):
            self._send_json(200, {"tools": []} if path.endswith("-tools") else {})
        else:
            self._send_json(404, {"error": {"message": f"nothing can be answered at {path}"}})

    def _reply(self, request: ModelRequest, reply: Reply, number: int) -> None:
        if reply.get("delay") and not self._pause(reply["delay"]):
            return self._cut()
        if reply.get("hang") == "start":
            self._pause(_FOR_EVER_S)
            return self._cut()
        if reply.get("drop") == "start":
            return self._cut()
        headers: Mapping[str, str] = reply.get("headers") or {}
        status = reply.get("status", 200)
        if status != 200:
            body = reply["raw"].encode() if "raw" in reply else error_body(request.api, status, reply)
            return self._send_json(status, body, headers)
        if (kind := reply.get("stream_error")) and not request.streams:
            status = 529 if "overload" in kind else 500
            return self._send_json(status, error_body(request.api, status, {**reply, "error": kind}))
        answer = make_answer(reply, request, number)
        usage = {"input": answer.input_tokens, "output": answer.output_tokens, "cached": answer.cached_tokens}
        if not request.streams:
            self._send_json(200, BODIES[request.api](answer), headers)
            return self.models.note_answered(number, usage)
        events = list(EVENTS[request.api](answer))
        as_array = request.api == "gemini" and "sse" not in parse_qs(urlsplit(self.path).query).get("alt", [])
        self._begin_stream("application/json" if as_array else "text/event-stream", headers)
        if as_array:
            self._send_chunk(json.dumps([event for _, event in events]).encode())
            self._send_chunk(b"")
        elif not self._stream(request, reply, events):
            return None
        return self.models.note_answered(number, usage)

    def _stream(self, request: ModelRequest, reply: Reply, events: Sequence[Event]) -> bool:
        """Send the events; whether all of them were sent."""
        for index, event in enumerate(events):
            self._send_event(event)
            if index == 0 and reply.get("hang") == "stream":
                self._pause(_FOR_EVER_S)
                self._cut()
                return False
            if index == 0 and (kind := reply.get("stream_error")):
                self._send_event(stream_error(request.api, kind, reply.get("message", "scripted error in a stream")))
                self._send_chunk(b"")
                return False
            if reply.get("drop") == "stream" and index >= len(events) // 2:
                self._cut()
                return False
            if reply.get("chunk_delay") and not self._pause(reply["chunk_delay"]):
                self._cut()
                return False
        self._send_chunk(b"")
        return True

    # -- bytes -------------------------------------------------------------------------------------------

    def _read_body(self) -> str:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            data = b""
            while size := int(self.rfile.readline().split(b";")[0].strip() or b"0", 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("content-length") or 0))
        match self.headers.get("content-encoding", "").lower():
            case "gzip":
                data = gzip.decompress(data)
            case "deflate":
                data = zlib.decompress(data)
            case _:
                pass
        return data.decode("utf-8", "replace")

    def _send_json(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        sent = {"content-type": "application/json", "content-length": len(data), "request-id": new_id("req_")}
        for name, value in [*sent.items(), *(headers or {}).items()]:
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
            self.wfile.flush()

    def _begin_stream(self, content_type: str, headers: Mapping[str, str]) -> None:
        self.send_response(200)
        sent = {"content-type": content_type, "cache-control": "no-cache", "request-id": new_id("req_")}
        for name, value in {**sent, "transfer-encoding": "chunked", **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()

    def _send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _send_event(self, event: Event) -> None:
        name, content = event
        text = content if isinstance(content, str) else json.dumps(content)
        if name == LINE:
            self._send_chunk(f"{text}\n".encode())
        else:
            self._send_chunk((f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode())

    def _pause(self, seconds: float) -> bool:
        """Wait; False when the client has gone or the server stops."""
        end = time.monotonic() + seconds
        while not self.models.stopping.is_set():
            left = end - time.monotonic()
            if left <= 0:
                return True
            ready, _, _ = select.select([self.connection], [], [], min(left, _LOOK_AGAIN_S))
            if ready and not self.connection.recv(1, socket.MSG_PEEK):
                return False
        return False

    def _cut(self) -> None:
        """Close the connection with nothing more said."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _note(self, request: ModelRequest | None, raw: str, reply: Reply | None = None) -> int:
        headers = {
            name.lower(): f"{value[:4]}..." if name.lower() in _SECRET_HEADERS else value
            for name, value in self.headers.items()
        }
        path = re.sub(r"(key=.{4})[^&]*", r"\1...", self.path)
        entry: dict[str, Any] = {"method": self.command, "path": path, "headers": headers, "body": raw}
        if request is not None:
            entry |= {"body": request.body, "api": request.api, "model": request.model, "prompt": request.prompt}
            entry |= {"system": request.system, "tools": request.tools, "turn": request.turn, "reply": reply}
        return self.models.note(entry)


_AUGMENT_MODELS: dict[str, Any] = {
    "default_model": "stub",
    "models": [
        {
            "name": "stub",
            "suggested_prefix_char_count": 1000,
            "suggested_suffix_char_count": 1000,
            "internal_name": "stub",
        }
    ],
    "languages": [],
    "feature_flags": {},
    "user_tier": "ENTERPRISE_TIER",
}


def _models(path: str) -> dict[str, Any]:
    """The list of models at `path`, or the one that its last part names."""
    if "v1beta" in path:
        return {"models": [{"name": "models/stub", "displayName": "stub"}]}
    name = path.rsplit("/", 1)[1]
    model: dict[str, Any] = {
        "id": "stub",
        "type": "model",
        "object": "model",
        "display_name": "stub",
        "owned_by": "stub",
    }
    model |= {"created_at": "2025-01-01T00:00:00Z", "created": 1735689600}
    if name != "models":
        return {**model, "id": name, "display_name": name}
    return {"object": "list", "data": [model], "models": [], "has_more": False, "first_id": "stub", "last_id": "stub"}
