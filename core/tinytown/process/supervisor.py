"""Running an agent's command-line tool: start it, feed it, read its lines, watch its time, and end all of its tree.

The trio half of `keeper`, which does the forking, signalling and reaping in a process of its own (why: `PR_SET_PDEATHSIG`
follows threads, a kernel that is killed cannot clean up, and only a subreaper sees what has left the process group).
It knows pipes, limits and clocks; what the lines mean is the caller's business. It never raises for how a command
ended, only for one that could not be run at all.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from array import array
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal

import trio

from tinytown.errors import ProcessFailed
from tinytown.process import reaper as keeper
from tinytown.process.orphans import Orphan, sweep_orphans
from tinytown.process.output import Channel, Line, Output
from tinytown.process.pausable_clock import PausableClock

__all__ = ["Exit", "Line", "Orphan", "ProcessSupervisor", "open_process_supervisor", "sweep_orphans"]

Reason = Literal["exited", "timeout", "silence"]

_CHUNK_BYTES = 64 * 1024
_DRAIN_CHUNKS = 64  # more than any pipe holds: whoever still writes after the end of the tree does not belong to it
_END_BOUND_S = 2 * keeper.KILL_BOUND_S + 2.0  # beyond the grace: what a run keeper and then the main keeper may take
_CLOSE_BOUND_S = 5.0
_START_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended; by then nothing that it started is left.

    Either `status` or `signal` is None (both only for one that could not be killed). `reason` says whose doing it was:
    its own (`exited`) or one of the limits of the run. The tails are the last 16 KiB of each stream, decoded.
    `undelivered_lines` came after the output limit. `survivors` are processes that could not be killed (another user's,
    or stuck in the system): normally none.
    """

    pid: int
    status: int | None
    signal: int | None
    reason: Reason
    stdout_tail: str
    stderr_tail: str
    duration_s: float
    undelivered_lines: int = 0
    survivors: tuple[int, ...] = ()


@asynccontextmanager
async def open_process_supervisor(*, run_dir: Path) -> AsyncGenerator[ProcessSupervisor]:
    """A keeper for the runs of one kernel; `run_dir` (made if missing) gets a record file for each run in progress.

    Runs belong inside the block. On the way out the keeper's process is waited for.
    Raises: ProcessFailed when it cannot be started.
    """
    try:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _failed_to_start(error.errno or 0, f"cannot make the directory {run_dir}: {error.strerror}") from error
    opened = ProcessSupervisor(run_dir)
    try:
        await opened.start()
        yield opened
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * _CLOSE_BOUND_S):
            await opened.close()


