"""The kernel as a process of this machine: whether one runs, starting one in the background, and ending it.

A kernel holds a lock in the town's directory, with its process id in it, for as long as it lives. Knows nothing of what
a kernel does.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

from tinytown.client import TownClient
from tinytown.config import RUNTIME_DIRECTORY, prepare_runtime_directory
from tinytown.errors import TinytownError
from tinytown.identity import ROUND_VARIABLES, inside_a_round
from tinytown.kernel import running_kernel
from tinytown.process import is_running

from tinytown_cli.context import CliContext

#: Set by whoever starts kernels himself: no command starts one then.
NO_KERNEL_VARIABLE = "TINYTOWN_NO_KERNEL"

#: How long a kernel may take to be ready: it loads plugins and may have to start the server.
READY_TIMEOUT_S = 15.0

_END_S = 5.0
_LOG_LIMIT_BYTES = 10 << 20
_POLL_S = 0.02
_ERROR = "error: "


class Kernel(NamedTuple):
    """A running kernel on this machine; ``started`` says that this command started it."""

    pid: int
    started: bool = False


def ensure_kernel(root: Path, *, may_start: bool = True) -> Kernel | None:
    """The town's kernel on this machine, started in the background if none runs.

    None where none runs and none may be started: inside a round, with `may_start` off, or by `NO_KERNEL_VARIABLE`.
    Raises: TinytownError with code ``kernel_not_started`` and what the kernel said.
    """
    if pid := running_kernel(root):
        return Kernel(pid)
    if not may_start or inside_a_round() or os.environ.get(NO_KERNEL_VARIABLE):
        return None
    try:
        return Kernel(start_kernel(root), started=True)
    except TinytownError:
        if pid := running_kernel(root):  # somebody else was quicker by a moment
            return Kernel(pid)
        raise


def start_where_needed(context: CliContext, town: TownClient, *, may_start: bool) -> dict[str, Any]:
    """See that the town has a kernel here, and say on stderr what was done; ``{"running", "pid", "started"}``.

    Whoever calls this has done something already: an error is owed to the invocation, and comes after the answer.
    """
    try:
        kernel = ensure_kernel(town.root, may_start=may_start)
    except TinytownError as error:
        context.defer_error(error)
        return {"running": False, "pid": None, "started": False}
    if kernel is None:
        if not town.caller.is_agent:
            context.warn("no kernel runs: tt start runs one")
        return {"running": False, "pid": None, "started": False}
    if kernel.started:
        context.warn(f"started the town's kernel in the background (process {kernel.pid}); tt stop ends it")
    return {"running": True, "pid": kernel.pid, "started": kernel.started}


def start_kernel(root: Path) -> int:
    """Start a kernel that outlives this process, and wait until it is ready; its process id.

    It lives in a session of its own, writes to `kernel_log` and inherits nothing of an agent's round.
    Raises: TinytownError with code ``kernel_not_started``.
    """
    import subprocess  # late: mostly a kernel runs already
    import sys

    try:
        log = _open_log(root)
    except OSError as error:
        raise TinytownError(
            f"no kernel could be started: {kernel_log(root)}, where it is to say what it has to say: {error.strerror}",
            hint="see that it can be written, and tt start",
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
        said = _read_byte(ready, READY_TIMEOUT_S)
    finally:
        os.close(ready)
        if ready_end >= 0:
            os.close(ready_end)
    if said == b"1":
        process.returncode = 0  # it is not ours to wait for: it outlives us
        return process.pid
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    why = _last_error(log, log_begin) if said == b"" else f"it was not ready within {READY_TIMEOUT_S:g} s"
    raise TinytownError(
        f"no kernel could be started: {why or 'it ended without a word'}",
        hint=f"see {log}, or run tt start to watch it",
        code="kernel_not_started",
    )


def end_kernel(pid: int, *, timeout_s: float, hurry_s: float = 10.0) -> bool:
    """Ask a kernel to come to its end and wait for it; after `timeout_s` ask again, which makes it hurry.

    Returns whether it is gone `hurry_s` after that at the latest.
    """
    for patience_s in (timeout_s, hurry_s):
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            return True
        if _await_end(pid, time.monotonic() + patience_s):
            return True
    return False


def _await_end(pid: int, deadline: float) -> bool:
    while is_running(pid):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)  # somebody else's child cannot be waited for in any better way that all systems have
    return True


def kernel_log(root: Path) -> Path:
    """Where a kernel in the background says what it has to say; not among the agents' logs, one of whom may be `kernel`."""
    return root / RUNTIME_DIRECTORY / "kernel.log"


def _open_log(root: Path) -> Path:
    prepare_runtime_directory(root)
    log = kernel_log(root)
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_LIMIT_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))
    os.close(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
    return log


def _read_byte(descriptor: int, timeout_s: float) -> bytes | None:
    """The next byte, nothing at the end of the pipe, None when neither comes in time."""
    readable, _, _ = select.select([descriptor], [], [], timeout_s)
    return os.read(descriptor, 1) if readable else None


def _last_error(log: Path, begin: int) -> str:
    with open(log, "rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").splitlines()
    errors = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
    return (errors or [line for line in lines if line.strip()] or [""])[-1]
