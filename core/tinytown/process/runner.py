"""One command in progress: its pipes, its time limits, what `reaper.RunSupervisor` reports of it, and how it ended."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Literal, Protocol

import trio

from tinytown.errors import HostFailure, ProcessFailed, TinytownError, host_failure
from tinytown.process import reaper
from tinytown.process.output import Channel, Output
from tinytown.process.pausable_clock import PausableClock

Reason = Literal["exited", "timeout", "silence"]

END_BOUND_S = 2 * reaper.KILL_BOUND_S + 2.0  # beyond the grace: what a run supervisor and then the reaper may take
_CHUNK_BYTES = 64 * 1024
_DRAIN_CHUNKS = 64  # more than a pipe holds: a writer that is still there after the end of the tree is no part of it


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended; by then nothing that it started is left.

    Either `status` or `signal` is None (both only for one that could not be killed). `reason` says whose doing it was:
    its own (`exited`) or one of the limits of the run. The tails are the last 16 KiB of each stream, decoded.
    `survivors` are processes that could not be killed (another user's, or stuck in the system): normally none.
    """

    pid: int
    status: int | None
    signal: int | None
    reason: Reason
    stdout_tail: str
    stderr_tail: str
    survivors: tuple[int, ...] = ()


class Source(Protocol):
    """Who gives a command its standard input bit by bit, once it has started."""

    def begin(self) -> None: ...

    async def feed(self, write: Callable[[bytes], Awaitable[bool]]) -> None: ...


class Pipes:
    """The descriptors of one run: the kernel's ends, non-blocking, and those for the reaper (`theirs`)."""

    def __init__(self) -> None:
        self.control, control = socket.socketpair()
        self.control.setblocking(False)
        self.stdin: int | None = None
        self.stdout = self.stderr = -1
        self.theirs: list[int] = [control.detach()]

    def add_output(self) -> int:
        """A new pipe for the command to write to; the end to read from."""
        reading, writing = os.pipe()
        self.theirs.append(writing)
        os.set_blocking(reading, False)
        return reading

    def add_stdin(self, source: bytes | Path | Source | None) -> None:
        if source is not None and not isinstance(source, Path):
            reading, self.stdin = os.pipe()
            self.theirs.append(reading)
            os.set_blocking(self.stdin, False)
        else:
            try:
                # Without O_NONBLOCK the opening of a FIFO would block the kernel until there is a writer.
                self.theirs.append(os.open(source or os.devnull, os.O_RDONLY | os.O_NONBLOCK))
            except OSError as error:
                if host_failure(error):
                    raise
                raise ProcessFailed(
                    f"cannot read {source} as standard input: {error.strerror}", code="stdin_not_readable"
                ) from error
            os.set_blocking(self.theirs[-1], True)

    def close_theirs(self) -> None:
        while self.theirs:
            os.close(self.theirs.pop())

    def close_stdin(self) -> None:
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None

    def close(self) -> None:
        self.close_theirs()
        self.close_stdin()
        self.control.close()
        for fd in (self.stdout, self.stderr):
            if fd >= 0:
                os.close(fd)


@contextmanager
def open_pipes(stdin: bytes | Path | Source | None) -> Generator[Pipes]:
    pipes: Pipes | None = None
    try:
        try:
            pipes = Pipes()
            pipes.add_stdin(stdin)
            pipes.stdout = pipes.add_output()
            pipes.stderr = pipes.add_output()
        except OSError as error:
            raise failed_to_start(error, "cannot open the pipes of a command") from error
        yield pipes
    finally:
        if pipes is not None:
            pipes.close()


