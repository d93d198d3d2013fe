"""Commands run as a person runs them: whole processes, in a directory, with no town in their environment.

Standard library only until something is run: pytest imports this for its fixtures.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinytown_server.server import EmbeddedServer

#: Seconds that one command may take.
COMMAND_TIMEOUT_S = 180
#: Seconds that a kernel has to stop in, its rounds included.
KERNEL_STOP_S = 20

_FOREIGN_VARIABLES = ("TINYTOWN_", "REDIS_", "BD_", "_TT_")


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    out: str
    err: str
    code: int

    @property
    def json(self) -> Any:
        """Standard output as one JSON value."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, str]:
        """The error of ``--json``: the last line on stderr."""
        error: dict[str, str] = json.loads(self.err.splitlines()[-1])["error"]
        return error


class Shell:
    """Runs ``tt`` in `directory`: ``shell("task", "add", "a poem")``.

    Each command must end with the exit code `code`, and never with a traceback. `variables` is the environment: `home`
    holds the person's settings, no kernel is started unless a test asks for one.
    """

    def __init__(self, directory: Path, home: Path) -> None:
        self.directory = directory
        self.variables = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_VARIABLES)}
        # The commands of the interpreter that runs the tests come first: agents type `tt`.
        path = os.pathsep.join((str(Path(sys.executable).parent), self.variables.get("PATH", os.defpath)))
        self.variables |= {"TINYTOWN_HOME": str(home), "TINYTOWN_NO_KERNEL": "1", "PATH": path, "COLUMNS": "120"}
        self.variables["XDG_STATE_HOME"] = str(home / "state")
        # Other tests cover waiting for the disk; here it only takes time.
        (home / "config.toml").write_text('[redis]\ndurability = "fast"\n')

    def state(self, root: Path | None = None) -> Path:
        """The state directory of the town at `root`, by default the one of the shell's directory."""
        from tinytown.state import town_id

        return Path(self.variables["XDG_STATE_HOME"], "tinytown", town_id(root or self.directory))

    def server(self) -> EmbeddedServer:
        """The server of the town in the shell's directory."""
        from tinytown_server.server import EmbeddedServer

        return EmbeddedServer(self.state())

    def argv(self, *words: str | bytes) -> list[str | bytes]:
        """The command line of a ``tt`` command."""
        return [sys.executable, "-m", "tinytown", *words]

    def __call__(
        self,
        *words: str | bytes,
        code: int = 0,
        given: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        program: tuple[str, ...] = ("-m", "tinytown"),
    ) -> Answer:
        """Run a command with `given` on its standard input, and `env` added to its environment.

        Raises: AssertionError for another exit code than `code`, and for a traceback.
        """
        done = subprocess.run(
            [sys.executable, *program, *words],
            cwd=cwd or self.directory,
            env=self.variables | dict(env or {}),
            input=given,
            capture_output=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        answer = Answer(done.stdout.decode(), done.stderr.decode(), done.returncode)
        assert "Traceback" not in answer.err, answer.err
        assert answer.code == code, f"{words!r} ended with {answer.code}: {answer.out}{answer.err}"
        return answer

    def start(self, *words: str | bytes) -> subprocess.Popen[str]:
        """A command in the background, for a ``with``; its output and errors are pipes."""
        return subprocess.Popen(
            self.argv(*words),
            cwd=self.directory,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def json(self, *words: str | bytes, **options: Any) -> Any:
        """What a command prints with ``--json``."""
        return self(*words, "--json", **options).json


@contextlib.contextmanager
def open_shell() -> Generator[Shell]:
    """A shell in a new, empty directory. Towns made in it are stopped afterwards, and the directory is removed.

    Raises: AssertionError at the end if a process other than a kernel or a server is left in it.
    """
    # Short, and not pytest's own directory: the path of a Unix socket has at most some hundred bytes.
    directory = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp"))
    (directory / "home").mkdir()
    (directory / "here").mkdir()
    try:
        yield Shell(directory / "here", directory / "home")
        stop_towns(directory)
    finally:
        for pid in _processes_in(directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(directory, ignore_errors=True)


def stop_towns(directory: Path) -> None:
    """Stop the kernels and servers of the towns below `directory`.

    Raises: AssertionError for other processes there; they are killed.
    """
    from tinytown_server.server import EmbeddedServer

    kernels = [int(text) for lock in directory.rglob("kernel.lock") if (text := lock.read_text().strip()).isdigit()]
    for pid in kernels:
        with contextlib.suppress(ProcessLookupError):  # a test has killed it
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + KERNEL_STOP_S
    while {*kernels} & {*_processes_in(directory)} and time.monotonic() < deadline:
        time.sleep(0.02)
    for socket in directory.rglob("redis.sock"):
        EmbeddedServer(socket.parent).stop()
    left = list(_processes_in(directory))
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert left == [], f"processes are left in {directory}: {left}"


def _processes_in(directory: Path) -> Iterator[int]:
    """Processes, this one excepted, whose working directory is in `directory`. Source: proc_pid_cwd(5)."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            inside = Path(os.readlink(process / "cwd")).is_relative_to(directory)
            if inside and int(process.name) != os.getpid():
                yield int(process.name)
