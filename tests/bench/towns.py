"""Towns to measure, made as a person makes them, with `tt`, in throw-away directories; stopped with all they started.

Commands run without the caller's TINYTOWN_* variables, so that a benchmark started by an agent measures the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinytown.errors import TinytownError
from tinytown.state import state_directory
from tinytown_server.server import EmbeddedServer

from .children import ChildFailed, last_line
from .measure import Skipped

TT = str(Path(sys.executable).with_name("tt"))


_HOME = tempfile.TemporaryDirectory(prefix="tt-bench-home-")


def environment() -> dict[str, str]:
    """The caller's environment without what names a town or an agent of it, and with no list of towns to add to.

    Modules are compiled once, as where people install them, whatever the caller's environment says.
    """
    ours = ("TINYTOWN_", "TT_", "REDIS_", "PYTHONDONTWRITEBYTECODE")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return kept | {"TINYTOWN_HOME": _HOME.name}


def tt(*words: str, cwd: Path, deadline_s: float = 60.0) -> Any:
    """Run `tt` with `--json` and return what it says.

    Raises: ChildFailed when it ends with another code than 0.
    """
    argv = [TT, *words, "--json"]
    answer = subprocess.run(argv, cwd=cwd, env=environment(), capture_output=True, timeout=deadline_s, check=False)
    if answer.returncode != 0:
        raise ChildFailed(f"{' '.join(words)} ended with code {answer.returncode}: {last_line(answer.stderr)}")
    return json.loads(answer.stdout) if answer.stdout.strip() else None


@contextlib.contextmanager
def empty_directory() -> Iterator[Path]:
    """A directory for a town; on leaving, the town's kernel and server are stopped and it is removed."""
    root = Path(tempfile.mkdtemp(prefix="tt-bench-"))
    try:
        yield root
    finally:
        stop_town(root)
        shutil.rmtree(root, ignore_errors=True)


def stop_town(root: Path) -> None:
    """Stop whatever runs for the town at `root`, whether or not its commands work."""
    if (root / "tinytown.toml").exists():
        with contextlib.suppress(ChildFailed, subprocess.TimeoutExpired, ValueError):
            tt("stop", cwd=root)
    with contextlib.suppress(TinytownError):
        EmbeddedServer(state_directory(root)).stop()


@contextlib.contextmanager
def town() -> Iterator[Path]:
    """The root of a fresh town. Raises: Skipped when `tt init` cannot make one."""
    with empty_directory() as root:
        try:
            tt("init", cwd=root)
        except (ChildFailed, OSError, ValueError) as error:
            raise Skipped(f"no town to measure in: {error}") from error
        yield root
