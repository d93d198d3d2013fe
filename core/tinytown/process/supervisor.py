"""Running commands: start one, feed it, read its lines, limit its time, and end all of its process tree.

The trio half of `reaper`, which forks, signals and reaps in a process of its own, because a killed kernel cannot clean up.
Raises for a command that could not be run, never for how one ended; a command in progress is `runner`'s.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from array import array
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, Unpack

import trio

from tinytown.concurrency import open_background
from tinytown.process import reaper, runner
from tinytown.process.orphans import sweep_orphans
from tinytown.process.output import Line, Output
from tinytown.process.pausable_clock import PausableClock
from tinytown.process.running import RunningCommand

Wrap: TypeAlias = Callable[[Sequence[str], Path, Mapping[str, str]], Sequence[str]]

#: How many files a command may open, whatever the limit of the kernel will be.
_OPEN_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
_CLOSE_BOUND_S = 5.0
_START_ATTEMPTS = 3


@asynccontextmanager
async def open_process_supervisor(
    *, run_dir: Path, log_limit_bytes: float = float("inf")
) -> AsyncGenerator[ProcessSupervisor]:
    """Runs the commands of one kernel; `run_dir` (created if missing) gets a record file for each run in progress.
    Logs are rotated beyond `log_limit_bytes`.

    Runs must end inside the block, which waits for the reaper process. Raises: ProcessFailed when that cannot be started.
    """
    try:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise runner.failed_to_start(error, f"cannot make the directory {run_dir}") from error
    opened = ProcessSupervisor(run_dir, log_limit_bytes)
    try:
        await opened.start()
        yield opened
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * _CLOSE_BOUND_S):
            await opened.close()


class RunOptions(TypedDict, total=False):
    """What `ProcessSupervisor.run` takes beside; the defaults are its own."""

    timeout_s: float | None
    silence_s: float | None
    grace_s: float
    first_signal: int
    line_limit_bytes: int
    output_limit_bytes: int
    log_path: Path | None


class ProcessSupervisor:
    """Runs commands. `clock` is paused with them. If the reaper is killed, runs in progress fail and the next starts another."""

    def __init__(self, run_dir: Path, log_limit_bytes: float = float("inf")) -> None:
        self._run_dir = run_dir.absolute()
        self._log_limit_bytes = log_limit_bytes
        self._process: trio.Process | None = None
        self._socket: socket.socket | None = None
        self._starting = trio.Lock()
        self._runs: set[runner.CommandRun] = set()
        self.clock = PausableClock()

    async def run(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        on_line: Callable[[Line], object] = lambda _: None,
        stdin: bytes | Path | runner.Source | None = None,
        timeout_s: float | None = None,
        silence_s: float | None = None,
        grace_s: float = 3.0,
        first_signal: int = signal.SIGTERM,
        line_limit_bytes: int = 64 * 1024,
        output_limit_bytes: int = 100 * 1024 * 1024,
        log_path: Path | None = None,
    ) -> runner.Exit:
        """Run `command` in `cwd` with exactly `env`, wait for its end, and end whatever it leaves behind.

        The command leads a session of its own and is looked up in the PATH of `env`. It reads `stdin` (bytes, or a file;
        None is `/dev/null`) to its end. Each line of its output goes to `on_line`, which must be quick; a line beyond
        `line_limit_bytes` arrives cut, lines beyond `output_limit_bytes` of output do not. All output
        within that limit is also appended to `log_path`. Without output for `silence_s`, or after `timeout_s`, it is
        ended: `first_signal` to its group, SIGTERM to what has left the group, and after `grace_s` SIGKILL to all. A paused
        run's clocks stand still.

        Cancelled: the tree is ended in the same way, output dropped, before Cancelled is raised again; so too when `on_line`
        raises, and its exception is raised here.
        Raises: HostFailure if the machine lacks what it takes, with code `log_not_writable` for `log_path`; ProcessFailed, by
        `code`: `command_not_found`, `command_not_executable`, `no_such_directory` (cwd), `arguments_too_long`, `bad_argument`,
        `stdin_not_readable`, `reaper_lost` (the reaper was killed; the tree was ended), `process_failed` (anything else).
        """
        request = runner.encode_request(command, cwd, env, grace_s=grace_s, first_signal=first_signal)
        for _ in range(_START_ATTEMPTS):
            output = Output(
                on_line,
                line_limit_bytes=line_limit_bytes,
                output_limit_bytes=output_limit_bytes,
                log_path=log_path,
                log_limit_bytes=self._log_limit_bytes,
            )
            with ExitStack() as owned:
                owned.callback(output.close)
                pipes = owned.enter_context(runner.open_pipes(stdin))
                if not await self._hand_over(pipes):
                    continue
                run = runner.CommandRun(
                    pipes, output, self.clock, timeout_s=timeout_s, silence_s=silence_s, grace_s=grace_s
                )
                self._runs.add(run)
                if self.clock.paused:
                    run.pause()
                owned.callback(self._runs.discard, run)
                try:
                    await run.carry_out(request, stdin)
                finally:
                    if run.abandoned:
                        await self._end_abandoned(env)
            if run.has_begun or not run.is_over:
                return run.result(command, cwd)
        raise runner.reaper_lost("before it had started the command")

    @asynccontextmanager
    async def open(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        on_line: Callable[[Line], None],
        **options: Unpack[RunOptions],
    ) -> AsyncGenerator[RunningCommand]:
        """Run a command to converse with, as `run` does but for its standard input; entered once it has started.

        It may end before the block does; leaving the block ends it, with its tree. Raises as `run`, where the block is
        entered or inside of it.
        """
        running = RunningCommand()
        run = partial(self.run, command, cwd=cwd, env=env, on_line=on_line, stdin=running, **options)
        async with open_background() as nursery:
            await nursery.start(running.carry_out, run)
            yield running

    @property
    def running(self) -> int:
        """How many commands are in progress, paused or not."""
        return len(self._runs)

    def pause_all(self) -> None:
        """Stop every process of every run (SIGSTOP) and their clocks. A command that starts later waits."""
        self.clock.pause()
        for run in self._runs:
            run.pause()

    def continue_all(self) -> None:
        """Continue paused runs (SIGCONT), with the time that they had left."""
        self.clock.resume()
        for run in self._runs:
            run.resume()

    async def start(self) -> socket.socket:
        """The socket of a living reaper; starts one if there is none. Called by `open_process_supervisor` and each run."""
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

    def keep_until(self, deadline: float) -> None:
        """Have the reaper end all commands at `deadline` (`reaper.boot_time`) unless it is put off by then."""
        if self._socket is not None:
            with suppress(OSError):  # it was killed, and its runs have ended
                self._socket.send(reaper.LEASE + struct.pack("d", deadline))

    async def close(self) -> None:
        """Release the reaper, which then ends as soon as its runs have, and wait for that."""
        if self._socket is not None:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._socket = None
        if self._process is not None:
            await self._wait_for_end()
            if self._process.returncode is None:
                self._process.kill()  # its run supervisors then end by the lifeline
                await self._process.wait()
            self._process = None

    async def _hand_over(self, pipes: runner.Pipes) -> bool:
        """Pass the reaper its ends of the pipes, unless it was killed. Cancelled: either it has all of them or none."""
        try:
            await _send_fds(await self.start(), array("i", pipes.theirs))
        except (BrokenPipeError, ConnectionResetError, trio.ClosedResourceError):
            await self._wait_for_end()
            return False
        pipes.close_theirs()
        return True

    async def _wait_for_end(self) -> None:
        """Wait for a reaper that has closed its socket, so is about to end."""
        if self._process is not None:
            with trio.move_on_after(_CLOSE_BOUND_S):
                await self._process.wait()

    async def _end_abandoned(self, env: Mapping[str, str]) -> None:
        """End the tree of a run whose supervisor was killed or stopped, perhaps with the reaper."""
        town, round_id = env.get("TINYTOWN_TOWN"), reaper.round_id_in(env)
        if town and round_id:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + runner.END_BOUND_S):
                sweep = partial(sweep_orphans, self._run_dir, town_root=Path(town), round_id=round_id)
                await trio.to_thread.run_sync(sweep)


class WrappedProcesses(ProcessSupervisor):
    """A view of `processes` whose commands are what `wrap` makes of them: called with command, cwd and env."""

    def __init__(self, processes: ProcessSupervisor, wrap: Wrap) -> None:
        self.__dict__.update(processes.__dict__)
        self._processes, self._wrap = processes, wrap

    async def run(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], **options: Any) -> runner.Exit:
        return await self._processes.run(self._wrap(command, cwd, env), cwd=cwd, env=env, **options)


async def _send_fds(kernel_socket: socket.socket, fds: array[int]) -> None:
    """Send the reaper one request for a run. Cancelled: not sent."""
    while True:
        try:
            kernel_socket.sendmsg([reaper.RUN], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        except BlockingIOError:
            await trio.lowlevel.wait_writable(kernel_socket)
        except (BrokenPipeError, ConnectionResetError):
            raise
        except OSError as error:  # too many descriptors under way, no buffer
            raise runner.failed_to_start(error, "cannot hand over a run") from error
        else:
            return


async def _start_process(theirs: socket.socket, run_dir: Path) -> trio.Process:
    # In its own session, out of reach of a terminal's Ctrl-C; and without the names by which a sweep knows a run.
    env = {name: value for name, value in os.environ.items() if not name.startswith("TINYTOWN_")}
    command = [sys.executable, "-S", "-I", reaper.__file__, os.fspath(run_dir), str(_OPEN_FILES)]
    try:
        return await trio.lowlevel.open_process(
            command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=env, start_new_session=True
        )
    except OSError as error:
        raise runner.failed_to_start(error, "cannot start the reaper") from error
