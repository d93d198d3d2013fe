"""Commands run as a person runs them: whole processes, in a directory, with an environment without any town in it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tinytown_server.server import EmbeddedServer

DEADLINE_S = 180


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    out: str
    err: str
    code: int

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, str]:
        """The error of ``--json``: the last line on stderr."""
        found: dict[str, str] = json.loads(self.err.splitlines()[-1])["error"]
        return found


class Shell:
    """Types commands in `directory`. Each must end with the exit code `code`, and never with a traceback."""

    def __init__(self, directory: Path, home: Path) -> None:
        self.directory = directory
        self.variables = {
            name: value for name, value in os.environ.items() if not name.startswith(("TINYTOWN_", "REDIS_", "_TT_"))
        }
        # The commands of the interpreter that runs the tests come first: agents type `tt`.
        path = os.pathsep.join((str(Path(sys.executable).parent), self.variables.get("PATH", os.defpath)))
        self.variables |= {"TINYTOWN_HOME": str(home), "TINYTOWN_NO_KERNEL": "1", "PATH": path, "COLUMNS": "120"}
        # Waiting for the disk is tried elsewhere; here it would only take time.
        (home / "config.toml").write_text('[redis]\ndurability = "fast"\n')

    def argv(self, *words: str | bytes) -> list[str | bytes]:
        return [sys.executable, "-m", "tinytown", *words]

    def __call__(
        self,
        *words: str | bytes,
        code: int = 0,
        given: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Answer:
        done = subprocess.run(
            self.argv(*words),
            cwd=cwd or self.directory,
            env=self.variables | dict(env or {}),
            input=given,
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )
        answer = Answer(done.stdout.decode(), done.stderr.decode(), done.returncode)
        assert "Traceback" not in answer.err, answer.err
        assert answer.code == code, f"{words!r} ended with {answer.code}: {answer.out}{answer.err}"
        return answer


def stop_all(directory: Path) -> None:
    """End the kernels and servers of the towns below `directory`; processes that are left there are ended and an error."""
    for lock in directory.rglob("kernel.lock"):
        if (text := lock.read_text().strip()).isdigit():
            with contextlib.suppress(ProcessLookupError):  # a test has killed it
                os.kill(int(text), signal.SIGTERM)
    for socket in directory.rglob("redis.sock"):
        EmbeddedServer(socket.parent).stop()
    left: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = Path(os.readlink(process / "cwd")).is_relative_to(directory)
        except OSError:
            continue
        if inside and int(process.name) != os.getpid():
            os.kill(int(process.name), signal.SIGKILL)
            left.append(int(process.name))
    assert left == []


def make_place() -> Iterator[Shell]:
    # Not pytest's own directory: a socket's path has to be short.
    directory = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp"))
    (directory / "home").mkdir()
    (directory / "here").mkdir()
    yield Shell(directory / "here", directory / "home")
    stop_all(directory)
    shutil.rmtree(directory)


@pytest.fixture
def tt() -> Iterator[Shell]:
    """A shell in an empty directory."""
    yield from make_place()


@pytest.fixture(scope="module")
def in_town() -> Iterator[Shell]:
    """A shell in a town that the tests of a module share; it has no kernel. Each test uses names of its own."""
    for shell in make_place():
        shell("init", "--name", "shared")
        yield shell
