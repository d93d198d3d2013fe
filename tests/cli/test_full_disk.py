from __future__ import annotations

import contextlib

from tests.cli.conftest import Shell
from tests.disks import CAN_MOUNT, mounted


@CAN_MOUNT
def test_on_a_full_disk_a_person_is_told_what_is_wrong_and_loses_nothing(tt: Shell) -> None:
    (tt.directory.parent / "home" / "config.toml").unlink()
    disk = tt.directory / "disk"
    with mounted(disk, "-t", "tmpfs", "-o", "size=2m", "none"):
        tt.directory = disk
        try:
            tt("init")
            tt("spawn", "ada", "--cli", "shell")
            tt("send", "ada", "before")
            with contextlib.suppress(OSError), open(disk / "fill", "wb") as fill:
                fill.write(bytes(3 << 20))
            error = tt("send", "ada", "m" * (64 << 10), "--json", code=5).error
            assert f"the disk of {disk} is full" in error["hint"]
            assert "before" in tt("inbox", "ada").out
            (disk / "fill").unlink()
            tt("send", "ada", "after")
            shown = tt("inbox", "ada").out
            assert "before" in shown
            assert "after" in shown
        finally:
            tt("stop")
            tt.directory = disk.parent
