"""Connections of a box to the world, made on its behalf: to the town's sockets, and to the hosts of a list.

Standard library only; a thread for each connection. What listens was made in the box and is answered outside: the box
itself has no network but its own loopback. The proxy speaks HTTP: CONNECT, and GET and the like of a whole URL.
Source: RFC 9110, section 9.3.6; RFC 9112, sections 2.2 and 3.2.2.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

_HEAD_LIMIT_BYTES = 64 << 10
_CONNECT_S = 20.0
_CHUNK_BYTES = 64 << 10
_PORTS = {"http": 80, "https": 443}
_MOST = 256

#: Makes the connection that a new one is to continue with, and says what is to be sent on it first; None closes it.
Dial = Callable[[socket.socket], "tuple[socket.socket, bytes] | None"]


def serve_unix(listener: socket.socket, path: str) -> None:
    """Connect whoever connects to `listener` to the socket at `path`, each time anew: it may be another server's by then."""

    def dial(_: socket.socket) -> tuple[socket.socket, bytes]:
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(path)
        return upstream, b""

    _serve(listener, dial)


def serve_hosts(listener: socket.socket, hosts: Sequence[str]) -> None:
    """Be a proxy to these hosts at `listener`."""
    _serve(listener, lambda client: _dial_host(client, hosts))


def is_allowed(host: str, port: int, hosts: Sequence[str]) -> bool:
    """Whether the list has this host. An entry without a port stands for the ports of HTTP and HTTPS."""
    host = host.lower().rstrip(".")
    for entry in hosts:
        name, its_port = split_host(entry, None)
        name = name.lower()
        if port not in (_PORTS.values() if its_port is None else (its_port,)):
            continue
        if host == name or (name.startswith("*.") and host.endswith(name[1:])):
            return True
    return False


def split_host(text: str, port: int | None) -> tuple[str, int | None]:
    """Host and port of ``host``, ``host:port`` or ``[address]:port``. Raises: ValueError."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, int(rest[1:]) if rest.startswith(":") else port
    host, colon, rest = text.partition(":")
    return host, int(rest) if colon else port


def _serve(listener: socket.socket, dial: Dial) -> None:
    places = threading.BoundedSemaphore(_MOST)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            places.acquire()
            threading.Thread(target=_relay, args=(client, dial, places), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def _relay(client: socket.socket, dial: Dial, places: threading.BoundedSemaphore) -> None:
    upstream = None
    try:
        dialled = dial(client)
        if dialled is None:
            return
        upstream, first = dialled
        upstream.sendall(first)
        back = threading.Thread(target=_pump, args=(upstream, client), daemon=True)
        back.start()
        _pump(client, upstream)
        back.join()
    except (OSError, ValueError):
        pass
    finally:
        client.close()
        if upstream is not None:
            upstream.close()
        places.release()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Copy one direction to its end; then the other side reads that end, too."""
    with suppress(OSError):
        while chunk := source.recv(_CHUNK_BYTES):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _dial_host(client: socket.socket, hosts: Sequence[str]) -> tuple[socket.socket, bytes] | None:
    client.settimeout(_CONNECT_S)
    head, rest = _read_head(client)
    first, *lines = head.split("\r\n")
    method, target, version = first.split(" ")
    if method == "CONNECT":
        host, port = split_host(target, _PORTS["https"])
        forward = rest
    else:
        scheme, _, rest_of_url = target.partition("://")
        authority, slash, path = rest_of_url.partition("/")
        if scheme != "http" or "@" in authority or "\r" in first or "\n" in first:
            _refuse(client, "400 Bad Request", "expected CONNECT host:port or the whole URL of an http resource")
            return None
        host, port = split_host(authority, _PORTS["http"])
        start = f"{method} /{path if slash else ''} {version}"
        # The host that was looked at, whatever the request says; and one request for each connection.
        request = [start, f"Host: {authority}", *filter(_goes_on, lines), "Connection: close"]
        forward = ("\r\n".join(request) + "\r\n\r\n").encode("latin-1") + rest
    assert port is not None
    if not is_allowed(host, port, hosts):
        _refuse(client, "403 Forbidden", f"{host}:{port} is not in network of [plugins.sandbox]")
        return None
    try:
        upstream = _connect(host, port, hosts)
    except OSError as error:
        _refuse(client, "502 Bad Gateway", f"cannot connect to {host}:{port}: {error}")
        return None
    client.settimeout(None)
    if method == "CONNECT":
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    return upstream, forward


def _goes_on(line: str) -> bool:
    """Whether a line of a head is for the host. What it could read as several lines, or as part of another, is not."""
    name = line.partition(":")[0].strip().lower()
    is_odd = line.startswith((" ", "\t")) or "\r" in line or "\n" in line
    return not is_odd and not name.startswith("proxy-") and name not in ("", "connection", "keep-alive", "host")


def _read_head(client: socket.socket) -> tuple[str, bytes]:
    """The lines before the first empty one, and what came after it. Raises: ValueError, OSError."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = client.recv(_CHUNK_BYTES)
        if not chunk or len(received) > _HEAD_LIMIT_BYTES:
            raise ValueError("expected the head of a request")
        received += chunk
    head, _, rest = received.partition(b"\r\n\r\n")
    return head.decode("latin-1"), rest


def _connect(host: str, port: int, hosts: Sequence[str]) -> socket.socket:
    """A connection to a host. A name of the list must not lead to this machine or to the cloud's own services.

    Raises: OSError.
    """
    literal = {split_host(entry, None)[0].lower() for entry in hosts if not entry.startswith("*")}
    last: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        near = ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast
        if near and not (host.lower() in literal and (host == "localhost" or _is_address(host))):
            last = PermissionError(f"its name leads to {ip}, which is on this machine or beside it")
            continue
        upstream = socket.socket(family, kind, protocol)
        try:
            upstream.settimeout(_CONNECT_S)
            upstream.connect(address)
        except OSError as error:
            last = error
            upstream.close()
        else:
            upstream.settimeout(None)
            return upstream
    raise last or OSError("no address")


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.ip_address(host))
    return False


def _refuse(client: socket.socket, status: str, why: str) -> None:
    body = f"tinytown-sandbox: {why}{os.linesep}".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    client.sendall(head.encode() + body)
