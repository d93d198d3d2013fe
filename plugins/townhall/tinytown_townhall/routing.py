"""Endpoints as plain functions, and HTTP made of them: the signature is the schema.

The first parameter is the `Call`. One named ``body`` or ``query`` is a msgspec Struct, read from the request; all others are
parts of the path. What a function returns is sent as JSON; a Response is sent as it is.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import click
import msgspec
import trio
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from tinytown.concurrency import open_background
from tinytown.errors import TinytownError
from tinytown.model.text import shown
from tinytown.protocol import Operation
from tinytown_cli.public import answer_command

from tinytown_townhall.auth import Principal, Scope
from tinytown_townhall.problems import MEDIA_TYPE, HttpError, problem_of

if TYPE_CHECKING:
    from tinytown.town import Town

    from tinytown_townhall.hall import Hall

T = TypeVar("T")
Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])

_BODY_LIMIT_S = 30.0
_FRAME_BYTES = 64 * 1024
_encode = msgspec.json.Encoder().encode


async def _nothing(_: object) -> None:
    """Nobody wants to hear of progress."""


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


@dataclass(frozen=True, slots=True)
class Call:
    """One request: who asks, and the town. Over MCP there is no HTTP `request`; `progress` is called by what takes long."""

    hall: Hall
    principal: Principal
    request: Request | None
    progress: Callable[[object], Awaitable[None]] = _nothing

    @property
    def town(self) -> Town:
        return self.hall.town

    @property
    def asker(self) -> str:
        """For reasons that people read."""
        return f"requested by {self.principal.name} in the townhall"

    @property
    def http(self) -> Request:
        """The HTTP request; only what is no tool may ask for it."""
        assert self.request is not None
        return self.request

    async def run(self, operation: Operation[T]) -> T:
        """The town's answer."""
        return await self.hall.town.run(operation)

    async def wait(self, observe: Callable[[], Awaitable[T]], condition: Callable[[T], bool], timeout_s: float) -> T:
        """The first value that satisfies `condition`, or, once time is over or the townhall closes, the last one.

        Each value that was looked at meanwhile is progress for the caller, if it wants to hear of it.
        """
        latest = await observe()
        if condition(latest):
            return latest

        async def look() -> T:
            nonlocal latest
            latest = await observe()
            await self.progress(latest)
            return latest

        with trio.move_on_after(timeout_s) as scope:
            async with open_background() as nursery:
                nursery.start_soon(_cancel_when, self.hall.closing, scope)
                await self.town.wait_until(look, condition)
        return latest

    async def command(self, command: click.Command | str, kind: type[T], **parameters: Any) -> T:
        """What a command of the command line prints with ``--json``, as a `kind`."""
        return await answer_command(command, self.town.root, kind, **parameters)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One thing that can be asked. Without a `scope` nobody has to be known."""

    method: str
    path: str
    function: Callable[..., Awaitable[Any]]
    scope: Scope | None
    tag: str
    status: int
    body: Any
    query: Any
    answer: Any
    path_parameters: tuple[str, ...]
    media_type: str
    is_tool: bool

    @property
    def name(self) -> str:
        """The name of its function, which is also that of its tool."""
        return self.function.__name__

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def description(self) -> str:
        return (inspect.getdoc(self.function) or "").partition("\n")[2].strip()


class Endpoints:
    """A group of endpoints under one heading. Each method is a decorator of a function."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.all: list[Endpoint] = []

    def add(
        self,
        method: str,
        path: str,
        scope: Scope | None,
        *,
        status: int = 200,
        media_type: str = "application/json",
        is_tool: bool = True,
    ) -> Callable[[Handler], Handler]:
        """Answer `method` on `path` by the function, which is also a tool for models unless it repeats another one."""

        def register(function: Handler) -> Handler:
            self.all.append(
                make_endpoint(
                    method, path, function, scope, self.tag, status=status, media_type=media_type, is_tool=is_tool
                )
            )
            return function

        return register

    def get(self, path: str, scope: Scope | None = "town.read", **more: Any) -> Callable[[Handler], Handler]:
        return self.add("GET", path, scope, **more)

    def post(self, path: str, scope: Scope | None = "town.write", **more: Any) -> Callable[[Handler], Handler]:
        return self.add("POST", path, scope, **more)

    def patch(self, path: str, scope: Scope | None = "town.write", **more: Any) -> Callable[[Handler], Handler]:
        return self.add("PATCH", path, scope, **more)

    def delete(self, path: str, scope: Scope | None = "town.write", **more: Any) -> Callable[[Handler], Handler]:
        return self.add("DELETE", path, scope, **more)