class ProcessSupervisor:
    """Runs commands; see `open_process_supervisor`. If its process is killed, runs in progress fail and the next starts another.

    `clock` stands still while runs are paused: for the limits of whoever waits for something else than a run.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir.absolute()
        self._process: trio.Process | None = None
        self._socket: socket.socket | None = None
        self._starting = trio.Lock()
        self._runs: set[_Run] = set()
        self.clock = PausableClock()
        self._heeding: list[Callable[[bool], None]] = []

    async def run(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        on_line: Callable[[Line], None],
        stdin: bytes | Path | None = None,
        timeout_s: float | None = None,
        silence_s: float | None = None,
        grace_s: float = 3.0,
        first_signal: int = signal.SIGTERM,
        line_limit_bytes: int = 64 * 1024,
        output_limit_bytes: int = 100 * 1024 * 1024,
        log_path: Path | None = None,
    ) -> Exit:
        """Run `command` in `cwd` with exactly `env`, wait for its end, and end whatever it leaves behind.

        The command leads a session of its own and is looked up in the PATH of `env`. It reads `stdin` (bytes, or a file;
        None is `/dev/null`) to its end. Each line of its output goes to `on_line`, which must be quick; a line beyond
        `line_limit_bytes` arrives cut, lines beyond `output_limit_bytes` of output are only counted. All output
        within that limit is also appended to `log_path`. Without output for `silence_s`, or after `timeout_s`, it is
        ended: `first_signal` to its group, SIGTERM to what has left the group, and after `grace_s` SIGKILL to all. A paused
        run's clocks stand still.

        Cancelled: the tree is ended in the same way, output dropped, before Cancelled goes on; so too when `on_line`
        raises, and its exception is raised here.
        Raises: ProcessFailed, by `code`: `command_not_found`, `command_not_executable`, `no_such_directory` (cwd),
        `arguments_too_long`, `bad_argument`, `stdin_not_readable`, `log_not_writable`, `too_many_open_files`,
        `keeper_lost` (somebody killed the keeper; the tree was ended), `process_failed` (anything else).
        """
        request = _encode_request(command, cwd, env, grace_s=grace_s, first_signal=first_signal)
        for _ in range(_START_ATTEMPTS):
            output = Output(
                on_line, line_limit_bytes=line_limit_bytes, output_limit_bytes=output_limit_bytes, log_path=log_path
            )
            with ExitStack() as owned:
                owned.callback(output.close)
                pipes = owned.enter_context(_open_pipes(stdin))
                await self._hand_over(pipes)
                run = _Run(pipes, output, timeout_s=timeout_s, silence_s=silence_s, grace_s=grace_s)
                self._runs.add(run)
                if self.clock.stopped:
                    run.pause()
                owned.callback(self._runs.discard, run)
                try:
                    await run.carry_out(request, stdin if isinstance(stdin, bytes) else None)
                finally:
                    if run.abandoned:
                        await self._end_abandoned(env)
            if run.has_begun or not run.is_over:
                return run.result(command, cwd)
        raise _keeper_lost("before it had started the command")

    @property
    def running(self) -> int:
        """How many commands are on their way, paused or not."""
        return len(self._runs)

    def pause_all(self) -> None:
        """Stop every process of every run (SIGSTOP) and their clocks. A command that is to start later waits."""
        self.clock.stop()
        for run in self._runs:
            run.pause()
        for tell in self._heeding:
            tell(True)

    def continue_all(self) -> None:
        """Let paused runs go on (SIGCONT), with the time that they had left."""
        self.clock.go_on()
        for run in self._runs:
            run.resume()
        for tell in self._heeding:
            tell(False)

    @contextmanager
    def on_pause(self, tell: Callable[[bool], None]) -> Generator[None]:
        """For clocks beside a run's own: `tell` is called with True when runs are paused, also when they are already,
        and with False when they go on, for as long as the block lasts."""
        self._heeding.append(tell)
        try:
            if self.clock.stopped:
                tell(True)
            yield
        finally:
            self._heeding.remove(tell)

    def hurry_all(self) -> None:
        """End every run now, without its grace; those being ended already lose the rest of theirs."""
        for run in self._runs:
            run.order(keeper.KILL)

    async def start(self) -> socket.socket:
        """The socket of a keeper that is alive; starts one if there is none. Called by `open_process_supervisor` and each run."""
        async with self._starting:
            if self._process is not None and self._process.returncode is not None:
                await self.close()
            if self._socket is None:
                with ExitStack() as if_failed:
                    ours, theirs = socket.socketpair()
                    if_failed.callback(ours.close)
                    ours.setblocking(False)
                    with theirs:
                        self._process = await _start_process(theirs, self._run_dir)
                    if_failed.pop_all()
                self._socket = ours
            return self._socket

    async def close(self) -> None:
        """Let go of the keeper's process, which then ends as soon as its runs have, and wait for that."""
        if self._socket is not None:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._socket = None
        if self._process is not None:
            with trio.move_on_after(_CLOSE_BOUND_S):
                await self._process.wait()
            if self._process.returncode is None:
                self._process.kill()  # its run keepers then end by the lifeline
                await self._process.wait()
            self._process = None

    async def _hand_over(self, pipes: _Pipes) -> None:
        """Give the keeper its ends of the pipes and close them here. Cancelled: either it has all of them or none."""
        fds = array("i", pipes.theirs)
        for _ in range(_START_ATTEMPTS):
            kernel_socket = await self.start()
            try:
                await _send_fds(kernel_socket, fds)
            except (BrokenPipeError, ConnectionResetError, trio.ClosedResourceError):  # killed a moment ago
                await self._wait_for_end()
            else:
                pipes.close_theirs()
                return
        raise _keeper_lost("before it had started the command")

    async def _wait_for_end(self) -> None:
        """The keeper has closed its socket, so it is about to end."""
        if self._process is not None:
            with trio.move_on_after(_CLOSE_BOUND_S):
                await self._process.wait()

    async def _end_abandoned(self, env: Mapping[str, str]) -> None:
        """The run keeper was killed or stopped, perhaps with the main keeper: nobody else may look for its tree."""
        town, round_id = env.get("TINYTOWN_TOWN"), env.get("TINYTOWN_RUN_ID")
        if town and round_id:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _END_BOUND_S):
                await trio.to_thread.run_sync(
                    lambda: sweep_orphans(self._run_dir, town_root=Path(town), round_id=round_id)
                )


