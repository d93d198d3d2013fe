"""Commands of the plugin as a person types them: whole processes in a town of their own, which is gone afterwards."""

from __future__ import annotations

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
from types import FrameType
from typing import Any

import pytest

#: For a whole test of many commands, and for one command, on a machine that others use too.
DEADLINE_S = 180
COMMAND_S = 90


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
    def error(self) -> dict[str, str]:
        """The error of ``--json``: the last line on stderr."""
        found: dict[str, str] = json.loads(self.err.splitlines()[-1])["error"]
        return found


class Shell:
    """Types commands in `directory`. Each must end with the exit code `code`, and never with a traceback."""

    def __init__(self, directory: Path, home: Path) -> None:
        self.directory = directory
        self.variables = {
            name: value for name, value in os.environ.items() if not name.startswith(("TINYTOWN_", "REDIS_", "BD_"))
        }
        path = os.pathsep.join((str(Path(sys.executable).parent), self.variables.get("PATH", os.defpath)))
        self.variables |= {"TINYTOWN_HOME": str(home), "TINYTOWN_NO_KERNEL": "1", "PATH": path, "COLUMNS": "120"}
        # Waiting for the disk is tried elsewhere; here it would only take time.
        (home / "config.toml").write_text('[redis]\ndurability = "fast"\n')

    def __call__(
        self,
        *words: str,
        code: int = 0,
        given: bytes = b"",
        env: Mapping[str, str] | None = None,
        program: tuple[str, ...] = ("-m", "tinytown"),
    ) -> Answer:
        done = subprocess.run(
            [sys.executable, *program, *words],
            cwd=self.directory,
            env=self.variables | dict(env or {}),
            input=given,
            capture_output=True,
            timeout=COMMAND_S,
            check=False,
        )
        answer = Answer(done.stdout.decode(), done.stderr.decode(), done.returncode)
        assert "Traceback" not in answer.err, answer.err
        assert answer.code == code, f"{words!r} ended with {answer.code}: {answer.out}{answer.err}"
        return answer

    def json(self, *words: str, **how: Any) -> Any:
        """What a command answers with ``--json``."""
        return self(*words, "--json", **how).json


def _places() -> Iterator[Shell]:
    # Not pytest's own directory: a socket's path has to be short.
    directory = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp"))
    (directory / "home").mkdir()
    (directory / "here").mkdir()
    shell = Shell(directory / "here", directory / "home")
    try:
        yield shell
    finally:
        for config in directory.rglob("tinytown.toml"):
            shell("stop", "--timeout", "2", "--town", str(config.parent))
        shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"the test took more than {DEADLINE_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(DEADLINE_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def bare() -> Iterator[Shell]:
    """A shell in an empty directory."""
    yield from _places()


@pytest.fixture(scope="module")
def tt() -> Iterator[Shell]:
    """A shell in a town that the tests of a module share; it has no kernel. Each test uses names of its own."""
    for shell in _places():
        shell("init", "--name", "t")
        yield shell
