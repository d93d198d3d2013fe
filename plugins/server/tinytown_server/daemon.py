"""The embedded server as a process: launched, identified, signalled, waited for.

Knows the server's command line and what the operating system reports about a process; knows nothing of the protocol.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path

from tinytown.errors import ServerUnreachable
from tinytown.process import is_running

_POLL_S = 0.005


def launch(program: str, directory: Path, *, appendfsync: str, lock: int, password: str, timeout_s: float) -> None:
    """Start `program` as a daemon in `directory`; returns when it has detached, which is before it answers.

    `lock` is a file descriptor that the server inherits and keeps for life (see `data_directory.take_lock`). The `password`
    is handed over by standard input: arguments and environments are seen by others.

    Raises: ServerUnreachable with code ``server_failed`` if it cannot be run or refuses its options.
    """
    import subprocess  # late: attaching to a running server, the common case, does without it

    # Paths are relative to the working directory, which moves with the town when it is renamed. With absolute ones a
    # moved server would, when it ends, remove the socket of the server that is at the old path by then.
    options = {
        "port": "0",
        "unixsocket": "redis.sock",
        "unixsocketperm": "600",
        "pidfile": "redis.pid",
        "logfile": "redis.log",
        "dir": ".",
        "appendonly": "yes",
        "appendfsync": appendfsync,
        "save": "",
        "maxmemory-policy": "noeviction",
        "enable-protected-configs": "no",
        "daemonize": "yes",
    }
    if "{" not in str(directory):  # a brace would be taken for a variable of the template
        options["proc-title-template"] = f"{{title}} unixsocket:{directory}/redis.sock"
    try:
        ended = subprocess.run(
            [program, *(word for name, value in options.items() for word in (f"--{name}", value)), "-"],
            input=f"requirepass {password}\n".encode(),
            cwd=directory,
            # It outlives its starter by days: neither a secret nor a variable of the starter's round may stay in its environment.
            env={"PATH": os.environ.get("PATH", os.defpath)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            umask=0o077,
            pass_fds=(lock,),
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerUnreachable(f"cannot run {program}: {error}", code="server_failed", path=program) from error
    if ended.returncode != 0:
        errors = [line for line in ended.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise ServerUnreachable(
            f"the server {program} did not start, it ended with {ended.returncode}: {' / '.join(errors[-2:])}",
            code="server_failed",
            path=program,
        )


def listening_pid(connection: socket.socket) -> int | None:
    """The process that listens at the other end, as the operating system knows it; None where it does not say."""
    if sys.platform == "linux":
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid) or None  # 0: a process outside of our pid namespace
    if sys.platform == "darwin":
        return connection.getsockopt(0, 2) or None  # SOL_LOCAL, LOCAL_PEERPID: Python has no names for them
    return None


def recorded_pid(directory: Path) -> int | None:
    """The process that the pid file in `directory` names, if it is running and really is the server of that directory."""
    try:
        pid = int((directory / "redis.pid").read_text())
    except (OSError, ValueError):
        return None
    return pid if is_running(pid) and _serves(pid, directory) else None


def serving_deleted(directory: Path) -> list[int]:
    """Servers of a directory at that path that was deleted while they ran: they store nothing, and no client can reach them.

    None are found where the system has no /proc.
    """
    pids: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_there = os.readlink(process / "cwd") == f"{directory} (deleted)"
            if is_there and b"unixsocket" in (process / "cmdline").read_bytes():
                pids.append(int(process.name))
    return pids


def _serves(pid: int, directory: Path) -> bool:
    # Process ids are reused, and a copied town has a copy of the pid file: the working directory decides.
    if sys.platform == "linux":
        try:
            is_server = b"unixsocket:" in Path(f"/proc/{pid}/cmdline").read_bytes()
            return is_server and os.path.samefile(f"/proc/{pid}/cwd", directory)
        except OSError:
            return False
    import subprocess

    shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], stdout=subprocess.PIPE, check=False).stdout
    return f"unixsocket:{directory}/redis.sock" in os.fsdecode(shown)


def terminate(pid: int, number: int = signal.SIGTERM) -> None:
    """Ask the process to end by a signal, if it has not yet."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def await_end(pid: int, deadline: float) -> None:
    """Wait until the process is gone.

    Raises: ServerUnreachable with code ``server_not_stopping``, field ``pid``, when `deadline` has passed.
    """
    while is_running(pid):
        if time.monotonic() >= deadline:
            raise ServerUnreachable(
                f"the server process {pid} was asked to end and is still there",
                hint=f"see its log; kill -9 {pid} ends it",
                code="server_not_stopping",
                pid=pid,
            )
        time.sleep(_POLL_S)
