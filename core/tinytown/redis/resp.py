"""The Redis wire protocol as every client speaks it: packing, parsing, and what a failed handshake means. No IO.

`hiredis` does the work. Replies are bytes throughout (per-reply decoding goes wrong around pushes), and error replies
come out as `ErrorReply` values. Foreign errors of connecting (sockets, TLS, garbage instead of a server) become ours
here and nowhere else; what an error reply means *after* the handshake is decided by `protocol.operation`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

import hiredis

from tinytown.errors import ProtocolViolation, ServerUnreachable, TinytownError, Unconfirmed, UsageError
from tinytown.protocol.operation import Argument, ErrorReply, Reply
from tinytown.redis.url import Address

#: The oldest server that has function libraries.
OLDEST_MAJOR: Final = 7

#: Codes of connection failures that may be temporary; with any other code waiting does not help.
PASSING: Final = frozenset({"server_unreachable", "server_loading", "server_busy", "no_primary"})

_MORE: Final = object()
# Its stub says "a tuple of one item" and not what it returns.
_pack_command = cast("Callable[[tuple[Argument, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType]
_HINT = "check that the server runs, and check redis.url or REDIS_URL"


def pack(command: tuple[Argument, ...]) -> bytes:
    """The bytes of one command. Raises: UsageError for text that has no UTF-8 form (a lone surrogate)."""
    try:
        return _pack_command(command)
    except UnicodeEncodeError as error:
        raise UsageError(f"a text that is not valid Unicode cannot be sent: {error.reason}") from error


class Parser:
    """Makes replies of one connection's bytes."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._reader = hiredis.Reader(replyError=ErrorReply, notEnoughData=_MORE)

    def replies(self, data: bytes | bytearray) -> Iterator[Reply]:
        """Every reply that `data`, the next bytes, completes; to be consumed. Raises: ProtocolViolation for what is not RESP3."""
        try:
            self._reader.feed(bytes(data))
            while (reply := self._reader.gets(False)) is not _MORE:
                yield reply
        except hiredis.ProtocolError as error:
            raise ProtocolViolation(
                f"what answers at {self._address.redacted} does not speak the Redis protocol ({error})",
                hint="is it the port of a Redis server? one that expects TLS needs rediss://",
            ) from error


def is_push(reply: Reply) -> bool:
    """Whether `reply` answers no request: a pub/sub message, or the confirmation of a subscription."""
    return type(reply) is hiredis.PushNotification


def check_handshake(address: Address, answers: Sequence[Reply]) -> str:
    """The server's version, from its answers to `Address.handshake`, as many as came. Raises: what `handshake_error` makes."""
    version = ""
    for command, answer in zip(address.handshake(), answers, strict=False):
        if isinstance(answer, ErrorReply):
            if command[0] == "CLIENT":  # a name is a courtesy, and some users may not give themselves one
                continue
            raise handshake_error(answer, address) from answer
        if command[0] == "HELLO":
            version = _version(address, answer)
    return version


def handshake_error(error_reply: ErrorReply, address: Address) -> ServerUnreachable:
    """What an error reply to one of the first commands means; to be raised by the caller.

    Codes: ``wrong_password``, ``no_such_database``, ``server_too_old``, ``server_loading`` and ``server_busy`` (both
    pass), ``server_refused`` for all else.
    """
    kind, text, plain, url = error_reply.kind, error_reply.text, error_reply.text.lower(), address.redacted
    if kind in ("WRONGPASS", "NOAUTH") or "invalid password" in plain or " auth " in plain:
        given = "the user or password is wrong" if address.password else "it wants a password"
        return ServerUnreachable(
            f"{url} refused to let us in: {given}",
            hint="check the user and password in REDIS_URL or redis.url",
            code="wrong_password",
        )
    if "db index" in plain or "select is not allowed" in plain:
        return ServerUnreachable(
            f"{url} has no database {address.db}",
            hint="choose one below its setting `databases`",
            code="no_such_database",
        )
    if kind == "NOPROTO" or "unknown command" in plain:
        return _too_old(address, "it does not know RESP3")
    if kind == "LOADING":
        return ServerUnreachable(f"{url} is still loading its data", hint="try again soon", code="server_loading")
    if kind == "BUSY" or "max number of clients" in plain:
        return ServerUnreachable(f"{url} is too busy: {text}", hint="try again soon", code="server_busy")
    first_sentence = re.split(r"(?<=[.:]) ", text, maxsplit=1)[0]
    return ServerUnreachable(f"{url} refused us: {first_sentence}", code="server_refused")


