"""Sockets and connections: HTTP/1.1 and HTTP/2 by hypercorn, on listeners of ours, so that all of it ends when it is asked to.

A connection that takes nothing for `SEND_LIMIT_S` is cut, and so is each that outlasts the time to end: hypercorn itself would
wait for them.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from tinytown.errors import ConfigError, TinytownError
from tinytown.model.text import shown
from tinytown.state import open_state

from tinytown_townhall.settings import Settings

SEND_LIMIT_S = 30.0
#: How long streams and requests get to end.
GRACE_S = 2.0
_CONNECTIONS = 4_096
_BACKLOG = 256
_KEEP_ALIVE_S = 30.0
_HANDSHAKE_S = 10
_HEADER_BYTES = 32 * 1024
#: Clients send nothing over a WebSocket.
_MESSAGE_BYTES = 4 * 1024
_PING_S = 20.0
_UNIX = "unix:"


class _Connection(trio.abc.HalfCloseableStream):
    """A connection whose other side has to take what is sent within a time, and that can be cut."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.socket = stream.socket
        self.scope = trio.CancelScope()

    def cut(self) -> None:
        """End it at once."""
        self.socket.close()
        self.scope.cancel()

    async def send_all(self, data: Any) -> None:
        try:
            with trio.fail_after(SEND_LIMIT_S):
                await self._stream.send_all(data)
        except trio.TooSlowError as error:
            self.cut()
            raise trio.BrokenResourceError("the client takes nothing") from error

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> Any:
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


class HttpServer:
    """A server on one listener. `url` and `address` are where; `closing` is set when it begins to end, so that streams end."""

    def __init__(self, listener: trio.SocketListener, url: str, tls: ssl.SSLContext | None) -> None:
        self.url = url
        self.address: Any = listener.socket.getsockname()
        self.closing = trio.Event()
        self._listener = listener
        self._tls = tls
        self._open: set[_Connection] = set()
        self._empty = trio.Event()
        self._context = WorkerContext(None)
        self._config = Config()
        self._config.accesslog = self._config.errorlog = None
        self._config.include_server_header = False
        self._config.keep_alive_timeout = _KEEP_ALIVE_S
        self._config.keep_alive_max_requests = 1_000_000
        self._config.ssl_handshake_timeout = _HANDSHAKE_S
        self._config.websocket_max_message_size = _MESSAGE_BYTES
        self._config.websocket_ping_interval = _PING_S
        self._config.h11_max_incomplete_size = self._config.h2_max_header_list_size = _HEADER_BYTES

    async def serve(self, app: Any) -> None:
        """Answer requests by the ASGI application `app` until `stop`, or until cancelled, which cuts every connection."""
        self._app = ASGIWrapper(app)
        try:
            async with trio.open_nursery() as connections:
                try:
                    async with trio.open_nursery() as accepting:
                        accepting.start_soon(self._accept, connections)
                        await self.closing.wait()
                        accepting.cancel_scope.cancel()
                    await self._context.terminated.set()
                    if self._open:
                        with trio.move_on_after(GRACE_S):
                            await self._empty.wait()
                finally:
                    for connection in list(self._open):
                        connection.cut()
                connections.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(self._listener)

    def stop(self) -> None:
        """Take no more connections; those that are open get `GRACE_S` to end."""
        self.closing.set()

    async def _accept(self, connections: trio.Nursery) -> None:
        await trio.serve_listeners(self._handle, [self._listener], handler_nursery=connections)

    async def _handle(self, stream: trio.SocketStream) -> None:
        connection = _Connection(stream)
        if len(self._open) >= _CONNECTIONS:
            await connection.aclose()
            return
        self._open.add(connection)
        try:
            outer: Any = connection
            if self._tls is not None:
                outer = trio.SSLStream(connection, self._tls, server_side=True, https_compatible=True)
            with connection.scope, suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await TCPServer(self._app, self._config, self._context, ConnectionState({}), outer)
        finally:
            self._open.discard(connection)
            if not self._open and self.closing.is_set():
                self._empty.set()