class CommandRun:
    """One command in progress: three pipes, the reports of its run supervisor, and two limits by the `clock`, which its
    owner pauses with it."""

    def __init__(
        self,
        pipes: Pipes,
        output: Output,
        clock: PausableClock,
        *,
        timeout_s: float | None,
        silence_s: float | None,
        grace_s: float,
    ) -> None:
        self._pipes = pipes
        self._output = output
        self._silence_s = inf if silence_s is None else silence_s
        self._grace_s = grace_s
        self._clock = clock
        self._last_output = clock.now()
        self._due = inf if timeout_s is None else clock.now() + timeout_s
        self._continued: trio.Event | None = None  # while paused
        self._requested = False
        self._reports: dict[str, Any] = {}
        self._reason: Reason = "exited"
        self._listener_error: Exception | None = None
        self._muted = False
        self.is_over = False  # whether the run supervisor has ended, and everything below it

    @property
    def has_begun(self) -> bool:
        """The command may have had an effect, or was refused. Without this, it is safe to try again."""
        return bool(self._reports)

    @property
    def abandoned(self) -> bool:
        """The run supervisor ended, or was given up, without a final report."""
        return self.has_begun and not {"ended", "failed"} & self._reports.keys()

    async def carry_out(self, request: bytes, stdin: bytes | Path | Source | None) -> None:
        """From the request to the end of the tree, also when cancelled."""
        started = trio.Event()
        try:
            while self._continued is not None:
                await self._continued.wait()
            await self._send(self._pipes.control.fileno(), request)
            self._requested = True
            if self._continued is not None:
                self.order(reaper.PAUSE)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._feed, stdin, started)
                nursery.start_soon(self._watch_clocks, nursery.cancel_scope)
                for fd, channel in self._channels():
                    nursery.start_soon(self._read, fd, channel, nursery.cancel_scope)
                await self._listen(started)
                nursery.cancel_scope.cancel()
        finally:
            self._pipes.close_stdin()
            if not self.is_over:
                await self._end()
        if self._listener_error is not None:
            raise self._listener_error
        # All that the tree wrote is in the pipes now. An end of file may never come: an outsider can hold them too.
        for fd, channel in self._channels():
            for _ in range(_DRAIN_CHUNKS):
                if not (chunk := _read_now(fd)):
                    break
                self._output.take(channel, chunk)
                await trio.lowlevel.checkpoint()
            channel.close()

    async def _end(self) -> None:
        """Have the tree ended, and drop its output, so that it does not block on writing."""
        self._muted = True
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self._grace_s + END_BOUND_S):
            if self._requested:
                self.order(reaper.END)
            else:
                self._pipes.control.shutdown(socket.SHUT_WR)  # any byte would be taken for one of the request
            async with trio.open_nursery() as nursery:
                for fd, channel in self._channels():
                    nursery.start_soon(self._read, fd, channel, nursery.cancel_scope)
                await self._listen(trio.Event())
                nursery.cancel_scope.cancel()

    def result(self, command: Sequence[str], cwd: Path) -> Exit:
        """What `run` returns or raises. Raises: ProcessFailed."""
        if (failure := self._reports.get("failed")) is not None:
            raise _explain(failure, command, cwd)
        if self._reports.get("lost") == "lease":
            raise HostFailure(f"the lease of this kernel ended while {command[0]!r} was running", code="lease_lost")
        if "ended" not in self._reports or self._reports["lost"]:
            raise reaper_lost(f"while {command[0]!r} was running")
        return Exit(
            pid=self._reports["started"],
            status=self._reports.get("exited"),
            signal=self._reports.get("signal"),
            reason=self._reason,
            stdout_tail=self._output.stdout.tail,
            stderr_tail=self._output.stderr.tail,
            survivors=tuple(self._reports.get("survivors", ())),
        )

    def pause(self) -> None:
        if self._continued is None:
            self._continued = trio.Event()
            if self._requested:  # else the request is followed by the order
                self.order(reaper.PAUSE)

    def resume(self) -> None:
        if self._continued is not None:
            if self._requested:
                self.order(reaper.CONTINUE)
            self._continued.set()
            self._continued = None

    def order(self, order: bytes) -> None:
        """One of the orders of `reaper`; to a run that has ended it means nothing."""
        with suppress(OSError):
            self._pipes.control.send(order)

    def _channels(self) -> tuple[tuple[int, Channel], ...]:
        return (self._pipes.stdout, self._output.stdout), (self._pipes.stderr, self._output.stderr)

    async def _listen(self, started: trio.Event) -> None:
        """Read the run supervisor's reports until it, and everything below it, has ended."""
        received = b""
        while chunk := await self._receive():
            *reports, received = (received + chunk).split(b"\n")
            for report in reports:
                self._reports.update(json.loads(report))
            if "started" in self._reports:
                started.set()
        self.is_over = True

    async def _receive(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._pipes.control)
            with suppress(BlockingIOError):
                try:
                    return self._pipes.control.recv(4096)
                except ConnectionResetError:  # it ended with an order unread
                    return b""

    async def _read(self, fd: int, channel: Channel, scope: trio.CancelScope) -> None:
        """Read one stream to its end; an exception of the listener is kept, and cancels `scope`."""
        while True:
            await trio.lowlevel.wait_readable(fd)
            chunk = _read_now(fd)
            if chunk is None:
                continue
            if not chunk:
                return
            self._last_output = self._clock.now()
            if not self._muted:
                try:
                    self._output.take(channel, chunk)
                except Exception as error:
                    self._listener_error = error
                    scope.cancel()
                    return

    async def _feed(self, stdin: bytes | Path | Source | None, started: trio.Event) -> None:
        if self._pipes.stdin is None or stdin is None or isinstance(stdin, Path):
            return
        if isinstance(stdin, bytes):
            await self._send(self._pipes.stdin, stdin)
        else:  # once it has started: before that, it may be tried again
            await started.wait()
            stdin.begin()
            await stdin.feed(partial(self._send, self._pipes.stdin))
        self._pipes.close_stdin()

    async def _send(self, fd: int, content: bytes) -> bool:
        """Write all of it, or until the other end is closed; whether it was all."""
        unsent = memoryview(content)
        while unsent:
            await trio.lowlevel.wait_writable(fd)
            try:
                unsent = unsent[os.write(fd, unsent) :]
            except BlockingIOError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                return False
        return True

    async def _watch_clocks(self, scope: trio.CancelScope) -> None:
        """End the command when it has been running or silent for too long; cancel `scope` if that has no effect."""
        while "exited" not in self._reports:
            silent_at = self._last_output + self._silence_s
            due = min(self._due, silent_at)
            if self._continued is not None:
                await self._continued.wait()
            elif (left_s := due - self._clock.now()) > 0:
                await trio.sleep(left_s)
            else:
                self._reason = "timeout" if self._due <= silent_at else "silence"
                self.order(reaper.END)
                await trio.sleep(self._grace_s + END_BOUND_S)
                scope.cancel()