def connect_error(error: BaseException, address: Address) -> TinytownError:
    """What it means that connecting, or the TLS handshake, ended with `error`; to be raised by the caller.

    Codes: ``bad_certificate`` (theirs or ours), ``server_refused`` (no TLS there), else ``server_unreachable``.
    """
    url = address.redacted
    chain = list(_chain(error))
    if (ours := next((link for link in chain if isinstance(link, TinytownError)), None)) is not None:
        return ours
    if address.scheme == "rediss" and (fault := _tls_error(chain, url)) is not None:
        return fault
    reason = next((_reason(link) for link in reversed(chain) if isinstance(link, OSError)), str(error))
    hint = _HINT
    if address.scheme == "rediss":
        hint += "; a server that wants a certificate of ours may just hang up: see redis.cert_file"
    return ServerUnreachable(f"cannot reach {url}: {reason or type(error).__name__}", hint=hint)


def unconfirmed(why: TinytownError | None) -> Unconfirmed:
    """What a request ends with that was handed over and, because of `why`, never answered."""
    error = Unconfirmed(
        f"it may or may not have been carried out: {why.message if why else 'no answer came'}",
        hint="check its effect before you repeat it",
    )
    error.__cause__ = why
    return error


def _tls_error(chain: Sequence[BaseException], url: str) -> ServerUnreachable | None:
    import ssl  # not above: only a rediss address has paid for it already

    failure = next((link for link in chain if isinstance(link, ssl.SSLError)), None)
    if failure is None:
        return None
    reason = failure.reason or ""
    if isinstance(failure, ssl.SSLCertVerificationError):
        return ServerUnreachable(
            f"the certificate of {url} is not trusted: {failure.verify_message or reason}",
            hint="name the CA's file in redis.ca_file, and the host as the certificate does",
            code="bad_certificate",
        )
    if re.search("ALERT_.*(CERT|UNKNOWN_CA|HANDSHAKE_F)", reason):
        return ServerUnreachable(
            f"{url} did not accept our certificate: {reason}",
            hint="name a certificate and key that it trusts in redis.cert_file and redis.key_file",
            code="bad_certificate",
        )
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return ServerUnreachable(f"{url} does not speak TLS", hint="try redis://", code="server_refused")
    return None


def _reason(error: OSError) -> str:
    # trio puts the address into strerror, and a failed name lookup has a number of its own below zero.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and what it was raised from; of a group (trio tries several addresses at once) the first."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
        else:
            error = error.__cause__


def _version(address: Address, hello: Any) -> str:
    version: Any = cast("dict[bytes, Any]", hello).get(b"version") if isinstance(hello, dict) else None
    if not isinstance(version, bytes) or not version.partition(b".")[0].isdigit():
        raise ProtocolViolation(f"{address.redacted} answered HELLO without saying its version")
    text = version.decode("ascii", "replace")
    if int(text.partition(".")[0]) < OLDEST_MAJOR:
        raise _too_old(address, f"it is {text}")
    return text


def _too_old(address: Address, what: str) -> ServerUnreachable:
    return ServerUnreachable(
        f"{address.redacted} is too old: {what}, and Tinytown needs Redis or Valkey {OLDEST_MAJOR}.0 or newer",
        hint="upgrade it, or leave redis.url out and use the embedded server",
        code="server_too_old",
    )
