"""File systems of a test's own: to be full, or to lose their power."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CAN_MOUNT = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root can mount a file system, on Linux"
)


def new_image(image: Path) -> None:
    """Make a file with an empty file system in it. Skips the test where that cannot be done."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed")
    with open(image, "wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, timeout=30)


def cut_power(image: Path, after: Path) -> None:
    """Copy a mounted image as its device has it now, without what the system still keeps in its memory for it."""
    subprocess.run(["cp", "--sparse=always", image, after], check=True, timeout=30)


@contextmanager
def mounted(place: Path, *options: str | Path) -> Iterator[None]:
    """A file system at `place`, as `words` tell mount. Skips the test where root may not either, as in a container."""
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, place], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a file system: {done.stderr.strip()}")
    try:
        yield
    finally:
        # Lazily: a thread of the server may end a moment after the server.
        subprocess.run(["umount", "--lazy", place], check=True, timeout=30)
