"""Connections: they end when they are asked to, whatever their other side does; and what is served where."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import stat
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from tinytown.errors import ConfigError, TinytownError
from tinytown_testing.shell import Shell
from tinytown_testing.towns import TownDirectory
from tinytown_townhall import routing, serving
from tinytown_townhall.service import TownhallService, open_townhall
from tinytown_townhall.settings import Settings

from plugins.townhall.tests.conftest import Client, eventually, open_client

_DEADLINE_S = 60


async def _ends(client: Client) -> None:
    """The server ends, and soon."""
    client.server.stop()
    await eventually(lambda: not client.server._open)


async def test_it_ends_with_open_streams(client: Client) -> None:
    async with client.stream("/v1/live") as live, client.stream("/v1/events/stream") as events:
        await anext(live)
        await _ends(client)
        assert [event async for event in events] == []
    with pytest.raises(OSError, match=r"refused|all attempts"):
        await client.connect()


async def test_it_ends_though_a_client_takes_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        await client.town.add_task(f"{number} " + "x" * 100_000)
    async with await client.connect() as stream:
        await stream.send_all(b"GET /v1/tasks?limit=300 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await eventually(lambda: client.server._open)
        await _ends(client)


async def test_a_client_that_takes_nothing_is_cut(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "SEND_LIMIT_S", 0.2)
    for number in range(300):
        await client.town.add_task(f"{number} " + "x" * 100_000)
    async with await client.connect() as stream:
        await stream.send_all(b"GET /v1/tasks?limit=300 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await eventually(lambda: client.server._open)
        await eventually(lambda: not client.server._open)
        assert (await client.ask("GET", "/health")).status == 200


async def test_cancelling_it_cuts_everything(town_dir: TownDirectory) -> None:
    with trio.fail_after(_DEADLINE_S):
        async with (
            town_dir.connect() as town,
            open_townhall(town, Settings(port=0, auth="none")) as townhall,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(townhall.serve)
            client = Client(*townhall)
            async with client.stream("/v1/live") as live:
                await anext(live)
                nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", 431),
        (b"GET /v1/agents/%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /v1/agents/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /..%2f..%2fetc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /../plugin.py HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /v1/tasks?limit=%f0%9f HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /v1/session HTTP/1.1\r\nHost: localhost\r\nCookie: \xff=\xfe; a; =\r\n\r\n", 200),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    ],
)
async def test_odd_requests_get_an_answer(client: Client, raw: bytes, status: int) -> None:
    assert (await client.send(raw)).status == status
    assert (await client.ask("GET", "/health")).status == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"{", b"[1", b'{"description": "\xff"}', b'{"description": "\\ud800"}', b"[" * 100_000, b"null", b'"x"', b"1e999",
        b'{"description": "a\\u0000b"}', b'{"description": 1}', b'{"description": "x", "tags": "y"}',
    ],
)  # fmt: skip
async def test_bad_bodies_are_problems(client: Client, raw: bytes) -> None:
    answer = await client.ask("POST", "/v1/tasks", raw=raw, headers={"Content-Type": "application/json"})
    assert answer.status == 400
    assert answer.code in ("usage", "bad_json")
    assert await client.town.tasks() == ()


async def test_a_body_has_a_size_and_a_time(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 2 * client.town.config.limits.message_bytes + 100_000
    head = {"Content-Type": "application/json"}
    assert (await client.ask("POST", "/v1/tasks", raw=b" " * limit, headers=head)).status == 413
    monkeypatch.setattr(routing, "_BODY_LIMIT_S", 0.2)
    slow = (
        b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
    )
    assert (await client.send(slow)).status == 408


async def test_a_thousand_idle_streams_are_kept(client: Client) -> None:
    count = 1_000
    async with trio.open_nursery() as nursery:
        streams: list[Any] = []
        got = 0
        opening = trio.Semaphore(50)  # so many at once wait to be accepted

        async def follow() -> None:
            nonlocal got
            async with contextlib.AsyncExitStack() as stack:
                async with opening:
                    events = await stack.enter_async_context(client.stream("/v1/events/stream"))
                streams.append(events)
                await anext(events)
                got += 1

        with trio.fail_after(_DEADLINE_S):
            for _ in range(count):
                nursery.start_soon(follow)
            await eventually(lambda: len(streams) == count)
            await client.town.add_task("wake")
            await eventually(lambda: got == count)


async def test_a_unix_socket_is_for_this_user_alone(town_dir: TownDirectory) -> None:
    with trio.fail_after(_DEADLINE_S):
        async with town_dir.connect() as town:
            path = town_dir.state / "hall.sock"
            async with open_client(town, bind="unix:hall.sock") as client:
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                assert client.address == str(path)
                assert (await client.ask("GET", "/health", headers={"Host": "anything"})).status == 200
                with pytest.raises(TinytownError) as raised:
                    async with open_townhall(town, Settings(bind="unix:hall.sock")):
                        pass
                assert raised.value.code == "address_in_use"
            assert not path.exists()
            path.touch()
            with pytest.raises(TinytownError):  # a file that is no socket stays
                async with open_townhall(town, Settings(bind="unix:hall.sock")):
                    pass
            assert path.exists()


async def test_a_socket_that_a_killed_one_left_is_replaced(town_dir: TownDirectory) -> None:
    import socket

    with trio.fail_after(_DEADLINE_S):
        async with town_dir.connect() as town:
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(str(town_dir.state / "hall.sock"))
            async with open_client(town, bind="unix:hall.sock") as client:
                assert (await client.ask("GET", "/health")).status == 200


async def test_tls_is_served_and_clients_may_have_to_show_a_certificate(town_dir: TownDirectory) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("localhost")
    cert, key, ca = (town_dir.root / name for name in ("cert.pem", "key.pem", "ca.pem"))
    own.cert_chain_pems[0].write_to_path(cert)
    own.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    context = ssl.create_default_context(cafile=ca)
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    async def ask(client: Client) -> bytes:
        stream = trio.SSLStream(await client.connect(), context, server_hostname="localhost", https_compatible=True)
        async with stream:
            await stream.send_all(request)
            return await stream.receive_some()

    with trio.fail_after(_DEADLINE_S):
        async with town_dir.connect() as town:
            settings = {"cert_file": "cert.pem", "key_file": "key.pem"}
            async with open_client(town, **settings) as client:
                assert client.server.url.startswith("https://")
                assert (await ask(client)).startswith(b"HTTP/1.1 200")
                assert (await client.send(request)).status == 0
            async with open_client(town, **settings, client_ca_file="ca.pem") as client:
                with suppress(trio.BrokenResourceError, ssl.SSLError):
                    assert await ask(client) == b""
                authority.issue_cert("me").configure_cert(context)
                assert (await ask(client)).startswith(b"HTTP/1.1 200")
            with pytest.raises(ConfigError):
                async with open_townhall(town, Settings(port=0, cert_file="ca.pem", key_file="nothing.pem")):
                    pass


async def test_a_taken_port_is_an_error_that_says_so(client: Client) -> None:
    with pytest.raises(TinytownError) as raised:
        async with open_townhall(client.town, Settings(port=client.address[1], auth="none")):
            pass
    assert raised.value.code == "address_in_use"


async def test_the_kernel_serves_it_where_it_is_enabled(town_dir: TownDirectory) -> None:
    town_dir.configure('[plugins.townhall]\nenabled = true\nbind = "unix:hall.sock"\nauth = "none"')
    with trio.fail_after(_DEADLINE_S):
        async with town_dir.open():
            await eventually((town_dir.state / "hall.sock").exists)
            async with await trio.open_unix_socket(town_dir.state / "hall.sock") as stream:
                await stream.send_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        assert not (town_dir.state / "hall.sock").exists()


async def test_the_service_keeps_the_promises_of_the_kit(no_kernel: None) -> None:
    from tinytown_testing import check_service

    report = await check_service(lambda: TownhallService(Settings(port=0)))
    report.raise_if_broken()


# -- the command -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_stop(tt: Shell, number: int) -> None:
    tt("init")
    with tt.start("townhall", "--port", "0", "--json") as process:
        try:
            assert process.stdout is not None
            import json

            reported = json.loads(process.stdout.readline())
            assert reported["url"].startswith("http://127.0.0.1:")
            assert reported["pid"] == process.pid
            process.send_signal(number)
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_a_wrong_setting_or_place_is_an_error(tt: Shell) -> None:
    assert tt("townhall", "--json", code=3).error["code"] == "not_found"
    tt("init")
    assert tt("townhall", "--bind", "not an address", "--json", code=2).error["code"] == "config"
    config = tt.directory / "tinytown.toml"
    config.write_text(config.read_text() + '\n[plugins.townhall]\nauth = "none"\nbind = "0.0.0.0"\n')
    assert tt("townhall", "--json", code=2).error["code"] == "open_to_all"
    config.write_text(config.read_text().replace('bind = "0.0.0.0"', "odd = 1"))
    assert "plugins.townhall.odd" in tt("townhall", "--json", code=2).error["message"]


def test_an_agent_cannot_serve_or_sign_in(tt: Shell) -> None:
    tt("init")
    round_ = {"TINYTOWN_ROUND_ID": "r1", "TINYTOWN_AGENT_ID": "a1", "TINYTOWN_TOWN": str(tt.directory)}
    assert tt("townhall", "--json", code=4, env=round_).error["code"] == "refused"
    assert tt("auth", "link", "--json", code=4, env=round_).error["code"] == "refused"


def test_the_link_reaches_the_browser_without_being_an_argument(tt: Shell, tmp_path: Path) -> None:
    tt("init")
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {opened}.new && mv {opened}.new {opened}\n')
    browser.chmod(0o700)
    process = subprocess.Popen(
        tt.argv("townhall", "--port", "0", "--open"),
        cwd=tt.directory,
        env={**tt.variables, "BROWSER": str(browser)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert "http://127.0.0.1:" in process.stdout.readline()
        import time

        deadline = time.monotonic() + 30
        while not opened.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        words = opened.read_text()
        assert "code=" not in words
        page = Path(words.strip().removeprefix("file://"))
        assert "#code=" in page.read_text()
        assert stat.S_IMODE(os.stat(page).st_mode) == 0o600
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stdout is not None
        process.stdout.close()