def _read_now(fd: int) -> bytes | None:
    """What the pipe holds; empty at its end; None when there is nothing at present."""
    try:
        return os.read(fd, _CHUNK_BYTES)
    except BlockingIOError:
        return None


def encode_request(
    command: Sequence[str], cwd: Path, env: Mapping[str, str], *, grace_s: float, first_signal: int
) -> bytes:
    if not command or any("\0" in word for word in (*command, *env.keys(), *env.values(), os.fspath(cwd))):
        raise ProcessFailed(
            "a command needs at least its name, and no NUL character in any word or variable", code="bad_argument"
        )
    body = json.dumps(
        {
            "command": list(command),
            "cwd": os.path.abspath(cwd),
            "env": dict(env),
            "grace_s": grace_s,
            "first_signal": int(first_signal),
        }
    ).encode()
    return struct.pack("!I", len(body)) + body


def _explain(failure: Mapping[str, Any], command: Sequence[str], cwd: Path) -> TinytownError:
    """The error that a `failed` report means."""
    number, path, name = failure["errno"], failure["path"], command[0]
    executing, hint = failure["stage"] == "execute", ""
    if host := host_failure(OSError(number, failure["text"]), f"cannot run {name!r}"):
        return host
    if failure["stage"] == "cwd":
        code, text = "no_such_directory", f"cannot run {name!r} in {cwd}: {os.strerror(number)}"
        hint = "name a directory that exists and can be entered"
    elif number == errno.E2BIG:
        code, text = "arguments_too_long", f"the arguments or the environment of {name!r} are too long for the system"
        hint = "give long texts by standard input or in a file"
    elif executing and number == errno.ENOENT and not path:
        code, text = "command_not_found", f"no such command: {name!r}"
        hint = "install it, or put its directory on PATH"
    elif executing and number == errno.ENOENT:
        code = "command_not_executable"
        text = f"cannot run {path}: the interpreter that its first line names does not exist"
        hint = "correct its first line"
    elif executing and number in (errno.EACCES, errno.EISDIR, errno.ENOEXEC, errno.ETXTBSY):
        code, text = "command_not_executable", f"cannot run {path or name!r}: {os.strerror(number)}"
        hint = "make it executable, and begin a script with #! and its interpreter"
    elif number == errno.EINVAL:
        code, text = "bad_argument", f"cannot run {name!r}: {failure['text']}"
    else:
        return ProcessFailed(f"cannot run {name!r}: {failure['text']}")
    return ProcessFailed(text, hint=hint, code=code)


def failed_to_start(error: OSError, message: str) -> TinytownError:
    return host_failure(error, message) or ProcessFailed(f"{message}: {error.strerror}")


def reaper_lost(when: str) -> ProcessFailed:
    return ProcessFailed(
        f"the reaper process was killed or stopped {when}; everything that the run had started was ended",
        hint="run it again",
        code="reaper_lost",
    )
