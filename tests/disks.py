"""File systems of a test's own: to be full, or to lose their power."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CAN_MOUNT = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root can mount a file system, on Linux"
)


@contextmanager
def mounted(place: Path, *words: str | Path) -> Iterator[None]:
    """A file system at `place`, as `words` tell mount. Skips the test where root may not either, as in a container."""
    place.mkdir()
    done = subprocess.run(["mount", *words, place], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a file system: {done.stderr.strip()}")
    try:
        yield
    finally:
        # Lazily: a thread of the server may end a moment after the server.
        subprocess.run(["umount", "--lazy", place], check=True, timeout=30)
