"""A log without secrets at any time: what a command prints is masked line by line, before it is written.

Masking afterwards would leave each secret readable for as long as the command runs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from tinytown.process import Log

from tinytown_adapters.secrets import Secrets


@contextmanager
def open_masked_log(path: Path, secrets: Secrets, *, limit_bytes: float) -> Generator[Callable[[str], None]]:
    """A function that appends a line to the log at `path`, each secret as ``***``, for as long as the block lasts.

    The log is rotated beyond `limit_bytes`. A line that cannot be written is left out: a full disk ends no run that is
    otherwise well. Raises: HostFailure if the log cannot be opened.
    """
    log = Log(path, limit_bytes)

    def write(text: str) -> None:
        with suppress(OSError, ValueError):  # ValueError: closed, as its next file could not be opened
            log.write(f"{secrets.masked(text)}\n".encode("utf-8", "replace"))

    try:
        yield write
    finally:
        log.file.close()
