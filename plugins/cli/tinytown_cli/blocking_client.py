"""Operations over a plain blocking socket, for quick commands: no trio, no redis-py, TLS only where the URL asks for it.

Errors and codes are those of the link. No push messages, no waiting for an outage to end, no sharing: one caller, one
connection, opened when first needed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tinytown.errors import ProtocolViolation, ServerUnreachable, TinytownError
from tinytown.protocol import MAX_LIBRARY_LOADS, Argument, Operation, Reply, load_library
from tinytown.redis import Address, Parser, check_handshake, connect_error, is_push, pack, unconfirmed

if TYPE_CHECKING:
    from _socket import socket as Socket
    from types import TracebackType

T = TypeVar("T")

_RECEIVE_SIZE_BYTES = 64 * 1024
_LOADING_POLL_S = 0.05


class BlockingClient:
    """A blocking client for one thread; connects when first used, and is a context manager that closes.

    `timeout_s` bounds each connect and each exchange; ``math.inf`` waits for ever. Every method that uses the server
    raises ServerUnreachable with the codes of `tinytown.redis.connect_error`, Unconfirmed if no answer came after the
    request was handed over, and what `Operation.read` makes of the server's errors.
    """

    def __init__(self, address: Address, *, timeout_s: float = 5.0) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.server_version = ""
        self._socket: Socket | None = None
        self._parser: Parser | None = None

    def __enter__(self) -> BlockingClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def connect(self) -> None:
        """Be connected; a server that is still loading its data is asked again until `timeout_s` has passed."""
        deadline = time.monotonic() + self.timeout_s
        busy: ServerUnreachable | None = None
        while self._socket is None:
            try:
                self._connect(deadline)
            except ServerUnreachable as error:
                in_time = time.monotonic() + _LOADING_POLL_S < deadline
                if error.code in ("server_loading", "server_busy"):
                    busy = error
                elif busy is None or in_time:
                    raise
                if not in_time:
                    raise busy from busy.__cause__  # more specific than the timeout of the last attempt
                time.sleep(_LOADING_POLL_S)

    def close(self) -> None:
        """Be disconnected; the next call connects again."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._parser = None

    def run(self, operation: Operation[T], *, timeout_s: float | None = None) -> T:
        """The result of `operation`; loads its function library if missing. `timeout_s` replaces the client's, for blocking."""
        (result,) = self.run_all([operation], timeout_s=timeout_s)
        if isinstance(result, TinytownError):
            raise result
        return cast("T", result)

    def run_all(self, operations: Sequence[Operation[Any]], *, timeout_s: float | None = None) -> list[Any]:
        """The results of `operations` in order, or in the place of each that failed its TinytownError. One write."""
        results = list(map(_result, operations, self._exchange(operations, timeout_s)))
        for i, operation in enumerate(operations):
            for _ in range(MAX_LIBRARY_LOADS):
                if (library := operation.missing_library(results[i])) is None:
                    break
                try:
                    self.run(load_library(library), timeout_s=timeout_s)
                    results[i] = _result(operation, self._exchange([operation], timeout_s)[0])
                except TinytownError as error:
                    results[i] = error
        return results

    def command(self, *words: Argument, timeout_s: float | None = None) -> Reply:
        """The server's reply to any command; never sent twice."""
        return self.run(Operation(words, lambda reply: reply, repeatable=False), timeout_s=timeout_s)

    def _exchange(self, operations: Sequence[Operation[Any]], timeout_s: float | None) -> list[Reply]:
        """The reply to each operation, or in its place an Unconfirmed.

        When the connection breaks, the repeatable ones are sent once more: most often the server was restarted between
        two commands. When time is over they are not.
        """
        packed = [pack(operation.command) for operation in operations]
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        replies: list[Reply] = [None] * len(operations)
        unanswered = list(range(len(operations)))
        for is_last in (False, True):
            if not unanswered:
                break
            try:
                self.connect()
                got, why = self._request_replies([packed[i] for i in unanswered], deadline)
            except TinytownError as error:
                if not is_last:
                    raise
                got, why = [], error
            for i, reply in zip(unanswered, got, strict=False):
                replies[i] = reply
            to_repeat: list[int] = []
            for i in unanswered[len(got) :]:
                if operations[i].repeatable and not is_last and time.monotonic() < deadline:
                    to_repeat.append(i)
                else:
                    replies[i] = unconfirmed(why)
            unanswered = to_repeat
        return replies

    def _connect(self, deadline: float) -> None:
        address = self.address
        handshake = [pack(command) for command in address.handshake()]
        try:
            self._socket = _open_socket(address, _remaining_s(deadline))
        except OSError as error:
            raise connect_error(error, address) from error
        self._parser = Parser(address)
        replies, why = self._request_replies(handshake, deadline)
        try:
            # Before asking why it ended: the server may have sent only an error, which explains more.
            self.server_version = check_handshake(address, replies)
            if why is not None:
                raise why
        except TinytownError:
            self.close()
            raise

    def _request_replies(self, packed: list[bytes], deadline: float) -> tuple[list[Reply], TinytownError | None]:
        """As many replies as came, and why no more did, in which case the connection is closed."""
        assert self._socket is not None
        assert self._parser is not None
        got: list[Reply] = []
        why: TinytownError
        try:
            self._socket.settimeout(_remaining_s(deadline))
            self._socket.sendall(b"".join(packed))
            self._receive(got, len(packed), deadline)
        except TinytownError as error:
            why = error
        except TimeoutError:
            why = ServerUnreachable(f"{self.address.redacted} did not answer in time", hint="is it up, and not frozen?")
        except OSError as error:
            why = connect_error(error, self.address)
        except BaseException:
            self.close()  # a reply that comes later must not be taken for the next call's
            raise
        else:
            return got, None
        self.close()
        return got[: len(packed)], why

    def _receive(self, got: list[Reply], wanted: int, deadline: float) -> None:
        """Append replies to `got` until it holds `wanted`."""
        assert self._socket is not None
        assert self._parser is not None
        while len(got) < wanted:
            self._socket.settimeout(_remaining_s(deadline))
            data = self._socket.recv(_RECEIVE_SIZE_BYTES)
            if not data:
                raise ServerUnreachable(f"{self.address.redacted} closed the connection")
            got.extend(reply for reply in self._parser.replies(data) if not is_push(reply))
        if len(got) > wanted:
            raise ProtocolViolation("the server sent a reply that answers no request")


def _open_socket(address: Address, timeout_s: float | None) -> Socket:
    if address.scheme == "unix":
        from _socket import AF_UNIX, SOCK_STREAM, socket as unix_socket  # `socket` takes 2 ms to import

        plain = unix_socket(AF_UNIX, SOCK_STREAM)
        try:
            plain.settimeout(timeout_s)
            plain.connect(address.path)
        except BaseException:
            plain.close()
            raise
        return plain
    import socket

    connected = socket.create_connection((address.host, address.port), timeout_s)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if address.scheme == "redis":
        return connected
    try:
        return address.ssl_context().wrap_socket(connected, server_hostname=address.host)
    except BaseException:
        connected.close()
        raise


def _remaining_s(deadline: float) -> float | None:
    """The time until `deadline` as `socket.settimeout` wants it. Raises: TimeoutError when there is none."""
    remaining_s = deadline - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError("the time is over")
    return None if remaining_s == math.inf else remaining_s


def _result(operation: Operation[T], answer: Reply) -> T | TinytownError:
    """What `operation` makes of a reply, or the error that it, or the reply, is."""
    try:
        return answer if isinstance(answer, TinytownError) else operation.read(answer)
    except TinytownError as error:
        return error
