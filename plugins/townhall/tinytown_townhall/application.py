"""The ASGI application of a townhall: requests are admitted, answered, and, if they may have changed something, put on record."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import get_args

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope as AsgiScope, Send
from tinytown.errors import TinytownError

from tinytown_townhall.auth import PERSON, Scope
from tinytown_townhall.commands import PATH as COMMANDS_PATH, CommandsEndpoint
from tinytown_townhall.contracts import Route as ExtensionRoute
from tinytown_townhall.endpoints import ENDPOINTS
from tinytown_townhall.event_socket import EventSocket
from tinytown_townhall.extensions import Extensions
from tinytown_townhall.front import Front
from tinytown_townhall.functions import PATH as FUNCTIONS_PATH, FunctionsEndpoint
from tinytown_townhall.hall import Hall
from tinytown_townhall.openapi import document
from tinytown_townhall.page_files import PageFiles
from tinytown_townhall.problems import HttpError
from tinytown_townhall.replays import HEADER, Replays
from tinytown_townhall.routing import (
    Call,
    Endpoint,
    answer,
    body_limit_bytes,
    fault_response,
    json_response,
    make_endpoint,
    problem_response,
    read_raw_body,
)

_METHODS = ("GET", "POST", "PATCH", "DELETE")
_PATH = re.compile(r"/v1(/[a-z0-9_-]+|/{[a-z_]+})+")
_SAFE = ("GET", "HEAD")
_FORGET_S = 5.0


def all_endpoints(extensions: Extensions) -> list[Endpoint]:
    """Everything that can be asked. What is wrong with a plugin's route is printed, and the route is left out."""
    found = [endpoint for group in ENDPOINTS for endpoint in group.all]
    for name, route in extensions.routes:
        try:
            found.append(_checked(name, route, found))
        except Exception as error:  # the plugin's fault, of whatever type
            extensions.report(name, f"has a route that is left out: {error}")
    return found


def _checked(name: str, route: ExtensionRoute, others: Sequence[Endpoint]) -> Endpoint:
    method, path = route.method, route.path
    if method not in _METHODS or not _PATH.fullmatch(path):
        raise ValueError(f"expected {', '.join(_METHODS)} and a path below /v1/, got {method} {path}")
    scope: Scope | None = next((each for each in get_args(Scope) if each == route.scope), None)
    if scope is None:
        raise ValueError(f"expected a scope of {', '.join(get_args(Scope))} for {method} {path}, got {route.scope!r}")
    endpoint = make_endpoint(method, path, route.function, scope, name)
    if any((each.method, each.path) == (method, path) or each.name == endpoint.name for each in others):
        raise ValueError(f"{method} {path}, {endpoint.name}, exists already")
    return endpoint


def make_app(hall: Hall) -> Front:
    """The application that answers requests, describes them at ``/openapi.json``, and serves the web page."""
    endpoints = all_endpoints(hall.extensions)
    description = document(endpoints)

    async def describe(request: Request) -> Response:
        return json_response(description, request)

    routes = [
        *(Route(each.path, _responder(hall, each), methods=[each.method]) for each in endpoints),
        Route("/openapi.json", describe, methods=["GET"]),
        WebSocketRoute("/v1/events/socket", EventSocket(hall)),
        Route(FUNCTIONS_PATH, FunctionsEndpoint(hall), methods=["GET", "POST"]),
        Route(COMMANDS_PATH, CommandsEndpoint(hall), methods=["POST"]),
        Route("/mcp", _McpEndpoint(hall, endpoints), methods=["GET", "POST", "DELETE"]),
        *PageFiles(hall.extensions.pages, [panel.view for panel in hall.extensions.panels]).routes(),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _answer_http_exception})
    app.router.redirect_slashes = False
    return Front(app, hall.settings)


def _responder(hall: Hall, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """`endpoint` as a function of Starlette."""

    async def respond(request: Request) -> Response:
        principal = PERSON
        try:
            if endpoint.scope is not None:
                principal = await hall.admit(request, endpoint.scope, changes=request.method not in _SAFE)
            call = Call(hall, principal, request)
            response = await (_answer_once if _is_once(request, endpoint) else answer)(endpoint, call)
        except TinytownError as error:
            response = problem_response(error, request.state.request_id)
        except Exception:
            response = fault_response(request.state.request_id)
        if request.method not in _SAFE and endpoint.scope is not None:
            status, request_id = str(response.status_code), request.state.request_id
            await hall.audit(principal, request.method, request.url.path, status, request_id=request_id)
        return response

    return respond


def _is_once(request: Request, endpoint: Endpoint) -> bool:
    return HEADER in request.headers and request.method not in _SAFE and endpoint.scope is not None


async def _answer_once(endpoint: Endpoint, call: Call) -> Response:
    """What this request is answered, or was when it came for the first time. Raises: as `answer`."""
    request, replays = call.http, Replays(call.town)
    body = await read_raw_body(request, body_limit_bytes(call.town))
    if before := await replays.begin(request, call.principal, body):
        return before
    try:
        response = await answer(endpoint, call)
    except TinytownError as error:
        response = problem_response(error, request.state.request_id)
    except BaseException:
        with trio.CancelScope(shield=True), trio.move_on_after(_FORGET_S):
            await replays.forget(request, call.principal)
        raise
    await replays.finish(request, call.principal, body, response)
    return response


class _McpEndpoint:
    """MCP over HTTP, an ASGI application. It begins with the first request: few townhalls are asked, and the SDK is large."""

    def __init__(self, hall: Hall, endpoints: Sequence[Endpoint]) -> None:
        self._hall = hall
        self._endpoints = endpoints
        self._lock = trio.Lock()
        self._app: ASGIApp | None = None

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        try:
            request.state.principal = await self._hall.admit(request, "town.read", changes=request.method not in _SAFE)
        except TinytownError as error:
            await problem_response(error, request.state.request_id)(scope, receive, send)
            return
        async with self._lock:
            app = self._app = self._app or await self._hall.nursery.start(self._run)
        await app(scope, receive, send)

    async def _run(self, task_status: trio.TaskStatus[ASGIApp]) -> None:
        module = await trio.to_thread.run_sync(import_module, "tinytown_townhall.mcp_server")
        async with module.open_mcp_app(self._hall, self._endpoints, body_limit_bytes(self._hall.town)) as app:
            task_status.started(app)
            await trio.sleep_forever()


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    code, message = {
        404: ("not_found", f"nothing is at {path}"),
        405: ("method_not_allowed", f"{request.method} is not possible at {path}"),
    }.get(error.status_code, ("failed", str(error.detail)))
    problem = HttpError(
        error.status_code, code, message, hint="/openapi.json says what there is", headers=error.headers or {}
    )
    return problem_response(problem, request.state.request_id)
