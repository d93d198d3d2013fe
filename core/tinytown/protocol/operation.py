"""What a server can answer, and the one place where an error reply becomes an exception. Pure, no IO.

Clients hand replies over as RESP3 has them, with ``bytes`` for strings and `ErrorReply` for errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar

import msgspec

from tinytown.errors import REPLY_CODES, ProtocolViolation, ServerUnreachable, TinytownError
from tinytown.model.text import check_utf8
from tinytown.protocol.function_library import TOWN_LIBRARY, FunctionLibrary

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
        """The first word, which identifies the error: ``NOPERM``, ``READONLY``, ``TT``."""
        return self.text.partition(" ")[0]


#: Kind of an error of the server -> message, hint and code.
SERVER_REFUSALS = {
    "READONLY": (
        "the server is a read-only replica; a town writes to it",
        "point redis.url at the primary",
        "server_read_only",
    ),
    "MOVED": (
        "the server is a node of a Redis Cluster, and the town's keys lie on another one",
        "use a server that is no cluster, or name the node that has the slot of the town",
        "server_clustered",
    ),
    "OOM": (
        "the server is out of memory and refused the write; nothing was changed",
        "raise its maxmemory or remove old data",
        "server_out_of_memory",
    ),
}


def raise_for(error: ErrorReply) -> NoReturn:
    """Raise what an error reply means. Those of the library read ``TT <code> <JSON object>``, see `errors.REPLY_CODES`."""
    if error.kind == "TT":
        import json  # not at the top: quick commands seldom need it

        _, code, detail = error.text.split(" ", 2)
        fields: dict[str, Any] = json.loads(detail)
        message, hint = str(fields.pop("message")), str(fields.pop("hint", ""))
        raise REPLY_CODES.get(code, TinytownError)(message, hint=hint, code=code, **fields)
    if error.kind in SERVER_REFUSALS:
        message, hint, code = SERVER_REFUSALS[error.kind]
        raise ServerUnreachable(message, hint=hint, code=code) from error
    if error.kind in ("BUSY", "MISCONF", "NOAUTH", "NOPERM", "NOREPLICAS", "LOADING", "MASTERDOWN", "CLUSTERDOWN"):
        raise ServerUnreachable(f"the server refused: {error.text}", code="server_refused") from error
    raise ProtocolViolation(f"the server answered with an unexpected error: {error.text}") from error


class Operation(msgspec.Struct, Generic[T], frozen=True):
    """One operation: the command to send and how to read the reply. Executed by `Town.run`, or by any other client.

    ``command`` is what goes over the wire. ``decode`` turns a reply that is not an error into the result.
    ``repeatable`` says that running it twice does no more than running it once, so that a client may send
    it again after a broken connection. ``library`` has the function that it calls; None for plain commands.
    """

    command: tuple[Argument, ...]
    decode: Callable[[Reply], T]
    repeatable: bool = True
    library: FunctionLibrary | None = None

    def read(self, reply: Reply) -> T:
        """The result that `reply` stands for. Raises: the error that it means; ProtocolViolation for one of the wrong shape."""
        if isinstance(reply, ErrorReply):
            raise_for(reply)
        try:
            return self.decode(reply)
        except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            raise ProtocolViolation(f"cannot understand the answer to {self.command[:2]!r}: {error}") from error

    def missing_library(self, error: object) -> FunctionLibrary | None:
        """The library to load before this operation is run again, if `error` says that the server lacks it; else None."""
        cause = getattr(error, "__cause__", None)
        lacks = isinstance(cause, ErrorReply) and "Function not found" in cause.text
        return self.library if lacks else None


def function_call(
    library: FunctionLibrary, function: str, base: str, decode: Callable[[Reply], T], *args: Argument
) -> Operation[T]:
    """The operation that calls a function of `library` for the town with the base key `base`.

    A function made with ``register_once`` takes a fresh id (`model.ids.new_id`) as first argument. Raises: UsageError for
    an argument that is not UTF-8.
    """
    for text in args:
        if isinstance(text, str) and not text.isascii():
            check_utf8(text)
    return Operation(("FCALL", library.function(function), 1, base, *args), decode, library=library)


def load_library(library: FunctionLibrary = TOWN_LIBRARY) -> Operation[str]:
    """Install a function library on the server (a no-op when it is there)."""
    return Operation(("FUNCTION", "LOAD", "REPLACE", library.source()), bytes.decode)
