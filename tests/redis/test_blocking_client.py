from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import trio
from tinytown.errors import ConfigError, ProtocolViolation, ServerUnreachable, TinytownError, Unconfirmed, UsageError
from tinytown.protocol.operation import Operation
from tinytown.redis.url import Address, parse_url
from tinytown_cli.blocking_client import BlockingClient

pytestmark = pytest.mark.timeout(30)


def echo(text: str) -> Operation[str]:
    return Operation(("ECHO", text), bytes.decode)


def increment(key: str) -> Operation[int]:
    return Operation(("INCR", key), int, repeatable=False)


def test_it_connects_when_first_used_and_answers_calls(server: Any) -> None:
    with BlockingClient(server.address) as client:
        assert client.server_version == ""
        assert client.run(increment("n")) == 1
        assert client.command("GET", "n") == b"1"
        assert int(client.server_version.split(".")[0]) >= 7
        assert b"name=tinytown" in client.command("CLIENT", "INFO")
    assert client.run(echo("connects again after it was closed")).startswith("connects")
    client.close()


def test_run_all_gives_each_its_result_or_error(server: Any) -> None:
    with BlockingClient(server.address) as client:
        first, second, third = client.run_all([echo("a"), Operation(("NO-SUCH",), int), increment("n")])
        assert (first, third) == ("a", 1)
        assert isinstance(second, ProtocolViolation)
        assert client.run_all([]) == []
        big = "x" * 3_000_000
        assert client.run_all([echo(big)] * 3) == [big] * 3


def test_errors_are_raised_and_the_connection_stays_usable(server: Any) -> None:
    with BlockingClient(server.address) as client:
        with pytest.raises(ProtocolViolation, match="unknown command"):
            client.command("NO-SUCH")
        with pytest.raises(ProtocolViolation, match="cannot understand"):
            client.run(Operation(("ECHO", "word"), int))
        with pytest.raises(UsageError):
            client.command("ECHO", "\udcff")
        assert client.command("PING") == b"PONG"


def test_refusals_have_the_same_codes_as_the_links(server: Any) -> None:
    server.command("ACL", "SETUSER", "bob", "on", ">right", "~*", "+@all")
    path = server.address.path
    for url, code in [
        (f"unix://bob:wrong@{path}", "wrong_password"),
        (f"unix://{path}?db=99", "no_such_database"),
        (f"unix://{path}.not-there", "server_unreachable"),
        ("redis://u:secret@127.0.0.1:1", "server_unreachable"),
    ]:
        with BlockingClient(parse_url(url)) as client, pytest.raises(ServerUnreachable) as caught:
            client.connect()
        assert caught.value.code == code
        assert "secret" not in str(caught.value)
    with BlockingClient(parse_url(f"unix://bob:right@{path}?db=2")) as client:
        assert b"db=2" in client.command("CLIENT", "INFO")


def test_a_read_only_replica_has_its_own_code(own_server: Any) -> None:
    own_server.command("REPLICAOF", "127.0.0.1", "1")
    with BlockingClient(own_server.address) as client, pytest.raises(ServerUnreachable) as caught:
        client.command("SET", "k", 1)
    assert caught.value.code == "server_read_only"


def test_a_call_that_blocks_has_a_time_limit_of_its_own(server: Any) -> None:
    with BlockingClient(server.address, timeout_s=0.1) as client:
        assert client.command("BLPOP", "empty", 0.3, timeout_s=5) is None
        assert client.command("BLPOP", "empty", 0.2, timeout_s=math.inf) is None
        began = time.monotonic()
        with pytest.raises(Unconfirmed, match="did not answer in time"):
            client.command("BLPOP", "empty", 0)
        assert time.monotonic() - began < 2
        assert client.command("PING") == b"PONG", "the late answer must not be taken for this one's"


def test_a_frozen_server_is_told_within_the_time_limit(own_server: Any) -> None:
    with BlockingClient(own_server.address, timeout_s=0.2) as client:
        client.connect()
        own_server.freeze()
        with pytest.raises(Unconfirmed, match="did not answer in time"):
            client.run(echo("repeatable, but time is over"))
        with pytest.raises(ServerUnreachable, match="did not answer in time"):
            client.run(echo("not even a handshake"))
        own_server.thaw()
        assert client.run(echo("back")) == "back"


def test_a_repeatable_call_is_sent_again_over_a_new_connection_and_others_are_not(own_server: Any) -> None:
    with BlockingClient(own_server.address) as client:
        client.connect()
        own_server.kill()
        own_server.start()
        assert client.run(echo("again")) == "again"
        own_server.kill()
        own_server.start()
        with pytest.raises(Unconfirmed):
            client.run(increment("n"))
        assert client.run(increment("n")) == 1
        own_server.kill()
        with pytest.raises(Unconfirmed, match="cannot reach"):
            client.run(echo("handed over to the dead, and nobody after them"))
        with pytest.raises(ServerUnreachable, match="cannot reach") as caught:
            client.run(echo("handed over to nobody"))
        assert caught.value.code == "server_unreachable"