def make_endpoint(
    method: str,
    path: str,
    function: Callable[..., Awaitable[Any]],
    scope: Scope | None,
    tag: str,
    *,
    status: int = 200,
    media_type: str = "application/json",
    is_tool: bool = True,
) -> Endpoint:
    """An endpoint by the signature of its function."""
    hints = get_type_hints(function, include_extras=True)
    names = list(inspect.signature(function).parameters)[1:]
    return Endpoint(
        method=method,
        path=path,
        function=function,
        scope=scope,
        tag=tag,
        status=status,
        body=hints.get("body"),
        query=hints.get("query"),
        answer=hints["return"],
        path_parameters=tuple(name for name in names if name not in ("body", "query")),
        media_type=media_type,
        is_tool=is_tool,
    )


async def answer(endpoint: Endpoint, call: Call) -> Response:
    """The response of an endpoint. Raises: TinytownError for what its function raises, and for a request that it cannot mean."""
    given: dict[str, Any] = {name: call.http.path_params[name] for name in endpoint.path_parameters}
    if endpoint.query is not None:
        given["query"] = read_query(endpoint.query, call.http)
    if endpoint.body is not None:
        given["body"] = await _read_body(endpoint.body, call)
    value = await endpoint.function(call, **given)
    if isinstance(value, Response):
        return value
    if value is None:
        return Response(status_code=204)
    return json_response(value, call.http, status=endpoint.status)


def json_response(value: Any, request: Request | None = None, *, status: int = 200) -> Response:
    """`value` as JSON; of what a client has already got, only that it is the same."""
    content = value if isinstance(value, bytes) else _encode(value)
    if request is None or request.method != "GET":
        return Response(content, status, media_type="application/json")
    tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    if tag in (word.strip().removeprefix("W/") for word in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    return Response(content, status, media_type="application/json", headers=headers)


def problem_response(error: TinytownError, request_id: str = "") -> Response:
    """An error as problem details."""
    problem = problem_of(error, request_id)
    headers = error.headers if isinstance(error, HttpError) else {}
    return Response(_encode(problem), problem.status, media_type=MEDIA_TYPE, headers=headers)


def fault_response(request_id: str) -> Response:
    """The answer to a request in which something failed that is no error of its own. To be called where it is caught: the
    traceback is printed."""
    traceback.print_exc(file=sys.stderr)
    return problem_response(
        TinytownError("internal error", hint="the log has its traceback", code="internal"), request_id
    )


def read_query(kind: Any, request: HTTPConnection) -> Any:
    """The query as a `kind`. Raises: HttpError."""
    pairs = request.query_params.multi_items()
    names = [name for name, _ in pairs]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise HttpError(400, "usage", f"expected one value of {shown(doubled)!r}, got several")
    return _convert(dict(pairs), kind, "the query", strict=False)


def body_limit_bytes(town: Town) -> int:
    """How large a body may be: it holds a message and what JSON adds to it."""
    return 2 * town.config.limits.message_bytes + _FRAME_BYTES


async def read_raw_body(request: Request, limit_bytes: int) -> bytes:
    """The body as it came, read once. Raises: HttpError for one that is too large or too slow."""
    if (known := getattr(request.state, "raw_body", None)) is None:
        known = request.state.raw_body = await _receive_body(request, limit_bytes)
    return bytes(known)


async def _receive_body(request: Request, limit_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size_bytes = 0
    try:
        with trio.fail_after(_BODY_LIMIT_S):
            more = True
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise HttpError(400, "usage", "the client left before its body arrived")
                chunk, more = message.get("body", b""), message.get("more_body", False)
                size_bytes += len(chunk)
                if size_bytes > limit_bytes:
                    raise HttpError(
                        413, "limit_reached", f"expected a body of at most {limit_bytes:,} bytes, got more",
                        headers={"connection": "close"},
                    )  # fmt: skip
                chunks.append(chunk)
    except trio.TooSlowError as error:
        raise HttpError(
            408, "too_slow", f"the body did not arrive within {_BODY_LIMIT_S:.0f} s", headers={"connection": "close"}
        ) from error
    return b"".join(chunks)


async def _read_body(kind: Any, call: Call) -> Any:
    raw = await read_raw_body(call.http, body_limit_bytes(call.town))
    media_type = call.http.headers.get("content-type", "").partition(";")[0].strip().lower()
    if raw and media_type != "application/json":
        raise HttpError(415, "media_type", f"expected application/json, got {shown(media_type) or 'no content-type'!r}")
    try:
        value: object = msgspec.json.decode(raw or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HttpError(400, "bad_json", f"expected a JSON object as the body: {shown(str(error), 200)}") from error
    return _convert(value, kind, "the body")


def _convert(value: Any, kind: Any, what: str, *, strict: bool = True) -> Any:
    try:
        return msgspec.convert(value, kind, strict=strict)
    except (msgspec.ValidationError, RecursionError, OverflowError) as error:
        problem, _, where = str(error).partition(" - at ")
        place = where.strip("`").removeprefix("$").removeprefix(".")
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
        raise HttpError(
            400,
            "usage",
            f"{what}: {shown(problem, 200)}" + (f" at {shown(place)}" if place else ""),
            hint=f"known here: {known}" if known else "it takes nothing",
        ) from error
