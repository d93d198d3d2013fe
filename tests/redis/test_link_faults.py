"""What the link does when the connection breaks: at every byte, in the middle of everything, for ever."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from tinytown.errors import ProtocolViolation, ServerUnreachable, TinytownError, Unconfirmed
from tinytown.protocol.operation import Operation
from tinytown.redis import link as link_module
from tinytown.redis.link import Link, open_link
from tinytown.redis.pipeline import MAX_SENDS
from tinytown.redis.url import Address


def echo(text: str) -> Operation[str]:
    return Operation(("ECHO", text), bytes.decode)


def increment(key: str) -> Operation[int]:
    return Operation(("INCR", key), int, repeatable=False)


async def reconnected(link: Link, generation: int) -> None:
    while link.generation < generation or not link.connected:  # noqa: ASYNC110  polling a state is all there is
        await trio.sleep(0.001)


async def answer_or_error(link: Link, operation: Operation[Any], into: dict[str, Any], name: str) -> None:
    try:
        into[name] = await link.run(operation)
    except TinytownError as error:
        into[name] = error


async def exchange(link: Link, name: str) -> dict[str, Any]:
    """Repeatable and other calls at once, then one more, to see that the link is still in step."""
    got: dict[str, Any] = {}
    async with trio.open_nursery() as nursery:
        for part in ("a", "b"):
            nursery.start_soon(answer_or_error, link, echo(f"{name}:{part}"), got, part)
            nursery.start_soon(answer_or_error, link, increment(f"{name}:{part}"), got, f"count {part}")
        nursery.start_soon(link.subscribe, name)
    got["last"] = await link.run(echo(f"{name}:last"))
    return got


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_a_cut_at_any_byte_neither_mixes_up_replies_nor_repeats_what_must_not_be(
    server: Any, open_proxy: Callable[..., Any], direction: str
) -> None:
    async with open_proxy(server.address) as proxy, open_link(proxy.address) as link:
        await exchange(link, "measured")
        length = proxy.passed[direction]
    assert length > 150
    confirmed = unconfirmed = 0

    async def cut_at(position: int, places: trio.CapacityLimiter) -> None:
        nonlocal confirmed, unconfirmed
        name = f"cut{position:05}"
        async with places, open_proxy(server.address, cut_at=(direction, position)) as proxy:
            messages: list[tuple[bytes, bytes]] = []
            async with open_link(proxy.address, on_push=lambda *message: messages.append(message)) as link:
                got = await exchange(link, name)
                assert (got["a"], got["b"], got["last"]) == (f"{name}:a", f"{name}:b", f"{name}:last")
                # The server may not have seen yet that the first connection, with its subscription, is gone.
                assert await link.command("PUBLISH", name, "heard") in (1, 2)
                assert messages == [(name.encode(), b"heard")]
            assert proxy.connections == 2
        for part in ("a", "b"):
            count = int(await control.command("GET", f"{name}:{part}") or 0)
            if isinstance(got[f"count {part}"], Unconfirmed):
                unconfirmed += 1
                assert count in (0, 1)
            else:
                confirmed += 1
                assert (got[f"count {part}"], count) == (1, 1)

    async with open_link(server.address) as control, trio.open_nursery() as nursery:
        places = trio.CapacityLimiter(20)
        for position in range(length):
            nursery.start_soon(cut_at, position, places)
    assert confirmed > 100  # cut during the introduction, or after the answer
    assert unconfirmed > 10


async def test_an_exchange_split_into_single_bytes_is_the_same_exchange(
    server: Any, open_proxy: Callable[..., Any]
) -> None:
    async with open_proxy(server.address, piece_size=1) as proxy, open_link(proxy.address) as link:
        got = await exchange(link, "split")
        assert got == {"a": "split:a", "b": "split:b", "count a": 1, "count b": 1, "last": "split:last"}
        assert link.generation == 1


async def test_cutting_again_and_again_under_load_loses_and_doubles_nothing(
    server: Any, open_proxy: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "_STEADY_S", 0)  # or the delays would grow with every cut
    counted: dict[int, int] = {}
    doubtful: dict[int, int] = {}

    async def work(link: Link, task: int) -> None:
        for number in range(30):
            assert await link.run(echo(f"{task}:{number}")) == f"{task}:{number}"
            try:
                counted[task] = await link.run(increment(f"n{task}"))
            except Unconfirmed:
                doubtful[task] = doubtful.get(task, 0) + 1

    async with open_proxy(server.address) as proxy, open_link(proxy.address) as link:
        async with trio.open_nursery() as cutting:

            async def cut() -> None:
                while True:
                    await reconnected(link, link.generation)
                    seen = proxy.passed["down"]
                    while proxy.passed["down"] < seen + 2000:
                        await trio.lowlevel.checkpoint()
                    await proxy.cut()

            cutting.start_soon(cut)
            async with trio.open_nursery() as nursery:
                for task in range(50):
                    nursery.start_soon(work, link, task)
            cutting.cancel_scope.cancel()
        assert link.generation > 3
    for task in range(50):
        final = int(server.command("GET", f"n{task}"))
        assert 30 - doubtful.get(task, 0) <= final <= 30


async def test_a_repeatable_call_that_breaks_every_connection_is_given_up(open_tcp_service: Callable[..., Any]) -> None:
    from tinytown.redis.url import parse_url

    handed_over = 0

    async def serve(stream: trio.abc.Stream) -> None:
        nonlocal handed_over
        await stream.receive_some()
        await stream.send_all(b"%1\r\n+version\r\n+9.0.0\r\n+OK\r\n+PONG\r\n")
        handed_over += bool(await stream.receive_some())

    async with open_tcp_service(serve) as port, open_link(parse_url(f"redis://127.0.0.1:{port}")) as link:
        with pytest.raises(Unconfirmed, match="closed the connection"):
            await link.run(echo("poison"))
    assert handed_over == MAX_SENDS


# -- outages ---------------------------------------------------------------------------------------------


async def test_calls_wait_out_an_outage_and_the_impatient_are_told(own_server: Any) -> None:
    async with open_link(own_server.address, offline_wait_s=0.3) as link:
        own_server.kill()
        await wait_until_lost(link)
        began = trio.current_time()
        with pytest.raises(ServerUnreachable, match="cannot reach unix:///") as caught:
            await link.command("PING")
        assert not isinstance(caught.value, Unconfirmed)
        assert 0.25 < trio.current_time() - began < 3
        got: dict[str, Any] = {}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_or_error, link, echo("later"), got, "later")
            await trio.testing.wait_all_tasks_blocked(0.001)
            own_server.start()
        assert got == {"later": "later"}


async def test_patience_counts_from_the_loss_for_what_was_asked_long_before(own_server: Any) -> None:
    got: dict[str, Any] = {}
    async with open_link(own_server.address, offline_wait_s=0.3) as link:
        async with trio.open_nursery() as nursery:
            operation: Operation[None] = Operation(("BLPOP", "nothing", 0), lambda reply: reply, repeatable=True)
            nursery.start_soon(answer_or_error, link, operation, got, "long ago")
            await trio.sleep(0.4)
            own_server.kill()
            lost_at = trio.current_time()
        assert isinstance(got["long ago"], Unconfirmed)
        assert trio.current_time() - lost_at >= 0.3


async def test_who_waits_during_an_outage_hears_that_the_client_is_closed(own_server: Any) -> None:
    got: dict[str, Any] = {}
    async with trio.open_nursery() as nursery, open_link(own_server.address) as link:
        own_server.kill()
        await wait_until_lost(link)
        nursery.start_soon(answer_or_error, link, echo("x"), got, "waiting")
        await trio.testing.wait_all_tasks_blocked(0.001)
    assert "client is closed" in str(got["waiting"])
    assert not isinstance(got["waiting"], Unconfirmed)


async def test_who_was_cancelled_during_an_outage_is_not_served_after_it(own_server: Any) -> None:
    async with open_link(own_server.address) as link:
        own_server.kill()
        await wait_until_lost(link)
        with trio.move_on_after(0.02):
            await link.command("INCR", "n")
        own_server.start()
        assert await link.run(Operation(("GET", "n"), lambda reply: reply)) is None


async def wait_until_lost(link: Link) -> None:
    while link.connected:  # noqa: ASYNC110  polling a state is all there is
        await trio.sleep(0.001)


async def test_acknowledged_writes_survive_kill_9_and_prepare_brings_the_server_back(own_server: Any) -> None:
    acknowledged: list[int] = []
    doubtful: list[int] = []
    dead = False
    connects = 0

    async def prepare() -> Address:
        nonlocal dead
        if dead:
            own_server.start()
            dead = False
        return own_server.address

    def connected() -> None:
        nonlocal connects
        connects += 1

    async with open_link(own_server.address, prepare=prepare, on_connected=connected) as link:
        async with trio.open_nursery() as nursery:

            async def write(task: int) -> None:
                for number in range(task * 1000, task * 1000 + 100):
                    try:
                        await link.run(Operation(("RPUSH", "list", number), int, repeatable=False))
                    except Unconfirmed:
                        doubtful.append(number)
                    else:
                        acknowledged.append(number)

            for task in range(20):
                nursery.start_soon(write, task)
            for enough in (300, 900):
                while len(acknowledged) < enough:
                    await trio.lowlevel.checkpoint()
                own_server.kill()
                dead = True
                await reconnected(link, link.generation + 1)
        stored = [int(number) for number in await link.command("LRANGE", "list", 0, -1)]
        assert (link.generation, connects) == (3, 3)
    assert len(acknowledged) + len(doubtful) == 2000
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored)), "something was carried out twice"
    assert set(stored) <= set(acknowledged) | set(doubtful)


async def test_subscriptions_are_back_before_anything_queued_goes_out(own_server: Any) -> None:
    got: list[tuple[bytes, bytes]] = []
    async with open_link(own_server.address, on_push=lambda *message: got.append(message)) as link:
        await link.subscribe("a", "c")
        own_server.kill()
        await wait_until_lost(link)
        answers: dict[str, Any] = {}
        async with trio.open_nursery() as nursery:
            for channel in "abcd":
                publish: Operation[int] = Operation(("PUBLISH", channel, "while away"), int)
                nursery.start_soon(answer_or_error, link, publish, answers, channel)
            nursery.start_soon(link.subscribe, "d")
            await trio.testing.wait_all_tasks_blocked(0.001)
            own_server.start()
        assert (answers["a"], answers["b"], answers["c"]) == (1, 0, 1)
        assert await link.command("PUBLISH", "d", "now") == 1
    assert {message for message in got if message[0] in b"abc"} == {(b"a", b"while away"), (b"c", b"while away")}
    assert got[-1] == (b"d", b"now")


async def test_a_subscription_refused_after_a_reconnect_is_logged_and_the_link_stays_in_step(
    own_server: Any, open_proxy: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_proxy(own_server.address) as proxy, open_link(proxy.address) as link:
        await link.subscribe("a", "b")
        own_server.command("ACL", "SETUSER", "default", "resetchannels", "&b")
        await reconnected(link, 2)  # the server drops clients whose channels were taken away
        assert await link.run(echo("in step")) == "in step"
        assert await link.command("PUBLISH", "b", "x") == 1
    assert "cannot listen to b'a' any more: NOPERM" in caplog.text


async def test_a_password_that_changed_is_what_callers_hear_until_it_is_changed_back(own_server: Any) -> None:
    async with open_link(own_server.address, offline_wait_s=math.inf) as link:
        own_server.command("CONFIG", "SET", "requirepass", "changed")
        await link.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
        await wait_until_lost(link)
        with pytest.raises(ServerUnreachable, match="it wants a password") as caught:
            await link.command("PING")
        assert caught.value.code == "wrong_password"
        own_server.kill()
        own_server.start()
        await reconnected(link, 2)
        assert await link.command("PING") == b"PONG"


# -- servers that misbehave ------------------------------------------------------------------------------


async def test_a_frozen_server_is_noticed_and_found_again(own_server: Any) -> None:
    async with open_link(own_server.address, stall_s=0.2) as link:
        own_server.freeze()
        got: dict[str, Any] = {}
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_or_error, link, echo("patient"), got, "patient")
            await answer_or_error(link, increment("n"), got, "count")
            assert 0.15 < trio.current_time() - began < 2
            assert isinstance(got["count"], Unconfirmed)
            assert "silent for 0.2 s" in got["count"].message
            own_server.thaw()
        assert got["patient"] == "patient"
        assert link.generation == 2


async def test_an_idle_link_is_not_taken_for_a_frozen_one(server: Any) -> None:
    async with open_link(server.address, stall_s=0.02) as link:
        await trio.sleep(0.1)
        assert await link.run(echo("awake")) == "awake"
        assert link.generation == 1


async def test_silence_counts_from_the_question_and_from_the_last_byte(server: Any) -> None:
    async with open_link(server.address, stall_s=0.5) as link:
        await trio.sleep(0.75)  # so that the watch looks again while the next answer is due
        assert await link.command("BLPOP", "nothing", 0.35) is None
        assert await link.replies([("BLPOP", "nothing", 0.25)] * 3) == [None] * 3
        assert link.generation == 1


async def test_a_blocking_link_waits_as_long_as_it_takes(server: Any) -> None:
    async with open_link(server.address, stall_s=None) as link:
        assert await link.command("BLPOP", "nothing", 0.3) is None
        assert link.generation == 1


@pytest.mark.parametrize("noise", [b"+OK\r\n", b"*1\r\n:1\r\n", b"-ERR out of the blue\r\n", b"\x00\x01garbage\r\n"])
async def test_noise_between_replies_tears_the_link_and_nobody_gets_it(
    server: Any, open_proxy: Callable[..., Any], noise: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_proxy(server.address) as proxy, open_link(proxy.address) as link:
        await proxy.inject(noise)
        await reconnected(link, 2)
        assert await link.run(echo("mine")) == "mine"
    assert "lost the connection" in caplog.text


@pytest.mark.parametrize("push", [b">2\r\n+invalidate\r\n*0\r\n", b">3\r\n+subscribe\r\n+x\r\n:1\r\n", b">1\r\n:1\r\n"])
async def test_pushes_of_no_concern_are_passed_over(server: Any, open_proxy: Callable[..., Any], push: bytes) -> None:
    async with open_proxy(server.address) as proxy, open_link(proxy.address) as link:
        await proxy.inject(push)
        assert await link.run(echo("mine")) == "mine"
        assert link.generation == 1


async def test_a_violation_ends_what_was_outstanding_as_unconfirmed(
    server: Any, open_proxy: Callable[..., Any]
) -> None:
    errors: list[TinytownError] = []

    async def wait(link: Link) -> None:
        with pytest.raises(Unconfirmed) as caught:
            await link.command("BLPOP", "never", 0)
        errors.append(caught.value)

    async with open_proxy(server.address) as proxy, open_link(proxy.address, stall_s=None) as link:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, link)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await proxy.inject(b"?\r\n")
        assert isinstance(errors[0].__cause__, ProtocolViolation)
        assert await link.run(echo("on")) == "on"


async def test_links_that_open_and_close_under_load_leave_nothing_behind(server: Any) -> None:
    before = int(server.command("CLIENT", "ID"))

    async def come_and_go(number: int) -> None:
        with trio.move_on_after(math.inf if number % 2 else number / 4000):
            async with open_link(server.address) as link:
                assert await link.replies([("PING",)] * 50) == [b"PONG"] * 50

    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(come_and_go, number)
    while len(server.command("CLIENT", "LIST").splitlines()) > 1:
        await trio.lowlevel.checkpoint()
    assert int(server.command("CLIENT", "ID")) > before
