"""Boxes for the tests: real ones, by bubblewrap. Without it these tests are skipped, with the reason."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tinytown.contracts import Box
from tinytown_sandbox.bubblewrap import Bubblewrap
from tinytown_sandbox.settings import Settings

DEADLINE_S = 60


@dataclass
class Place:
    """A workspace and what is around it. `run` runs a shell script in a box there, `python` one of Python."""

    workspace: Path
    outside: Path
    state: Path
    box: Box
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def sandbox(self) -> Bubblewrap:
        return Bubblewrap(Settings(**self.settings), self.workspace)

    def wrap(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Sequence[str]:
        return self.sandbox.wrap(command, box=self.box, environment=environment or self.environment)

    def run(self, script: str, *arguments: object, **changes: Any) -> subprocess.CompletedProcess[str]:
        return self._run(["sh", "-c", script, "sh", *map(str, arguments)], changes)

    def python(self, script: str, *arguments: object, **changes: Any) -> subprocess.CompletedProcess[str]:
        return self._run([sys.executable, "-c", script, *map(str, arguments)], changes)

    def _run(self, command: Sequence[str], changes: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
        place = replace(self, box=replace(self.box, **changes))
        return subprocess.run(
            place.wrap(command),
            cwd=self.workspace,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            start_new_session=True,
        )


def processes_with(variable: str) -> list[str]:
    """The command names of all processes that have a variable, as ``NAME=value``, in their environment."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if variable.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "comm").read_text().strip())
    return sorted(found)


@pytest.fixture(scope="session")
def bubblewrap() -> None:
    if problem := Bubblewrap(Settings(), Path.cwd()).problem():
        pytest.skip(problem)


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that is not in /tmp, which a box has of its own."""
    for parent in (Path.home(), Path.cwd()):
        if not parent.is_relative_to("/tmp") and os.access(parent, os.W_OK):
            directory = Path(tempfile.mkdtemp(prefix=".tinytown-test-", dir=parent))
            yield directory
            shutil.rmtree(directory, ignore_errors=True)
            return
    pytest.skip("neither the home directory nor this one can be written to")


@pytest.fixture
def place(bubblewrap: None, home: Path) -> Place:
    for name in ("workspace", "outside", "state"):
        (home / name).mkdir()
    (home / "outside" / "precious").write_text("precious\n")
    box = Box(profile="write", workspace=home / "workspace", writable=(home / "state",))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TINYTOWN_", "PYTHON", "COV"))}
    return Place(home / "workspace", home / "outside", home / "state", box, environment=kept | {"HOME": str(home)})


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user outside of the box, with a secret in its environment."""
    process = subprocess.Popen(["sleep", "100"], env={"PATH": os.environ["PATH"], "PASSWORD": "hunter2"})
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def listener(home: Path) -> Iterator[Callable[[str | int], Any]]:
    """Listens at a path, an abstract name (``@...``), or a free port (0) of this machine; greets who connects."""
    import socket
    import threading

    opened: list[socket.socket] = []

    def greet(server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):  # whoever only connects has hung up
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")

    def listen(where: str | int) -> Any:
        if isinstance(where, int):
            server = socket.create_server(("127.0.0.1", where))
        else:
            server = socket.socket(socket.AF_UNIX)
            server.bind("\0" + where[1:] if where.startswith("@") else where)
            server.listen()
        opened.append(server)
        threading.Thread(target=greet, args=(server,), daemon=True).start()
        return server.getsockname()

    yield listen
    for server in opened:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
