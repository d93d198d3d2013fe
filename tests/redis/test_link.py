from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from tinytown.errors import LimitReached, ProtocolViolation, ServerUnreachable, UsageError
from tinytown.protocol.operation import ErrorReply, Operation, Reply
from tinytown.redis import link as link_module
from tinytown.redis.link import Link, open_link
from tinytown.redis.url import Address, parse_url


def echo(text: str, *, repeatable: bool = True) -> Operation[str]:
    return Operation(("ECHO", text), bytes.decode, repeatable)


async def test_a_call_answers_what_it_decodes(server: Any) -> None:
    async with open_link(server.address) as link:
        assert await link.run(Operation(("INCRBY", "n", 5), int)) == 5
        assert await link.run(echo("é")) == "é"
        assert (link.connected, link.generation) == (True, 1)
        assert int(link.server_version.split(".")[0]) >= 7
    assert not link.connected


async def test_an_error_reply_is_raised_and_the_link_goes_on(server: Any) -> None:
    async with open_link(server.address) as link:
        await link.command("LPUSH", "list", "x")
        with pytest.raises(ProtocolViolation, match="WRONGTYPE"):
            await link.command("GET", "list")
        with pytest.raises(ProtocolViolation, match="cannot understand"):
            await link.run(Operation(("ECHO", "word"), int))
        assert await link.command("PING") == b"PONG"


async def test_many_commands_go_out_in_one_write_and_each_has_its_own_reply_or_error(
    server: Any, open_proxy: Callable[..., Any]
) -> None:
    async with open_proxy(server.address) as proxy, open_link(proxy.address) as link:
        replies = await link.replies([("ECHO", "a"), ("NO-SUCH",), ("INCR", "n")])
        assert replies[0::2] == [b"a", 1]
        assert isinstance(replies[1], ErrorReply)
        assert await link.replies([]) == []