@asynccontextmanager
async def open_server(settings: Settings, root: Path) -> AsyncGenerator[HttpServer]:
    """A server that listens where `settings` say; nobody is answered before `HttpServer.serve`.

    Raises: ConfigError for what cannot be served; TinytownError with code ``address_in_use`` or ``cannot_listen``.
    """
    check_settings(settings)
    tls = _tls_context(settings, root)
    if settings.bind.startswith(_UNIX):
        path = open_state(root) / settings.bind.removeprefix(_UNIX)
        listener, url = _listen_on_path(path), f"http+unix://{path}"
    else:
        listener = await _listen_on_port(settings)
        host, port = listener.socket.getsockname()[:2]
        name = settings.bind if settings.bind == "localhost" else f"[{host}]" if ":" in host else host
        path, url = None, f"{'https' if tls else 'http'}://{name}:{port}"
    try:
        yield HttpServer(listener, url, tls)
    finally:
        with suppress(OSError):
            listener.socket.close()
        if path is not None:
            path.unlink(missing_ok=True)


def is_loopback(settings: Settings) -> bool:
    """Whether only this machine can reach where it listens."""
    return settings.bind.startswith(_UNIX) or _is_loopback(settings.bind.strip("[]"))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_settings(settings: Settings) -> None:
    """Raises: ConfigError for settings that would let in everybody, or that contradict each other."""
    if settings.auth == "none" and not is_loopback(settings):
        raise ConfigError(
            f"auth = 'none' would let everybody in who reaches {settings.bind}: expected a loopback address or unix:PATH",
            hint="leave out auth in [plugins.townhall] and make keys with: tt auth key create NAME",
            code="open_to_all",
        )
    for url in (settings.oidc.issuer, settings.oidc.jwks_url) if settings.oidc else ():
        check_issuer_url(url)
    if bool(settings.cert_file) != bool(settings.key_file) or (settings.client_ca_file and not settings.cert_file):
        raise ConfigError("expected cert_file and key_file together in [plugins.townhall], and both for client_ca_file")
    if settings.cert_file and settings.bind.startswith(_UNIX):
        raise ConfigError("a Unix socket is served without TLS: leave out cert_file and key_file in [plugins.townhall]")


def check_issuer_url(url: str) -> None:
    """Raises: ConfigError for an address whose answers could be another one's; an empty one is right."""
    parts = urlsplit(url)
    if url and not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))):
        raise ConfigError(
            f"expected an https address in [plugins.townhall.oidc], got {shown(url)!r}",
            hint="http is for an issuer on this machine",
        )


def _tls_context(settings: Settings, root: Path) -> ssl.SSLContext | None:
    if settings.cert_file is None or settings.key_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        context.load_cert_chain(root / settings.cert_file, root / settings.key_file)
        if settings.client_ca_file is not None:
            context.load_verify_locations(root / settings.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"cannot use the certificate or key of [plugins.townhall]: {error}", hint="they are files in PEM"
        ) from error
    return context


async def _listen_on_port(settings: Settings) -> trio.SocketListener:
    host = settings.bind.strip("[]")
    try:
        (family, kind, protocol, _, address), *_ = await trio.socket.getaddrinfo(
            host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ConfigError(f"expected an address of this machine at plugins.townhall.bind, got {host!r}") from error
    listener = trio.socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await listener.bind(address)
        listener.listen(_BACKLOG)
    except BaseException as error:
        listener.close()
        if isinstance(error, OSError):
            raise _cannot_listen(f"{host}, port {settings.port}", error) from error
        raise
    return trio.SocketListener(listener)


def _listen_on_path(path: Path) -> trio.SocketListener:
    """A listener on a Unix socket that only this user can open. One that nobody serves any more is replaced."""
    raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(OSError):
            if stat.S_ISSOCK(path.stat().st_mode) and not _answers(path):
                path.unlink()
        raw.bind(os.fspath(path))
        path.chmod(0o600)  # before it listens, so that nobody was let in
        raw.listen(_BACKLOG)
    except OSError as error:
        raw.close()
        raise _cannot_listen(str(path), error) from error
    return trio.SocketListener(trio.socket.from_stdlib_socket(raw))


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        return trial.connect_ex(os.fspath(path)) == 0


def _cannot_listen(where: str, error: OSError) -> TinytownError:
    if error.strerror and "in use" in error.strerror:
        return TinytownError(
            f"something else listens on {where}",
            hint="perhaps the town's kernel serves it already; else choose another with --port",
            code="address_in_use",
        )
    return TinytownError(f"cannot listen on {where}: {error.strerror or error}", code="cannot_listen")
