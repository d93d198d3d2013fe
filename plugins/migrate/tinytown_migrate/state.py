"""Moves the state of a town to where this release has it: out of the project, or from the project's path to its id."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tinytown.errors import Refused
from tinytown.state import check_private, state_home, town_id


def move_state(root: Path, old: Path, directory: Path, stop_server: Callable[[Path], object]) -> None:
    """Move the state in `old` to `directory`, with what is beside it. `stop_server` ends a server that runs there.

    Called by `tinytown.state.open_state`, which holds the town's lock. Raises: Refused with code ``kernel_running`` if a kernel
    uses the state; as `check_private`.
    """
    check_private(old)
    with open(old / "kernel.lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(
                f"the town's state moves from {old} to {directory}, but a kernel uses it",
                hint=f"stop that kernel first: kill {(old / 'kernel.lock').read_text().strip() or 'PID'}",
                code="kernel_running",
            ) from error
        stop_server(old)
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            old.rename(directory)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            draft = directory.with_name(f"{directory.name}@new")
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(
                old, draft, symlinks=True, ignore=lambda _, names: {n for n in names if n.endswith(".sock")}
            )
            os.sync()
            draft.rename(directory)
            shutil.rmtree(old)
    if old.parent != root:
        (state_home() / f"{old.name}@lock").unlink(missing_ok=True)
        for suffix in ("@record.json", "@snapshots"):
            with suppress(FileNotFoundError):
                (state_home() / f"{old.name}{suffix}").rename(state_home() / f"{town_id(root)}{suffix}")
    elif (directory / "formulas").is_dir():  # a person's own files
        old.mkdir(exist_ok=True)
        (directory / "formulas").rename(old / "formulas")
    warnings.warn(f"the town's state has moved from {old} to {directory}", UserWarning, stacklevel=2)
