"""From an address to a connection that is ready for requests, under trio: socket, TLS, handshake. Knows no requests."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

import trio

from tinytown.errors import ServerUnreachable
from tinytown.protocol.operation import Reply
from tinytown.redis.resp import Parser, check_handshake, connect_error, pack
from tinytown.redis.url import Address

#: A server that does not accept and introduce itself within this time is treated as not there.
CONNECT_TIMEOUT_S = 10.0
RECEIVE_SIZE_BYTES = 64 * 1024

# A link that only listens would never notice that the other machine is gone; names that this system lacks are left out.
_KEEPALIVE_S = {"TCP_KEEPIDLE": 30, "TCP_KEEPALIVE": 30, "TCP_KEEPINTVL": 10}


@dataclass(frozen=True)
class Connection:
    """A stream past its handshake, the parser that has seen all its bytes so far, and the server's version."""

    stream: trio.abc.Stream
    parser: Parser
    version: str


async def open_connection(address: Address, tls: ssl.SSLContext | None) -> Connection:
    """A connection to `address`, whose stream the caller owns; `tls` is for ``rediss`` only.

    Raises: ServerUnreachable with the codes of `resp.connect_error` and `resp.check_handshake`; ProtocolViolation.
    """
    try:
        with trio.fail_after(CONNECT_TIMEOUT_S):
            stream = await _open_stream(address, tls)
            try:
                return await _handshake(address, stream)
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
    except trio.TooSlowError as error:
        raise ServerUnreachable(
            f"{address.redacted} did not answer within {CONNECT_TIMEOUT_S:g} s", hint="is it up, and not frozen?"
        ) from error
    except (OSError, trio.BrokenResourceError) as error:
        raise connect_error(error, address) from error


async def _open_stream(address: Address, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    if address.scheme == "unix":
        return await trio.open_unix_socket(address.path)
    stream = await trio.open_tcp_stream(address.host, address.port)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in _KEEPALIVE_S.items():
        if (option := getattr(socket, name, None)) is not None:
            stream.setsockopt(socket.IPPROTO_TCP, option, seconds)
    if tls is None:
        return stream
    secured = trio.SSLStream(stream, tls, server_hostname=address.host, https_compatible=True)
    try:
        await secured.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secured


async def _handshake(address: Address, stream: trio.abc.Stream) -> Connection:
    commands = address.handshake()
    parser = Parser(address)
    await stream.send_all(b"".join(map(pack, commands)))
    answers: list[Reply] = []
    while len(answers) < len(commands):
        data = await stream.receive_some(RECEIVE_SIZE_BYTES)
        if not data:
            # The server may have sent only an error ("max number of clients reached"), which explains more.
            check_handshake(address, answers)
            raise ServerUnreachable(f"{address.redacted} closed the connection while we introduced ourselves")
        answers.extend(parser.replies(data))
    return Connection(stream, parser, check_handshake(address, answers))
