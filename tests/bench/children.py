"""Child processes of a benchmark: started in a session of their own, bounded in time, ended with all they started.

Knows nothing of what the children measure; a child that measures prints one JSON object of figures as its last
line. Children run as separate processes so that every competitor starts each round with an empty interpreter.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class ChildFailed(Exception):
    """A child ended badly, too late or without its figures; the text carries the last it said."""


@contextlib.contextmanager
def running(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    output: Path | None = None,
    patience_s: float = 5.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """A child process in its own session; on leaving, whatever is left of its process group is ended.

    `output` receives stdout and stderr together (default: nowhere). SIGTERM first, SIGKILL after `patience_s`;
    with a patience of 0, SIGKILL at once.
    """
    sink = open(output, "wb") if output else open(os.devnull, "wb")  # noqa: SIM115 - closed in the with below
    with sink:
        child = subprocess.Popen(
            argv,
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield child
        finally:
            end_group(child, patience_s)


def end_group(child: subprocess.Popen[bytes], patience_s: float) -> None:
    """End the process group that `child` leads: politely, then with SIGKILL for members that outlive the leader."""
    if patience_s > 0:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(patience_s)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def figures_of(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None, deadline_s: float
) -> dict[str, float]:
    """Run a child to its end and return the JSON object on the last line of its output.

    Raises: ChildFailed if it is not done after `deadline_s`, exits with another code than 0, or prints no figures.
    """
    name = Path(argv[2] if argv[1] == "-m" else argv[1]).name
    with tempfile.TemporaryDirectory(prefix="tt-bench-") as folder:
        output = Path(folder, "output")
        with running(argv, env=env, cwd=cwd, output=output) as child:
            try:
                code = child.wait(deadline_s)
            except subprocess.TimeoutExpired:
                raise ChildFailed(f"{name} took longer than {deadline_s:g} s: {_said(output)}") from None
        if code != 0:
            raise ChildFailed(f"{name} ended with code {code}: {_said(output)}")
        lines = output.read_text(errors="replace").strip().splitlines()
    try:
        figures = json.loads(lines[-1])
        return {str(name): float(value) for name, value in figures.items()}
    except (IndexError, ValueError, AttributeError) as error:
        raise ChildFailed(f"{name} printed no figures: {lines[-3:]}") from error


def wait_for_file(path: Path, child: subprocess.Popen[bytes], *, deadline_s: float, output: Path) -> str:
    """The content of `path` once `child` has put it in place (atomically).

    The looks are 20 ms apart: children take their own times, so how late the file is seen changes no figure.
    Raises: ChildFailed if the child ends first or `deadline_s` passes.
    """
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        if path.exists():
            return path.read_text()
        if child.poll() is not None:
            raise ChildFailed(f"the worker ended early with code {child.returncode}: {_said(output)}")
        time.sleep(0.02)
    raise ChildFailed(f"the worker was not done after {deadline_s:g} s: {_said(output)}")


def last_line(output: bytes) -> str:
    """The last line that says something: a command's error, even where that came as a traceback or a group of them."""
    lines = (line.strip(" |+-.") for line in reversed(output.decode(errors="replace").splitlines()))
    telling = (line for line in lines if line and not re.fullmatch(r"and \d+ more exceptions?", line))
    return next(telling, "no output")[:300]


def _said(output: Path) -> str:
    return last_line(output.read_bytes()) if output.exists() else "no output"
