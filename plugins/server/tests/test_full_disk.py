"""A disk that is full, and one whose power is cut, as a person meets them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from tinytown_testing.shell import Shell, stop_towns

from plugins.server.tests.disks import CAN_MOUNT, cut_power, mounted, new_image


@contextlib.contextmanager
def town_on(tt: Shell, *options: str | Path) -> Iterator[Path]:
    """Type in a file system of its own with the town's state, whose root is given; nothing of it runs when it goes."""
    place, home = tt.directory, tt.variables["XDG_STATE_HOME"]
    tt.directory = place / "disk"
    tt.variables["XDG_STATE_HOME"] = str(tt.directory / "state")
    # As it is for who has chosen nothing.
    Path(tt.variables["TINYTOWN_HOME"], "config.toml").unlink(missing_ok=True)
    try:
        with mounted(tt.directory, *options):
            try:
                yield tt.directory
            finally:
                stop_towns(tt.directory)
    finally:
        tt.directory, tt.variables["XDG_STATE_HOME"] = place, home


@CAN_MOUNT
def test_a_full_disk_is_reported_and_loses_nothing(tt: Shell) -> None:
    with town_on(tt, "-t", "tmpfs", "-o", "size=2m", "none") as disk:
        tt("init")
        tt("spawn", "ada", "--cli", "shell")
        tt("send", "ada", "before")
        with contextlib.suppress(OSError), open(disk / "fill", "wb") as fill:
            fill.write(bytes(3 << 20))
        error = tt("send", "ada", "m" * (64 << 10), "--json", code=5).error
        assert f"the disk of {tt.state()} is full" in error["hint"]
        assert "before" in tt("inbox", "ada").out
        (disk / "fill").unlink()
        tt("send", "ada", "after")
        shown = tt("inbox", "ada").out
        assert "before" in shown
        assert "after" in shown


@CAN_MOUNT
def test_a_town_continues_with_all_its_data_after_a_power_cut_during_a_round(tt: Shell) -> None:
    base = tt.directory.parent
    before, after, begun, power = base / "before.img", base / "after.img", base / "begun", base / "power"
    new_image(before)
    with town_on(tt, "-o", "loop", before):
        tt("init")
        tt("config", "set", "lease_s", "1")
        tt("config", "set", "drain_s", "0.2")
        tt("config", "set", "limits.disk_reserve_bytes", "0")
        tt("start", "--background")
        tt("spawn", "ada", "--cli", "shell")
        tt("assign", "ada", f"touch {begun}; test -e {power} || sleep 100")
        tt("assign", "ada", "true")
        while not begun.exists():
            time.sleep(0.01)  # another process makes it
        tt("send", "supervisor", "the last word")
        cut_power(before, after)
        tt("stop")
    power.touch()
    with town_on(tt, "-o", "loop", after):
        tt("start", "--background")
        tt("wait", "ada")
        assert [task["state"] for task in tt("task", "list", "--json").json["tasks"]] == ["completed"] * 2
        assert "the last word" in tt("inbox").out
        tt("stop")
