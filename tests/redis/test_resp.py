from __future__ import annotations

import math

import pytest
from hypothesis import given, settings, strategies as st
from tinytown.errors import ProtocolViolation, ServerUnreachable, UsageError
from tinytown.protocol.operation import ErrorReply
from tinytown.redis.resp import PASSING, Parser, check_handshake, handshake_error, is_push, pack
from tinytown.redis.url import parse_url

ADDRESS = parse_url("redis://user:hunter2@host/7")
HELLO = {b"server": b"redis", b"version": b"7.0.15", b"proto": 3}


def heard(data: bytes) -> list[object]:
    return list(Parser(ADDRESS).replies(data))


def test_every_kind_of_reply_comes_out_as_a_value_of_bytes() -> None:
    data = (
        b"+OK\r\n:1\r\n,1.5\r\n#t\r\n_\r\n$-1\r\n$2\r\n\xff\x00\r\n"
        b"*1\r\n$1\r\na\r\n~1\r\n:1\r\n%1\r\n$1\r\nk\r\n:1\r\n,inf\r\n"
    )
    assert heard(data) == [b"OK", 1, 1.5, True, None, None, b"\xff\x00", [b"a"], [1], {b"k": 1}, math.inf]


def test_errors_are_values_and_pushes_are_told_apart() -> None:
    error, nested, push = heard(b"-NOPERM no\xff\r\n*1\r\n-ERR in\r\n>2\r\n$1\r\na\r\n$1\r\nb\r\n")
    assert isinstance(error, ErrorReply)
    assert error.kind == "NOPERM"
    assert isinstance(nested, list)
    assert isinstance(nested[0], ErrorReply)
    assert is_push(push)
    assert not is_push([b"a", b"b"])


def test_what_is_not_the_redis_protocol_is_a_violation_again_and_again() -> None:
    parser = Parser(ADDRESS)
    for _ in range(2):
        with pytest.raises(ProtocolViolation, match="does not speak the Redis protocol") as caught:
            list(parser.replies(b"HTTP/1.1 400 Bad Request\r\n"))
        assert "hunter2" not in str(caught.value)


@settings(deadline=None)
@given(st.lists(st.binary() | st.text(st.characters(codec="utf-8")) | st.integers() | st.floats(), min_size=1))
def test_a_packed_command_reads_back_word_by_word(words: list[bytes | str | int | float]) -> None:
    (read,) = heard(pack(tuple(words)))
    assert read == [word if isinstance(word, bytes) else str(word).encode() for word in words]


def test_text_without_a_utf8_form_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError, match="not valid Unicode"):
        pack(("SET", "k", "\udcff"))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("WRONGPASS invalid username-password pair or user is disabled.", "wrong_password"),
        ("NOAUTH HELLO must be called with the client already authenticated", "wrong_password"),
        ("ERR AUTH <password> called without any password configured for the default user.", "wrong_password"),
        ("ERR invalid password", "wrong_password"),
        ("ERR DB index is out of range", "no_such_database"),
        ("ERR invalid DB index", "no_such_database"),
        ("ERR SELECT is not allowed in cluster mode", "no_such_database"),
        ("ERR unknown command `HELLO`, with args beginning with: `3`, ", "server_too_old"),
        ("NOPROTO unsupported protocol version", "server_too_old"),
        ("LOADING Redis is loading the dataset in memory", "server_loading"),
        ("BUSY Redis is busy running a script.", "server_busy"),
        ("ERR max number of clients reached", "server_busy"),
        ("DENIED Redis is running in protected mode because. 1) Just 2) Do", "server_refused"),
        ("NOPERM User user has no permissions to run the 'ping' command", "server_refused"),
    ],
)
def test_a_refused_introduction_is_told_by_its_code(text: str, code: str) -> None:
    error = handshake_error(ErrorReply(text), ADDRESS)
    assert error.code == code
    assert "redis://user:****@host:6379/7" in str(error)
    assert (code in PASSING) is (code in ("server_loading", "server_busy"))


def test_the_version_comes_from_hello_and_a_refused_name_is_no_matter() -> None:
    assert check_handshake(ADDRESS, [HELLO, b"OK", ErrorReply("NOPERM client|setname"), b"PONG"]) == "7.0.15"


@pytest.mark.parametrize("version", [b"6.2.14", b"2.8.0"])
def test_a_server_before_version_7_is_too_old(version: bytes) -> None:
    with pytest.raises(ServerUnreachable, match=version.decode()) as caught:
        check_handshake(ADDRESS, [HELLO | {b"version": version}])
    assert caught.value.code == "server_too_old"


@pytest.mark.parametrize("hello", [b"OK", {}, {b"version": 7}, {b"version": b"newest"}])
def test_a_hello_without_a_version_is_a_violation(hello: object) -> None:
    with pytest.raises(ProtocolViolation, match="without saying its version"):
        check_handshake(ADDRESS, [hello])
