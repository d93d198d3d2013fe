"""The kernel as a process of this machine: finding it, starting it in the background, and ending it.

A running kernel holds a lock file in the town's directory that contains its process id. Knows nothing of what a kernel does.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tinytown.errors import Refused, TinytownError
from tinytown.identity import ROUND_VARIABLES, inside_a_round
from tinytown.process import is_running

if TYPE_CHECKING:
    from pathlib import Path

#: If set, no command starts a kernel.
NO_KERNEL_VARIABLE = "TINYTOWN_NO_KERNEL"

#: A kernel loads plugins and may have to start the server before it is ready.
READY_TIMEOUT_S = 15.0

_END_S = 5.0
_LOG_LIMIT_BYTES = 10 << 20
_POLL_S = 0.02
_ERROR = "error: "


class Kernel(NamedTuple):
    """A running kernel on this machine; ``started`` says that this command started it."""

    pid: int
    started: bool = False


class TownOfKernel(Protocol):
    """A town as far as its kernel goes; a `TownClient` is one."""

    @property
    def root(self) -> Path:
        """The town's directory."""
        ...

    def running_kernel(self) -> int | None:
        """The process id of its kernel on this machine, if one runs."""
        ...


def ensure_kernel(town: TownOfKernel, *, may_start: bool = True) -> Kernel | None:
    """The town's kernel on this machine, started in the background if none runs.

    None where none runs and none may be started: inside a round, with `may_start` off, or by `NO_KERNEL_VARIABLE`.
    Raises: TinytownError with code ``kernel_not_started`` and the last error of its log.
    """
    if pid := town.running_kernel():
        return Kernel(pid)
    if not may_start or inside_a_round() or os.environ.get(NO_KERNEL_VARIABLE):
        return None
    try:
        return Kernel(start_kernel(town.root), started=True)
    except TinytownError:
        if pid := town.running_kernel():  # another process started one meanwhile
            return Kernel(pid)
        raise


def start_kernel(root: Path) -> int:
    """Start a kernel that outlives this process, and wait until it is ready; its process id.

    It runs in a session of its own, writes to `kernel_log` and does not inherit the identity of an agent's round.
    Raises: TinytownError with code ``kernel_not_started``.
    """
    import subprocess  # late: usually a kernel is running already
    import sys

    try:
        log = _open_log(root)
    except OSError as error:
        raise TinytownError(
            f"cannot start a kernel: cannot write its log {kernel_log(root)}: {error.strerror}",
            hint="make it writable, then run tt start",
            code="kernel_not_started",
        ) from error
    log_begin = log.stat().st_size
    ready, ready_end = os.pipe()
    try:
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tinytown", "start", "--ready-fd", str(ready_end)],
                cwd=root,
                env={name: value for name, value in os.environ.items() if name not in ROUND_VARIABLES},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(ready_end,),
            )
        os.close(ready_end)
        ready_end = -1
        answer = _read_byte(ready, READY_TIMEOUT_S)
    finally:
        os.close(ready)
        if ready_end >= 0:
            os.close(ready_end)
    if answer == b"1":
        process.returncode = 0  # it outlives this process, which never waits for it
        return process.pid
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    why = _last_error(log, log_begin) if answer == b"" else f"it was not ready within {READY_TIMEOUT_S:g} s"
    raise TinytownError(
        f"cannot start a kernel: {why or 'it exited without an error message'}",
        hint=f"see {log}, or run tt start in the foreground",
        code="kernel_not_started",
    )


def expect_kernel(root: Path, pid: int) -> None:
    """Raises: Refused if the process with this id here is not the kernel of `root`: its id is that of another namespace.

    The kernel's lock file, which a container may share, holds the id that it has there. Source: proc_pid_fd(5).
    """
    from pathlib import Path

    from tinytown.state import state_directory

    if not Path("/proc/self/fd").is_dir():
        return
    lock = (state_directory(root) / "kernel.lock").stat()
    with contextlib.suppress(OSError):
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(descriptor.path), lock):
                    return
    raise Refused(
        f"the kernel runs as process {pid} of another process namespace, such as a container; here that is another process",
        hint="run the command in there, or stop the container",
        code="kernel_elsewhere",
        pid=pid,
    )


def end_kernel(
    pid: int, *, timeout_s: float, hurry_s: float = 10.0, while_waiting: Callable[[], object] = lambda: None
) -> bool:
    """Send SIGTERM to a kernel and wait for its end; after `timeout_s` send a second one, which cuts rounds short.

    `while_waiting` is called every moment. Returns whether it ended within `hurry_s` after the second one.
    """
    import signal

    for patience_s in (timeout_s, hurry_s):
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            return True
        if _await_end(pid, time.monotonic() + patience_s, while_waiting):
            return True
    return False


def _await_end(pid: int, deadline: float, while_waiting: Callable[[], object]) -> bool:
    while is_running(pid):
        while_waiting()
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)  # portable: only a parent can wait for a process
    return True


def kernel_log(root: Path) -> Path:
    """The log of a kernel in the background; not among the agents' logs, since an agent may be called ``kernel``."""
    from tinytown.state import state_directory

    return state_directory(root) / "kernel.log"


def _open_log(root: Path) -> Path:
    from tinytown.state import open_state

    open_state(root)
    log = kernel_log(root)
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_LIMIT_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))
    os.close(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
    return log


def _read_byte(descriptor: int, timeout_s: float) -> bytes | None:
    """The next byte, empty at the end of the pipe, None if neither comes within `timeout_s`."""
    import select

    readable, _, _ = select.select([descriptor], [], [], timeout_s)
    return os.read(descriptor, 1) if readable else None


def _last_error(log: Path, begin: int) -> str:
    with open(log, "rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").splitlines()
    errors = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
    return (errors or [line for line in lines if line.strip()] or [""])[-1]
