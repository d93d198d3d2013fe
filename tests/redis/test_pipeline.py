"""The book-keeping between callers and replies, without any connection."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from tinytown.errors import LimitReached, ProtocolViolation, ServerUnreachable, Unconfirmed
from tinytown.protocol.operation import ErrorReply
from tinytown.redis.pipeline import MAX_SENDS, Caller, Pipeline, Request

LOST = ServerUnreachable("the cable was cut", code="server_unreachable", cable="blue")


def pipeline(on_message: Callable[[bytes, bytes], None] | None = None, *, limit: int = 100) -> Pipeline:
    return Pipeline(limit=limit, on_message=on_message)


def asked(talk: Pipeline, *requests: Request) -> Caller:
    caller = Caller(len(requests))
    talk.enqueue(requests, caller)
    return caller


async def test_replies_go_to_requests_in_the_order_of_asking() -> None:
    talk = pipeline()
    one, two, three = Request(b"1"), Request(b"2"), Request(b"3")
    first, second = asked(talk, one, two), asked(talk, three)
    assert talk.flush() == b"123"
    assert talk.outstanding
    assert not talk.waiting
    for reply in ("a", "b"):
        talk.feed(reply)
    assert first.answered.is_set()
    assert not second.answered.is_set()
    talk.feed("c")
    assert (one.outcome(), two.outcome(), three.outcome()) == ("a", "b", "c")
    assert not talk.outstanding


async def test_the_reply_to_a_caller_who_has_gone_is_swallowed_in_its_turn() -> None:
    talk = pipeline()
    gone, stays = Request(b"1"), Request(b"2")
    caller = asked(talk, gone)
    asked(talk, stays)
    talk.flush()
    caller.cancelled = True
    talk.feed("not for you")
    talk.feed("for you")
    assert stays.outcome() == "for you"


async def test_what_may_be_repeated_goes_out_again_in_the_same_order_and_before_what_came_later() -> None:
    talk = pipeline()
    requests = [Request(str(n).encode(), repeatable=n % 2 == 0) for n in range(6)]
    asked(talk, *requests)
    talk.flush()
    talk.feed("zero")
    asked(talk, Request(b"later"))
    talk.connection_lost(LOST)
    assert talk.flush() == b"24later"
    assert requests[0].outcome() == "zero"
    for request in requests[1::2]:
        with pytest.raises(Unconfirmed, match="cable was cut") as caught:
            request.outcome()
        assert caught.value.__cause__ is LOST


async def test_what_nobody_waits_for_any_more_is_not_repeated() -> None:
    talk = pipeline()
    caller = asked(talk, Request(b"1", repeatable=True))
    talk.flush()
    caller.cancelled = True
    talk.connection_lost(LOST)
    assert talk.flush() == b""


async def test_a_request_is_handed_over_a_bounded_number_of_times() -> None:
    talk = pipeline()
    request = Request(b"poison", repeatable=True)
    asked(talk, request)
    for _ in range(MAX_SENDS):
        assert talk.flush() == b"poison"
        talk.connection_lost(LOST)
    assert talk.flush() == b""
    with pytest.raises(Unconfirmed):
        request.outcome()


async def test_what_was_never_sent_fails_for_the_reason_itself_with_an_exception_of_its_own() -> None:
    talk = pipeline()
    one, two = Request(b"1"), Request(b"2")
    asked(talk, one, two)
    talk.fail_waiting(LOST)
    assert not isinstance(one.failure, Unconfirmed)
    assert (str(one.failure), one.failure.code, one.failure.fields) == (str(LOST), LOST.code, {"cable": "blue"})  # type: ignore[union-attr]
    assert one.failure is not two.failure is not LOST


async def test_what_has_waited_longest_is_failed_first(autojump_clock: trio.abc.Clock) -> None:
    talk = pipeline()
    sent, old, new = Request(b"0", repeatable=True), Request(b"1"), Request(b"2")
    asked(talk, sent)
    talk.flush()
    await trio.sleep(1)
    asked(talk, old)
    await trio.sleep(1)
    asked(talk, new)
    talk.connection_lost(LOST)
    talk.fail_waiting(LOST, queued_before=trio.current_time() - 1)
    assert isinstance(sent.failure, Unconfirmed)
    assert isinstance(old.failure, ServerUnreachable)
    assert not new.settled
    assert talk.oldest_queued_at() == trio.current_time()


@pytest.mark.parametrize("reply", [b"OK", ErrorReply("ERR no")])
async def test_a_reply_to_nothing_is_a_violation(reply: object) -> None:
    talk = pipeline()
    asked(talk, Request(b"not taken yet"))
    with pytest.raises(ProtocolViolation):
        talk.feed(reply)


async def test_a_subscription_answered_by_a_plain_reply_is_a_violation() -> None:
    talk = pipeline()
    asked(talk, Request(b"SUBSCRIBE", channel=b"c"))
    talk.flush()
    with pytest.raises(ProtocolViolation):
        talk.feed(b"OK")


async def test_channels_are_asked_for_once_after_each_reconnect_and_before_all_else() -> None:
    talk = pipeline()
    talk.channels.add(b"news")
    asked(talk, Request(b"waiting"))
    for _ in range(3):  # connections that break before anything is written
        talk.reconnected()
        talk.connection_lost(LOST)
    talk.reconnected()
    assert talk.flush() == b"*2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nnews\r\nwaiting"


async def test_a_subscription_that_a_busy_server_refuses_after_a_reconnect_ends_the_connection() -> None:
    talk = pipeline()
    talk.channels.add(b"news")
    talk.reconnected()
    talk.flush()
    with pytest.raises(ServerUnreachable, match="BUSY"):
        talk.feed(ErrorReply("BUSY Redis is busy running a script"))
    talk.connection_lost(LOST)
    talk.reconnected()
    assert b"news" in talk.flush()


async def test_a_server_that_became_a_replica_answers_its_caller_and_ends_the_connection() -> None:
    talk = pipeline()
    request = Request(b"1")
    asked(talk, request)
    talk.flush()
    with pytest.raises(ServerUnreachable, match="read-only replica"):
        talk.feed(ErrorReply("READONLY You can't write against a read only replica."))
    assert isinstance(request.outcome(), ErrorReply)


async def test_too_many_requests_are_refused_whole_unless_some_are_no_longer_wanted() -> None:
    talk = pipeline(limit=3)
    caller = asked(talk, Request(b"1"), Request(b"2"))
    with pytest.raises(LimitReached, match="more than 3"):
        asked(talk, Request(b"3"), Request(b"4"))
    caller.cancelled = True
    asked(talk, Request(b"3"), Request(b"4"))
    assert talk.flush() == b"34"


async def test_a_large_backlog_is_written_in_pieces() -> None:
    talk = pipeline(limit=1000)
    asked(talk, *[Request(b"x" * 10_000) for _ in range(100)])
    sizes = []
    while talk.waiting:
        sizes.append(len(talk.flush()))
    assert sum(sizes) == 1_000_000
    assert max(sizes) <= 140_000