async def test_callers_of_one_tick_share_a_write(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    async with open_link(server.address) as link:
        send_all = trio.SocketStream.send_all

        async def counted(self: trio.SocketStream, data: bytes) -> None:
            writes.append(data.count(b"ECHO"))
            await send_all(self, data)

        monkeypatch.setattr(trio.SocketStream, "send_all", counted)
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(link.run, echo(str(number)))
    assert writes == [50]


async def test_text_that_cannot_be_sent_fails_only_its_own_call(server: Any) -> None:
    async with open_link(server.address) as link:
        with pytest.raises(UsageError):
            await link.replies([("ECHO", "fine"), ("ECHO", "\udcff")])
        assert await link.run(echo("fine")) == "fine"


async def test_large_requests_and_replies_arrive_whole(server: Any) -> None:
    text = "x" * 5_000_000
    async with open_link(server.address) as link, trio.open_nursery() as nursery:

        async def one(number: int) -> None:
            assert await link.run(echo(f"{number}{text}")) == f"{number}{text}"

        for number in range(4):
            nursery.start_soon(one, number)


async def test_hundreds_of_callers_with_deadlines_never_get_each_others_replies(server: Any) -> None:
    answered = cancelled = 0
    async with open_link(server.address) as link:

        async def ask(task: int) -> None:
            nonlocal answered, cancelled
            for number in range(40):
                # Some are cancelled before anything is sent, most while the reply is on its way, some never.
                with trio.move_on_after(((task * 7 + number * 3) % 11) / 4000 or math.inf) as scope:
                    assert await link.run(echo(f"{task}:{number}")) == f"{task}:{number}"
                    answered += 1
                cancelled += scope.cancelled_caught

        async with trio.open_nursery() as nursery:
            for task in range(300):
                nursery.start_soon(ask, task)
        assert await link.run(echo("in step")) == "in step"
        assert link.generation == 1
    assert answered + cancelled == 300 * 40
    assert answered >= 300
    assert cancelled >= 300


async def test_a_caller_cancelled_before_it_began_sends_nothing(server: Any) -> None:
    async with open_link(server.address) as link:
        for _ in range(20):  # trio runs what is ready in a random order
            with trio.CancelScope() as scope:
                scope.cancel()
                await link.command("SET", "touched", 1)
        assert await link.command("EXISTS", "touched") == 0


# -- opening and closing ---------------------------------------------------------------------------------


async def test_an_exception_in_the_block_comes_out_as_it_was(server: Any) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_link(server.address):
            raise KeyError("mine")
    with pytest.raises(ExceptionGroup) as caught:
        async with open_link(server.address):
            raise ExceptionGroup("mine too", [ValueError()])
    assert caught.value.message == "mine too"


async def test_closing_fails_whoever_waits_and_whoever_comes_later(server: Any) -> None:
    errors: list[ServerUnreachable] = []

    async def wait(link: Link) -> None:
        with pytest.raises(ServerUnreachable) as caught:
            await link.command("BLPOP", "never", 0)
        errors.append(caught.value)

    async with trio.open_nursery() as nursery, open_link(server.address) as link:
        nursery.start_soon(wait, link)
        await trio.testing.wait_all_tasks_blocked()
    (error,) = errors
    assert (error.code, "client is closed" in error.message) == ("unconfirmed", True)
    with pytest.raises(ServerUnreachable, match="client is closed"):
        await link.command("PING")


async def test_a_block_that_is_cancelled_can_still_say_its_last_words_over_the_link(server: Any) -> None:
    with trio.CancelScope() as scope:
        async with open_link(server.address) as link:
            try:
                scope.cancel()
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(5, shield=True):
                    for word in ("first", "second"):
                        assert await link.run(echo(word)) == word
    assert scope.cancelled_caught
    assert not link.connected


async def test_nobody_there_is_told_within_a_moment_with_the_redacted_url(server: Any) -> None:
    began = trio.current_time()
    with pytest.raises(ServerUnreachable, match=r"redis://u:\*\*\*\*@127.0.0.1:1/0: Connection refused") as caught:
        async with open_link(parse_url("redis://u:secret@127.0.0.1:1")):
            raise AssertionError("there is a server on port 1")
    assert caught.value.code == "server_unreachable"
    assert caught.value.hint
    assert 0.5 < trio.current_time() - began < 5


async def test_a_socket_that_is_not_there_yet_is_waited_for_a_moment(own_server: Any) -> None:
    own_server.kill()
    dials = 0

    async def prepare() -> Address:
        nonlocal dials
        dials += 1
        if dials == 3:
            own_server.start()
        return own_server.address

    async with open_link(own_server.address, prepare=prepare) as link:
        assert await link.command("PING") == b"PONG"
    assert dials == 3


async def test_what_prepare_refuses_is_what_the_opener_gets(server: Any) -> None:
    async def prepare() -> Address:
        raise ServerUnreachable("no binary", code="no_server_binary")

    with pytest.raises(ServerUnreachable, match="no binary"):
        async with open_link(server.address, prepare=prepare):
            raise AssertionError("prepare was not asked")


async def test_wrong_credentials_and_databases_are_refused_at_once(server: Any) -> None:
    server.command("ACL", "SETUSER", "alice", "on", ">right", "~*", "&*", "+@all")
    path = server.address.path
    for url, code in [
        (f"unix://alice:wrong@{path}", "wrong_password"),
        (f"unix://nobody:right@{path}", "wrong_password"),
        (f"unix://{path}?db=99", "no_such_database"),
    ]:
        with pytest.raises(ServerUnreachable) as caught:
            async with open_link(parse_url(url)):
                raise AssertionError("it let us in")
        assert caught.value.code == code
        assert "wrong" not in caught.value.message.replace("is wrong", "")
    async with open_link(parse_url(f"unix://alice:right@{path}?db=3")) as link:
        assert b"name=tinytown" in await link.command("CLIENT", "INFO")
        assert b"db=3" in await link.command("CLIENT", "INFO")


async def test_a_server_that_wants_a_password_says_so(own_server: Any) -> None:
    own_server.command("CONFIG", "SET", "requirepass", "pw")
    with pytest.raises(ServerUnreachable, match="it wants a password") as caught:
        async with open_link(own_server.address):
            raise AssertionError("it let us in")
    assert caught.value.code == "wrong_password"


async def test_a_server_that_is_loading_is_waited_for_but_not_for_ever(own_server: Any) -> None:
    own_server.restart_loading()
    with pytest.raises(ServerUnreachable) as caught:
        async with open_link(own_server.address, offline_wait_s=0.1):
            raise AssertionError("it was loading")
    assert caught.value.code == "server_loading"
    dials = 0

    async def prepare() -> Address:
        nonlocal dials
        dials += 1
        if dials == 3:
            own_server.finish_loading()
        return own_server.address

    async with open_link(own_server.address, prepare=prepare) as link:
        assert await link.command("DBSIZE") == 4000
    assert dials >= 3


async def test_a_read_only_replica_has_its_own_code(own_server: Any) -> None:
    own_server.command("REPLICAOF", "127.0.0.1", "1")
    async with open_link(own_server.address) as link:
        with pytest.raises(ServerUnreachable, match="read-only replica") as caught:
            await link.command("SET", "k", 1)
        assert caught.value.code == "server_read_only"
        assert await link.command("PING") == b"PONG"


@pytest.mark.parametrize(
    ("greeting", "match"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "does not speak the Redis protocol"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "does not speak the Redis protocol"),
        (b"-ERR unknown command 'HELLO'\r\n" * 3, "too old"),
        (b"%1\r\n+version\r\n+6.2.0\r\n+OK\r\n+PONG\r\n", "too old: it is 6.2.0"),
        (b"-ERR max number of clients reached\r\n", "too busy"),
        (b"-DENIED Redis is running in protected mode. Do 1) this 2) that\r\n", "refused us"),
        (b"+OK\r\n+OK\r\n+PONG\r\n", "without saying its version"),
        (b"", "closed the connection"),
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
        with pytest.raises((ServerUnreachable, ProtocolViolation), match=match):
            async with open_link(parse_url(f"redis://127.0.0.1:{port}"), offline_wait_s=0.1):
                raise AssertionError("that was no server")


# -- messages --------------------------------------------------------------------------------------------


async def test_messages_of_subscribed_channels_arrive_in_order(server: Any) -> None:
    got: list[tuple[bytes, bytes]] = []
    async with open_link(server.address, on_push=lambda *message: got.append(message)) as link:
        await link.subscribe("a", b"b")
        assert await link.command("PUBLISH", "a", "1") == 1
        assert await link.command("PUBLISH", "b", "2") == 1
        assert await link.command("PUBLISH", "c", "3") == 0
    assert got == [(b"a", b"1"), (b"b", b"2")]


async def test_a_handler_that_raises_is_logged_and_tears_nothing(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_channel: bytes, _payload: bytes) -> None:
        raise RuntimeError("handler")

    def fail_too() -> None:
        raise RuntimeError("connected")

    async with open_link(server.address, on_push=fail, on_connected=fail_too) as link:
        await link.subscribe("a")
        await link.command("PUBLISH", "a", "1")
        assert await link.run(echo("on")) == "on"
        assert link.generation == 1
    assert "the handler of messages failed" in caplog.text
    assert "the handler of a new connection failed" in caplog.text


async def test_a_refused_subscription_raises_and_stays_in_step(server: Any) -> None:
    server.command("ACL", "SETUSER", "ear", "on", ">pw", "resetchannels", "&allowed:*", "~*", "+@all")
    got: list[tuple[bytes, bytes]] = []
    address = parse_url(f"unix://ear:pw@{server.address.path}")
    async with open_link(address, on_push=lambda *message: got.append(message)) as link:

        async def refused() -> None:
            with pytest.raises(ServerUnreachable, match="NOPERM") as caught:
                await link.subscribe("allowed:1", "forbidden", "allowed:2")
            assert caught.value.code == "server_refused"

        async def others(number: int) -> None:
            assert await link.run(echo(str(number))) == str(number)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(others, number)
                if number % 7 == 0:
                    nursery.start_soon(refused)
        await link.command("PUBLISH", "allowed:2", "heard")
        assert link.generation == 1
    assert got == [(b"allowed:2", b"heard")]


async def test_a_storm_of_messages_between_replies_confuses_nobody(server: Any) -> None:
    got: list[int] = []
    async with open_link(server.address, on_push=lambda _, payload: got.append(int(payload))) as link:
        await link.subscribe("storm")
        async with open_link(server.address) as other, trio.open_nursery() as nursery:

            async def shout() -> None:
                for start in range(0, 5000, 500):
                    await other.replies([("PUBLISH", "storm", n) for n in range(start, start + 500)])

            async def ask(task: int) -> None:
                for number in range(100):
                    assert await link.run(echo(f"{task}:{number}")) == f"{task}:{number}"

            nursery.start_soon(shout)
            for task in range(20):
                nursery.start_soon(ask, task)
        await link.command("PING")
    assert got == list(range(5000))


# -- bounds and blocking ---------------------------------------------------------------------------------


async def test_more_waiting_requests_than_the_bound_are_refused(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "BACKLOG_LIMIT", 10)
    async with open_link(server.address) as link:
        with pytest.raises(LimitReached):
            await link.replies([("PING",)] * 11)
        assert await link.replies([("PING",)] * 10) == [b"PONG"] * 10
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(given_up_soon, link)
        assert await link.replies([("PING",)] * 10) == [b"PONG"] * 10


async def given_up_soon(link: Link) -> None:
    with trio.move_on_after(0):
        await link.run(echo("nobody wants this"))


async def test_a_blocking_call_that_is_woken_answers(server: Any) -> None:
    replies: list[Reply] = []

    async with open_link(server.address, stall_s=None) as waiting, open_link(server.address) as link:
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                replies.append(await waiting.command("XREAD", "BLOCK", 0, "STREAMS", "stream", "$"))

            nursery.start_soon(wait)
            while b"blocked_clients:1" not in await link.command("INFO", "clients"):
                await trio.lowlevel.checkpoint()
            await link.command("XADD", "stream", "1-1", "k", "v")
        assert waiting.generation == 1
    assert replies == [{b"stream": [[b"1-1", [b"k", b"v"]]]}]
