"""What a server can answer, and the one place where an error reply becomes an exception. Pure, no IO.

Both clients (`redis.link` under trio, `redis.light` over a blocking socket) hand replies over in this form:
``bytes`` for strings, ``int``, ``float``, ``bool``, ``None``, ``list`` and ``dict`` as RESP3 has them, `ErrorReply` for
errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar

import msgspec

from tinytown.errors import REPLY_CODES, ProtocolViolation, ServerUnreachable, TinytownError

T = TypeVar("T")

#: A decoded RESP3 reply. Nested replies make a precise type useless, so this is the border where ``Any`` lives.
Reply = Any
Argument = bytes | str | int | float


class ErrorReply(Exception):
    """An error as the server worded it, for example ``NOPERM this user has no permissions``. A value, not raised."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    @property
    def kind(self) -> str:
        """The first word, by which errors are told apart: ``NOPERM``, ``READONLY``, ``TT``."""
        return self.text.partition(" ")[0]


def raise_for(error: ErrorReply) -> NoReturn:
    """Raise what an error reply means.

    The library's own errors read ``TT <code> <JSON object>`` with at least ``message``; see `errors.REPLY_CODES`.
    """
    if error.kind == "TT":
        import json  # not at the top: quick commands seldom need it

        _, code, detail = error.text.split(" ", 2)
        fields: dict[str, Any] = json.loads(detail)
        message, hint = str(fields.pop("message")), str(fields.pop("hint", ""))
        raise REPLY_CODES.get(code, TinytownError)(message, hint=hint, code=code, **fields)
    if error.kind == "READONLY":
        raise ServerUnreachable(
            "the server is a read-only replica; a town writes to it",
            hint="point redis.url at the primary",
            code="server_read_only",
        ) from error
    if error.kind == "OOM":
        raise ServerUnreachable(
            "the server is out of memory and refused the write; nothing was changed",
            hint="raise its maxmemory or remove old data",
            code="server_out_of_memory",
        ) from error
    if error.kind in ("BUSY", "MISCONF", "NOAUTH", "NOPERM", "LOADING", "MASTERDOWN", "CLUSTERDOWN"):
        raise ServerUnreachable(f"the server refused: {error.text}", code="server_refused") from error
    raise ProtocolViolation(f"the server answered with an unexpected error: {error.text}") from error


class Operation(msgspec.Struct, Generic[T], frozen=True):
    """One operation: the words to send and how to read the answer. Executed by a link or by the light client.

    ``command`` is what goes over the wire. ``decode`` turns a reply that is not an error into the result.
    ``repeatable`` says that running it twice does no more than running it once, so that a client may send
    it again after a broken connection.
    """

    command: tuple[Argument, ...]
    decode: Callable[[Reply], T]
    repeatable: bool = True

    def read(self, reply: Reply) -> T:
        """The result that `reply` stands for.

        Raises: the error of `errors` that an error reply means; ProtocolViolation for a reply of the wrong shape.
        """
        if isinstance(reply, ErrorReply):
            raise_for(reply)
        try:
            return self.decode(reply)
        except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            raise ProtocolViolation(f"cannot understand the answer to {self.command[:2]!r}: {error}") from error