class _Pipes:
    """The descriptors of one run: the kernel's ends, non-blocking, and those for the keeper."""

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

    def add_stdin(self, source: bytes | Path | None) -> None:
        if isinstance(source, bytes):
            reading, self.stdin = os.pipe()
            self.theirs.append(reading)
            os.set_blocking(self.stdin, False)
        else:
            try:
                # Without O_NONBLOCK the opening of a FIFO would hold up the whole kernel until somebody writes to it.
                self.theirs.append(os.open(source or os.devnull, os.O_RDONLY | os.O_NONBLOCK))
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
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
def _open_pipes(stdin: bytes | Path | None) -> Generator[_Pipes]:
    pipes: _Pipes | None = None
    try:
        try:
            pipes = _Pipes()
            pipes.add_stdin(stdin)
            pipes.stdout = pipes.add_output()
            pipes.stderr = pipes.add_output()
        except OSError as error:
            raise _failed_to_start(error.errno or 0, str(error)) from error
        yield pipes
    finally:
        if pipes is not None:
            pipes.close()


class _Run:
    """One command on its way: three pipes, the run keeper's reports, and two clocks."""

    def __init__(
        self, pipes: _Pipes, output: Output, *, timeout_s: float | None, silence_s: float | None, grace_s: float
    ) -> None:
        self._pipes = pipes
        self._output = output
        self._silence_s = inf if silence_s is None else silence_s
        self._grace_s = grace_s
        self._began = self._last_output = trio.current_time()
        self._due = inf if timeout_s is None else self._began + timeout_s
        self._paused_at = self._began
        self._continued: trio.Event | None = None  # while paused
        self._requested = False
        self._reports: dict[str, Any] = {}
        self._duration_s = 0.0
        self._reason: Reason = "exited"
        self._listener_error: Exception | None = None
        self._muted = False
        self._over = False

    @property
    def has_begun(self) -> bool:
        """The command may have had an effect, or was refused. Without this, it is safe to try again."""
        return bool(self._reports)

    @property
    def is_over(self) -> bool:
        """The run keeper has gone, and everything below it."""
        return self._over

    @property
    def abandoned(self) -> bool:
        """The run keeper went, or was given up, without a last word."""
        return self.has_begun and not {"ended", "failed"} & self._reports.keys()

    async def carry_out(self, request: bytes, stdin: bytes | None) -> None:
        """From the request to the end of the tree, also when cancelled."""
        try:
            while self._continued is not None:
                await self._continued.wait()
            await self._send(self._pipes.control.fileno(), request)
            self._requested = True
            if self._continued is not None:
                self.order(keeper.PAUSE)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._feed, stdin)
                nursery.start_soon(self._watch_clocks, nursery.cancel_scope)
                for fd, channel in self._channels():
                    nursery.start_soon(self._read, fd, channel, nursery.cancel_scope)
                await self._listen()
                nursery.cancel_scope.cancel()
        finally:
            self._pipes.close_stdin()
            if not self._over:
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
        """Have the tree ended, dropping what it still says, so that it is not stuck in writing it."""
        self._muted = True
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self._grace_s + _END_BOUND_S):
            if self._requested:
                self.order(keeper.END)
            else:
                self._pipes.control.shutdown(socket.SHUT_WR)  # any byte would be taken for one of the request
            async with trio.open_nursery() as nursery:
                for fd, channel in self._channels():
                    nursery.start_soon(self._read, fd, channel, nursery.cancel_scope)
                await self._listen()
                nursery.cancel_scope.cancel()

    def result(self, command: Sequence[str], cwd: Path) -> Exit:
        """What `run` returns or raises. Raises: ProcessFailed."""
        if (failure := self._reports.get("failed")) is not None:
            raise _explain(failure, command, cwd)
        if "ended" not in self._reports or self._reports["lost"]:
            raise _keeper_lost(f"while {command[0]!r} was running")
        return Exit(
            pid=self._reports["started"],
            status=self._reports.get("exited"),
            signal=self._reports.get("signal"),
            reason=self._reason,
            stdout_tail=self._output.stdout.tail,
            stderr_tail=self._output.stderr.tail,
            duration_s=self._duration_s,
            undelivered_lines=self._output.undelivered_lines,
            survivors=tuple(self._reports.get("survivors", ())),
        )

    def pause(self) -> None:
        if self._continued is None:
            self._continued = trio.Event()
            self._paused_at = trio.current_time()
            if self._requested:  # else whoever sends the request looks
                self.order(keeper.PAUSE)

    def resume(self) -> None:
        if self._continued is not None:
            if self._requested:
                self.order(keeper.CONTINUE)
            paused_s = trio.current_time() - self._paused_at
            self._due += paused_s
            self._last_output += paused_s
            self._continued.set()
            self._continued = None

    def order(self, order: bytes) -> None:
        """One of the orders of `keeper`; to a run that has ended it means nothing."""
        with suppress(OSError):
            self._pipes.control.send(order)

    def _channels(self) -> tuple[tuple[int, Channel], ...]:
        return (self._pipes.stdout, self._output.stdout), (self._pipes.stderr, self._output.stderr)

    async def _listen(self) -> None:
        """Read the run keeper's reports until it, and everything below it, has gone."""
        received = b""
        while chunk := await self._receive():
            *reports, received = (received + chunk).split(b"\n")
            for report in reports:
                self._reports.update(json.loads(report))
                if "exited" in self._reports and not self._duration_s:
                    self._duration_s = trio.current_time() - self._began
        self._over = True

    async def _receive(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._pipes.control)
            with suppress(BlockingIOError):
                try:
                    return self._pipes.control.recv(4096)
                except ConnectionResetError:  # it ended with an order unread
                    return b""

    async def _read(self, fd: int, channel: Channel, scope: trio.CancelScope) -> None:
        """Read one stream to its end; the listener's exception is kept, and cancels `scope`."""
        while True:
            await trio.lowlevel.wait_readable(fd)
            chunk = _read_now(fd)
            if chunk is None:
                continue
            if not chunk:
                return
            self._last_output = trio.current_time()
            if not self._muted:
                try:
                    self._output.take(channel, chunk)
                except Exception as error:
                    self._listener_error = error
                    scope.cancel()
                    return

    async def _feed(self, stdin: bytes | None) -> None:
        if stdin is not None and self._pipes.stdin is not None:
            await self._send(self._pipes.stdin, stdin)
            self._pipes.close_stdin()

    async def _send(self, fd: int, content: bytes) -> None:
        """Write all of it. Whoever closes the other end early has said by that that it wants no more."""
        unsent = memoryview(content)
        while unsent:
            await trio.lowlevel.wait_writable(fd)
            try:
                unsent = unsent[os.write(fd, unsent) :]
            except BlockingIOError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                return

    async def _watch_clocks(self, scope: trio.CancelScope) -> None:
        """End the command when it has been running or silent for too long; cancel `scope` if nobody does as told."""
        while "exited" not in self._reports:
            silent_at = self._last_output + self._silence_s
            due = min(self._due, silent_at)
            if self._continued is not None:
                await self._continued.wait()
            elif due > trio.current_time():
                await trio.sleep_until(due)
            else:
                self._reason = "timeout" if self._due <= silent_at else "silence"
                self.order(keeper.END)
                await trio.sleep(self._grace_s + _END_BOUND_S)
                scope.cancel()


