"""Both clients over TLS, against a real server behind a proxy that terminates it."""

from __future__ import annotations

import functools
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from tinytown.errors import ProtocolViolation, ServerUnreachable
from tinytown.redis.link import open_link
from tinytown.redis.url import Address, parse_url
from tinytown_cli.blocking_client import BlockingClient

Ping = Callable[[Address], Awaitable[Any]]


async def ping_by_link(address: Address) -> Any:
    async with open_link(address) as link:
        return await link.command("PING")


async def ping_by_light_client(address: Address) -> Any:
    with BlockingClient(address) as client:
        return await trio.to_thread.run_sync(functools.partial(client.command, "PING"))


@pytest.fixture(params=[ping_by_link, ping_by_light_client], ids=["link", "light"])
def ping(request: pytest.FixtureRequest) -> Ping:
    chosen: Ping = request.param
    return chosen


class Files:
    """A CA, and what it has issued to the server and to us."""

    def __init__(self, home: Path) -> None:
        self.ca = trustme.CA()
        self.ca_file = str(home / "ca.pem")
        self.ca.cert_pem.write_to_path(self.ca_file)
        ours = self.ca.issue_cert("tinytown.example")
        self.cert_file, self.key_file = str(home / "cert.pem"), str(home / "key.pem")
        ours.cert_chain_pems[0].write_to_path(self.cert_file)
        ours.private_key_pem.write_to_path(self.key_file)

    def server_context(self, *, wants_ours: bool = False, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert("127.0.0.1").configure_cert(context)
        if wants_ours:
            self.ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        if newest is not None:
            context.maximum_version = newest
        return context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def test_a_server_that_the_ca_vouches_for_is_talked_to(
    server: Any, open_tcp_proxy: Callable[..., Any], files: Files, ping: Ping
) -> None:
    async with open_tcp_proxy(server.address, files.server_context()) as port:
        assert await ping(parse_url(f"rediss://127.0.0.1:{port}", ca_file=files.ca_file)) == b"PONG"


async def test_an_unknown_ca_is_a_bad_certificate(
    server: Any, open_tcp_proxy: Callable[..., Any], files: Files, ping: Ping
) -> None:
    async with open_tcp_proxy(server.address, files.server_context()) as port:
        with pytest.raises(ServerUnreachable, match="is not trusted") as caught:
            await ping(parse_url(f"rediss://u:secret@127.0.0.1:{port}"))
    assert caught.value.code == "bad_certificate"
    assert "secret" not in str(caught.value)
    assert "ca_file" in caught.value.hint


async def test_a_certificate_for_another_host_is_a_bad_certificate(
    server: Any, open_tcp_proxy: Callable[..., Any], files: Files, ping: Ping
) -> None:
    async with open_tcp_proxy(server.address, files.server_context()) as port:
        with pytest.raises(ServerUnreachable, match="is not trusted") as caught:
            await ping(parse_url(f"rediss://localhost:{port}", ca_file=files.ca_file))
    assert caught.value.code == "bad_certificate"


VERSIONS = pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@VERSIONS
async def test_a_server_that_wants_our_certificate_gets_it(
    server: Any, open_tcp_proxy: Callable[..., Any], files: Files, ping: Ping, newest: ssl.TLSVersion
) -> None:
    async with open_tcp_proxy(server.address, files.server_context(wants_ours=True, newest=newest)) as port:
        ours = {"ca_file": files.ca_file, "cert_file": files.cert_file, "key_file": files.key_file}
        assert await ping(parse_url(f"rediss://127.0.0.1:{port}", **ours)) == b"PONG"


@VERSIONS
async def test_a_server_that_wants_our_certificate_and_gets_none_says_so(
    files: Files, ping: Ping, newest: ssl.TLSVersion
) -> None:
    context = files.server_context(wants_ours=True, newest=newest)

    def refuse(listening: socket.socket) -> None:
        # Not trio's stream: that keeps the alert to itself, which a real server sends.
        listening.settimeout(10)
        client, _ = listening.accept()
        with context.wrap_socket(client, server_side=True, do_handshake_on_connect=False) as tls:
            with pytest.raises(ssl.SSLError):
                tls.do_handshake()
            with suppress(OSError):
                while socket.socket.recv(tls, 65536):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, refuse, listening)
            with pytest.raises(ServerUnreachable, match="did not accept our certificate") as caught:
                await ping(parse_url(f"rediss://127.0.0.1:{listening.getsockname()[1]}", ca_file=files.ca_file))
    assert caught.value.code == "bad_certificate"
    assert "cert_file" in caught.value.hint


async def test_a_server_without_tls_is_told(
    server: Any, open_tcp_proxy: Callable[..., Any], open_tcp_service: Callable[..., Any], files: Files, ping: Ping
) -> None:
    async def answer_plainly(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"-ERR Protocol error: unauthenticated multibulk length\r\n")

    async with open_tcp_proxy(server.address) as port:
        assert await ping(parse_url(f"redis://127.0.0.1:{port}")) == b"PONG"
    async with open_tcp_service(answer_plainly) as port:
        with pytest.raises(ServerUnreachable, match="does not speak TLS") as caught:
            await ping(parse_url(f"rediss://127.0.0.1:{port}", ca_file=files.ca_file))
    assert caught.value.code == "server_refused"


async def test_a_server_that_wants_tls_is_told(
    server: Any, open_tcp_proxy: Callable[..., Any], files: Files, ping: Ping
) -> None:
    async with open_tcp_proxy(server.address, files.server_context()) as port:
        with pytest.raises((ProtocolViolation, ServerUnreachable)) as caught:
            await ping(parse_url(f"redis://127.0.0.1:{port}"))
    assert str(port) in str(caught.value)