def test_connect_waits_while_the_server_is_loading_but_not_for_ever(own_server: Any) -> None:
    own_server.restart_loading()
    with BlockingClient(own_server.address, timeout_s=1) as client, pytest.raises(ServerUnreachable) as caught:
        client.connect()
    assert caught.value.code == "server_loading"
    with BlockingClient(own_server.address, timeout_s=20) as client:
        timer = threading.Timer(0.1, own_server.finish_loading)
        timer.start()
        client.connect()
        timer.join()
        assert client.command("DBSIZE") == 4000


def test_an_interrupted_read_does_not_leave_its_reply_to_the_next_call(server: Any) -> None:
    class Interrupting(Exception):
        pass

    with BlockingClient(server.address) as client:
        client.connect()

        def interrupt(_: int) -> bytes:
            raise Interrupting

        client._socket = InterruptedSocket(client._socket, interrupt)  # type: ignore[assignment]
        with pytest.raises(Interrupting):
            client.run(echo("mine"))
        assert client.run(echo("next")) == "next"


class InterruptedSocket:
    """A socket whose reads are interrupted, as by Ctrl-C."""

    def __init__(self, inner: Any, recv: Callable[[int], bytes]) -> None:
        self._inner, self.recv = inner, recv

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def test_push_messages_are_passed_over(server: Any) -> None:
    with BlockingClient(server.address) as client:
        client.command("CLIENT", "TRACKING", "ON", "BCAST")
        server.command("SET", "k", 1)
        assert client.command("GET", "k") == b"1"


async def in_thread(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return await trio.to_thread.run_sync(functools.partial(work, *args, **kwargs), abandon_on_cancel=True)


@pytest.mark.parametrize(
    ("greeting", "match"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak the Redis protocol"),
        (b"-ERR unknown command 'HELLO'\r\n" * 3, "too old"),
        (b"-DENIED Redis is running in protected mode. Do 1) this 2) that\r\n", "refused us"),
        (b"", "closed the connection"),
        (b"%1\r\n+version\r\n+7.0.0\r\n+OK\r\n+PONG\r\n+AND\r\n", "answers no request"),
    ],
)
async def test_whatever_else_answers_is_told_clearly(
    open_tcp_service: Callable[..., Any], greeting: bytes, match: str
) -> None:
    async def greet(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(greeting)
        await stream.aclose()

    async with open_tcp_service(greet) as port:
        client = BlockingClient(parse_url(f"redis://127.0.0.1:{port}"), timeout_s=1)
        with pytest.raises((ServerUnreachable, ProtocolViolation), match=match):
            await in_thread(client.connect)


async def test_a_wait_for_loading_that_runs_out_of_time_says_loading(open_tcp_service: Callable[..., Any]) -> None:
    connections = 0

    async def load(stream: trio.abc.Stream) -> None:
        nonlocal connections
        connections += 1
        await stream.receive_some()
        if connections > 1:
            await trio.sleep_forever()
        await stream.send_all(b"%1\r\n+version\r\n+9.0.0\r\n+OK\r\n-LOADING dataset\r\n")

    async with open_tcp_service(load) as port:
        with pytest.raises(ServerUnreachable, match="is still loading") as caught:
            await in_thread(BlockingClient(parse_url(f"redis://127.0.0.1:{port}"), timeout_s=0.3).connect)
    assert caught.value.code == "server_loading"
    assert connections == 2


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_a_cut_at_any_byte_neither_mixes_up_replies_nor_repeats_what_must_not_be(
    server: Any, open_proxy: Callable[..., Any], direction: str
) -> None:
    def exchange(address: Address, name: str) -> list[Any]:
        with BlockingClient(address, timeout_s=20) as client:
            try:
                client.connect()
            except TinytownError:
                client.connect()  # only the first connection is cut
            results = client.run_all([echo(f"{name}:a"), increment(name), echo(f"{name}:b")])
            return [*results, client.run(echo(f"{name}:last"))]

    async with open_proxy(server.address) as proxy:
        await in_thread(exchange, proxy.address, "measured")
        length = proxy.passed[direction]
    confirmed = unconfirmed = 0

    async def cut_at(position: int, places: trio.CapacityLimiter) -> None:
        nonlocal confirmed, unconfirmed
        name = f"cut{position:05}"
        async with places, open_proxy(server.address, cut_at=(direction, position)) as proxy:
            a, count, b, last = await in_thread(exchange, proxy.address, name)
        assert (a, b, last) == (f"{name}:a", f"{name}:b", f"{name}:last")
        stored = int(await in_thread(server.command, "GET", name) or 0)
        if isinstance(count, Unconfirmed):
            unconfirmed += 1
            assert stored in (0, 1)
        else:
            confirmed += 1
            assert (count, stored) == (1, 1)

    async with trio.open_nursery() as nursery:
        places = trio.CapacityLimiter(8)
        for position in range(length):
            nursery.start_soon(cut_at, position, places)
    assert confirmed > 50
    assert unconfirmed > 5


async def test_replies_in_single_bytes_are_the_same_replies(server: Any, open_proxy: Callable[..., Any]) -> None:
    async with open_proxy(server.address, piece_size=1) as proxy:
        with BlockingClient(proxy.address) as client:
            assert await in_thread(client.run_all, [echo("a"), echo("b")]) == ["a", "b"]


def test_a_missing_certificate_file_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"no-such\.pem"):
        parse_url("rediss://127.0.0.1:1", ca_file="no-such.pem").ssl_context()
