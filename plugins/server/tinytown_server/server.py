"""The embedded server of one town: started, attached to, checked and stopped.

The first process starts it, the others attach, and it keeps running between commands. Blocking and standard library
only, because quick commands import it; the kernel calls it in a thread. Sends AUTH, PING, INFO, SHUTDOWN and CONFIG SET;
knows no keys and no operations, and nothing of servers that ``redis.url`` names.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tinytown.errors import ServerUnreachable

from tinytown_server import daemon, data_directory, key_file
from tinytown_server.binary import Binary, find_binary

if TYPE_CHECKING:
    from tinytown.contracts import ServerProgram

__all__ = ["Binary", "Durability", "EmbeddedServer", "find_binary"]

#: ``safe`` has every write on the disk before it is acknowledged. ``fast`` syncs once a second: when the machine dies, or the
#: server while its disk is busy, the last second or two are lost.
Durability = Literal["safe", "fast"]

_POLL_S = 0.005

#: How long a server that runs may take to open its socket before it counts as having lost it.
_GRACE_S = 2.0


class EmbeddedServer:
    """The server of the town whose state is in `directory`. Holds nothing open."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(os.path.abspath(directory))
        self._is_open = False  # whether the server, when last asked, wanted no password

    @property
    def socket_path(self) -> Path:
        """The Unix socket that the server listens on, by a path that is short enough to connect to."""
        return data_directory.socket_path_of(self.directory)

    @property
    def url(self) -> str:
        """The socket as a URL, percent-encoded, with the file that holds the password: never the password itself."""
        address, key = (path.as_uri() for path in (self.socket_path, self.directory / key_file.NAME))
        return f"unix{address.removeprefix('file')}?password_file={key.removeprefix('file://')}"

    @property
    def log_path(self) -> Path:
        """The server's own log."""
        return self.directory / "redis.log"

    def program(self) -> ServerProgram:
        """The program that `ensure` starts. Raises: ServerUnreachable, as `find_binary`."""
        from tinytown.contracts import ServerProgram  # late: quick commands come through this module

        return ServerProgram(*find_binary())

    def ensure(self, *, durability: Durability = "safe", timeout_s: float = 10.0) -> Literal["started", "attached"]:
        """Make sure that a server answers, starting one if there is none. Blocks for about `timeout_s` at most.

        Any number of processes may call this at once: one starts, the others attach. A running server that is less
        durable than asked for is made more durable, never less. Inside an agent's round nothing is started.

        Raises: ServerUnreachable with code
        ``foreign_directory``, ``directory_not_writable``: the directory cannot hold a server;
        ``no_server_binary``, ``server_too_old``: nothing suitable to start;
        ``corrupt_aof``, ``server_failed``: it ended while starting, for the reason in its log;
        ``server_loading``, ``server_not_answering``, ``server_not_stopping``: one is there, but not ready in time;
        ``server_down``: none is there, and an agent's round must not start one.
        """
        from tinytown.identity import inside_a_round  # late: whoever only pings does without it

        deadline = time.monotonic() + timeout_s
        unreachable_from = time.monotonic() + _GRACE_S
        inside_round = inside_a_round()
        data_directory.claim(self.directory, create=not inside_round)
        log_byte: int | None = None  # where the log of the server that we have started begins
        while not self._await_answer(deadline):
            if time.monotonic() >= deadline:
                raise self._absent(inside_round=inside_round)
            if not inside_round:
                data_directory.make_reachable(self.directory)
            lock = None if inside_round else data_directory.take_lock(self.directory)
            if lock is not None:
                try:
                    log_byte = self._start(lock, log_byte, durability, deadline)
                finally:
                    os.close(lock)  # the server has its own copy
            elif log_byte is None and not inside_round and time.monotonic() >= unreachable_from:
                self._end_unreachable(deadline)
            time.sleep(_POLL_S)
        if log_byte is None and self._is_open and not inside_round:  # a former release has started it
            self._configure(f"requirepass {key_file.make(self.directory)}", deadline)
        if durability == "safe":
            if log_byte is None:
                self._configure("appendfsync always", deadline)
            else:
                data_directory.sync_names(self.directory)
        return "started" if log_byte is not None else "attached"

    def has_data(self) -> bool:
        """Whether data of an earlier start is there; if not, `ensure` begins with none."""
        return (self.directory / "appendonlydir").is_dir()

    def ping(self, *, timeout_s: float = 1.0) -> bool:
        """Whether a server answers within `timeout_s`. One that is still loading, or hangs, does not."""
        return self._state(timeout_s) == "up"

    def pid(self) -> int | None:
        """The process id of the running server, answering or not; None if there is none."""
        try:
            with self._connect(timeout_s=1.0) as connection:
                listening = daemon.listening_pid(connection)
        except OSError:
            listening = None
        return listening or daemon.recorded_pid(self.directory)

    def version(self) -> str | None:
        """The running server's version, for example ``9.1.2``; None if none answers."""
        try:
            info = self._ask("INFO server", timeout_s=1.0) or b""
        except TimeoutError:
            return None
        fields = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
        # Valkey reports the Redis version that it is compatible with beside its own.
        return fields.get("valkey_version") or fields.get("redis_version")

    def stop(self, timeout_s: float = 10.0) -> bool:
        """End the server and wait until its process is gone. Nothing is lost: the data is in the append-only file.

        Returns whether one was running. One whose directory was deleted is ended too.

        Raises: ServerUnreachable with code ``server_not_stopping`` if it is still there after `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        was_left = self.end_left_behind(deadline)
        if (pid := self.pid()) is None:
            return was_left
        data_directory.make_reachable(self.directory)
        try:
            obeys = self._ask("SHUTDOWN", timeout_s=timeout_s / 2) is None  # then it hangs up without a word
        except TimeoutError:
            obeys = False
        if not obeys:
            daemon.terminate(pid)
        daemon.await_end(pid, deadline)
        data_directory.remove_link(self.directory)
        return True

    def end_left_behind(self, deadline: float) -> bool:
        """End servers that ran here before the directory was deleted, by force, until `deadline`; whether there were any.

        Their data is gone with it. Raises: ServerUnreachable with code ``server_not_stopping``.
        """
        pids = daemon.serving_deleted(self.directory)
        for pid in pids:
            daemon.terminate(pid, signal.SIGKILL)
        for pid in pids:
            daemon.await_end(pid, deadline)
        return bool(pids)

    def _connect(self, timeout_s: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(max(timeout_s, 0.05))
            connection.connect(os.fspath(self.socket_path))
        except BaseException:
            connection.close()
            raise
        return connection

    def _ask(self, command: str, *, timeout_s: float) -> bytes | None:
        """The answer to an inline command: its line, or a bulk string's body; None if nobody listens or it hangs up.

        Raises: TimeoutError if a server is there but does not answer within `timeout_s`.
        """
        try:
            with self._connect(timeout_s) as connection:
                connection.sendall(f"AUTH {key_file.read(self.directory) or '-'}\r\n{command}\r\n".encode())
                with connection.makefile("rb") as answer:
                    # Other than with a user's name, a server that wants no password says so.
                    self._is_open = b"without any password" in answer.readline()
                    line = answer.readline()
                    return answer.read(int(line[1:])) if line.startswith(b"$") else line.rstrip() or None
        except BlockingIOError as error:  # the queue of connections that it has yet to accept is full
            raise TimeoutError from error
        except TimeoutError:
            raise
        except PermissionError as error:
            raise ServerUnreachable(
                f"the socket {self.socket_path} belongs to another user: {error.strerror}",
                hint="stop the server that another user started there",
                code="foreign_directory",
            ) from error
        except OSError:  # absent, refused (a stale socket file), or broken off by a server that is ending
            return None

    def _state(self, timeout_s: float) -> Literal["up", "loading", "silent", "down"]:
        # One whose password is lost answers nobody any more: it is as good as down.
        # Being able to connect proves nothing: a killed server's socket may continue accepting for some moments.
        try:
            answer = self._ask("PING", timeout_s=timeout_s)
        except TimeoutError:
            return "silent"
        if answer is None or answer.startswith(b"-NOAUTH"):
            return "down"
        # Any other error is an answer too: on a full disk PING gives MISCONF, during a long function BUSY.
        return "loading" if answer.startswith(b"-LOADING") else "up"

    def _await_answer(self, deadline: float) -> bool:
        """Wait for a server that is there to be ready; False at once if there is none."""
        is_loading = False
        while True:
            state = self._state(deadline - time.monotonic())
            if state in ("up", "down"):
                return state == "up"
            is_loading = is_loading or state == "loading"  # it answers now and then only while it loads
            if time.monotonic() >= deadline:
                if is_loading:
                    raise ServerUnreachable(
                        f"the server at {self.socket_path} is still loading its data",
                        hint="try again later",
                        code="server_loading",
                    )
                raise self._not_answering(f"process {self.pid()} accepts connections but does not reply")
            time.sleep(_POLL_S)

    def _configure(self, setting: str, deadline: float) -> None:
        """Set a setting of a running server. One that is busy with a script, or has too many clients, is asked again."""
        answer: bytes | None = None
        with suppress(TimeoutError):
            while (answer := self._ask(f"CONFIG SET {setting}", timeout_s=deadline - time.monotonic())) != b"+OK":
                if answer is None or time.monotonic() >= deadline:  # it has gone, or time is over
                    break
                time.sleep(_POLL_S)
        if answer != b"+OK":
            reply = answer.decode(errors="replace") if answer else "nothing"
            raise self._not_answering(f"asked to set {setting.partition(' ')[0]}, it replied {reply}")

    def _start(self, lock: int, failed_from: int | None, durability: Durability, deadline: float) -> int:
        """Launch a server with the `lock` in hand; returns where its log begins.

        If there is a `failed_from`, we have launched one before, and the lock is free again because it has ended.
        """
        from tinytown_server import log as server_log  # late: attaching, the common case, does without it

        binary = find_binary()
        if failed_from is not None:
            raise server_log.start_failure(self.log_path, from_byte=failed_from, program=binary.path)
        log_byte = server_log.rotate(self.log_path)
        self.end_left_behind(deadline)
        daemon.launch(
            binary.path,
            self.directory,
            appendfsync="always" if durability == "safe" else "everysec",
            lock=lock,
            password=key_file.make(self.directory),
            timeout_s=max(deadline - time.monotonic(), 0.1),
        )
        return log_byte

    def _end_unreachable(self, deadline: float) -> None:
        """End a server whose socket file was removed: it holds the lock and nobody can reach it any more."""
        pid = daemon.recorded_pid(self.directory)
        if pid is not None:
            daemon.terminate(pid)
            daemon.await_end(pid, deadline)

    def _absent(self, *, inside_round: bool) -> ServerUnreachable:
        if inside_round:
            return ServerUnreachable(
                f"no server answers at {self.socket_path}, and an agent's round must not start one",
                hint="start the town outside of the agent: python -m tinytown",
                code="server_down",
            )
        return self._not_answering("it is being started, or a process that lost its socket still holds its lock")

    def _not_answering(self, why: str) -> ServerUnreachable:
        return ServerUnreachable(
            f"the server at {self.socket_path} does not answer: {why}",
            hint=f"see {self.log_path}, or end that process and try again",
            code="server_not_answering",
        )
