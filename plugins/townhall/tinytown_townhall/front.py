"""What every request passes first: is it for us, and does it come from a page of ours; and what a browser may do. ASGI.

A browser that was led here by a name that somebody else owns (DNS rebinding) sends that name; a page of somebody else's that
sends a request is named as its origin. Source: https://fetch.spec.whatwg.org/#origin-header
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tinytown.model.ids import new_id
from tinytown.model.text import shown

from tinytown_townhall.problems import HttpError
from tinytown_townhall.routing import problem_response
from tinytown_townhall.settings import Settings

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
#: What a response has unless its endpoint says otherwise.
_HEADERS = {
    b"content-security-policy": _POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
_SAFE = ("GET", "HEAD")
#: Scheme of a WebSocket -> that of the pages which open it.
_OF_PAGES = {"ws": "http", "wss": "https"}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ANY = ("0.0.0.0", "::")


class Front:
    """Lets requests in to `app`, and puts the headers on its responses."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._is_socket = settings.bind.startswith("unix:")
        bound = settings.bind.strip("[]")
        self._hosts = {*_LOOPBACK, *settings.hosts, *(() if bound in _ANY else (bound,))}
        self._origins = {origin.rstrip("/").lower() for origin in settings.origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        request_id = new_id()
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = list(message.get("headers", ()))
                given = {name.lower() for name, _ in headers}
                headers += [item for item in _HEADERS.items() if item[0] not in given]
                message = {**message, "headers": [*headers, (b"x-request-id", request_id.encode())]}
            await send(message)

        try:
            self._check(scope)
        except HttpError as error:
            await problem_response(error, request_id)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    def _check(self, scope: Scope) -> None:
        """Raises: HttpError for a request by a foreign name or from a foreign page."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if not self._is_socket and name not in self._hosts:
            raise HttpError(
                421,
                "host_not_allowed",
                f"this townhall is not called {shown(host)!r}",
                hint="add the name to hosts in [plugins.townhall] if it is one of this machine",
            )
        origin = headers.get("origin", "").lower()
        own = f"{_OF_PAGES.get(scope['scheme'], scope['scheme'])}://{host.lower()}"
        if origin and origin not in self._origins and origin != own:
            raise HttpError(
                403,
                "origin_not_allowed",
                f"pages of {shown(origin)} may not ask this townhall",
                hint="add it to origins in [plugins.townhall] to allow it",
            )
        site = headers.get("sec-fetch-site", "none")
        if not origin and site not in ("none", "same-origin") and scope.get("method") not in _SAFE:
            raise HttpError(403, "origin_not_allowed", "another page sent this request")