async def _send_fds(kernel_socket: socket.socket, fds: array[int]) -> None:
    """Send one request for a run keeper. Cancelled: not sent."""
    while True:
        try:
            kernel_socket.sendmsg([b"r"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        except BlockingIOError:
            await trio.lowlevel.wait_writable(kernel_socket)
        except (BrokenPipeError, ConnectionResetError):
            raise
        except OSError as error:  # too many descriptors under way, no buffer
            raise _failed_to_start(error.errno or 0, f"cannot hand over a run: {error}") from error
        else:
            return


def _read_now(fd: int) -> bytes | None:
    """What the pipe holds; empty at its end; None when there is nothing at present."""
    try:
        return os.read(fd, _CHUNK_BYTES)
    except BlockingIOError:
        return None


async def _start_process(theirs: socket.socket, run_dir: Path) -> trio.Process:
    # In its own session, out of reach of a terminal's Ctrl-C; and without the names by which a sweep knows a run.
    env = {name: value for name, value in os.environ.items() if not name.startswith("TINYTOWN_")}
    command = [sys.executable, "-S", "-I", keeper.__file__, os.fspath(run_dir)]
    try:
        return await trio.lowlevel.open_process(
            command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=env, start_new_session=True
        )
    except OSError as error:
        raise _failed_to_start(error.errno or 0, f"cannot start the keeper: {error}") from error


def _encode_request(
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


def _explain(failure: Mapping[str, Any], command: Sequence[str], cwd: Path) -> ProcessFailed:
    """The error that a run keeper's `failed` report stands for."""
    number, path, name = failure["errno"], failure["path"], command[0]
    if failure["stage"] == "cwd":
        return ProcessFailed(
            f"cannot run {name!r} in {cwd}: {os.strerror(number)}",
            hint="name a directory that exists and can be entered",
            code="no_such_directory",
        )
    if number == errno.E2BIG:
        return ProcessFailed(
            f"the arguments or the environment of {name!r} are too long for the system",
            hint="give long texts by standard input or in a file",
            code="arguments_too_long",
        )
    if failure["stage"] == "execute" and number == errno.ENOENT and not path:
        return ProcessFailed(
            f"no such command: {name!r}", hint="install it, or put its directory on PATH", code="command_not_found"
        )
    if failure["stage"] == "execute" and number == errno.ENOENT:
        return ProcessFailed(
            f"cannot run {path}: the interpreter that its first line names does not exist",
            hint="correct its first line",
            code="command_not_executable",
        )
    if failure["stage"] == "execute" and number in (errno.EACCES, errno.EISDIR, errno.ENOEXEC, errno.ETXTBSY):
        return ProcessFailed(
            f"cannot run {path or name!r}: {os.strerror(number)}",
            hint="make it executable, and begin a script with #! and its interpreter",
            code="command_not_executable",
        )
    if number == errno.EINVAL:
        return ProcessFailed(f"cannot run {name!r}: {failure['text']}", code="bad_argument")
    return _failed_to_start(number, f"cannot run {name!r}: {failure['text']}")


def _failed_to_start(number: int, message: str) -> ProcessFailed:
    if number in (errno.EMFILE, errno.ENFILE):
        return ProcessFailed(
            f"too many open files: {message}", hint="run fewer at once, or raise ulimit -n", code="too_many_open_files"
        )
    return ProcessFailed(message)


def _keeper_lost(when: str) -> ProcessFailed:
    return ProcessFailed(
        f"the process that keeps the runs was killed or stopped {when}; everything the run had started was ended",
        hint="run it again",
        code="keeper_lost",
    )
