"""A plugin that ends the interpreter in its import or in a hook is named at the next start, and left out after a second time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.config import CONFIG_FILE
from tinytown.entry_points import loading_state
from tinytown.errors import PluginRefused
from tinytown_ops.watchdog.deaths import CallGuard, read_deaths
from tinytown_testing import TownDirectory
from tinytown_testing.installed import install_plugin

DEADLINE_S = 90.0

API = "from tinytown.hookspecs import hookimpl\nTINYTOWN_HOOK_API = 2\n"
#: Where it ends the process -> the plugin's source, and how the report says it.
ENDINGS = {
    "import": ("import os\nos._exit(3)\n", "its import"),
    "hook": (f"{API}@hookimpl\ndef tinytown_gates():\n    import os\n    os._exit(3)\n", "tinytown_gates"),
    "crash": (f"{API}@hookimpl\ndef tinytown_gates():\n    import ctypes\n    ctypes.string_at(0)\n", "tinytown_gates"),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on the path, for plugins."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    return site


def list_plugins(town_dir: TownDirectory, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tinytown", "plugins", "--json"],
        cwd=town_dir.root,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def state(town_dir: TownDirectory) -> Path:
    """The state directory of the town, made."""
    town_dir.state.mkdir(parents=True, exist_ok=True)
    return town_dir.state


@pytest.mark.parametrize("how", ENDINGS)
@pytest.mark.usefixtures("state")
def test_a_plugin_in_which_two_processes_died_is_named_and_left_out(
    town_dir: TownDirectory, site: Path, how: str
) -> None:
    source, during = ENDINGS[how]
    install_plugin(site, "bad", source)
    first, second, third = (list_plugins(town_dir, site) for _ in range(3))
    assert (bool(first.returncode), first.stdout) == (True, "")
    assert "bad" not in first.stderr
    assert second.returncode != 0
    assert f"plugin bad: a process of the town died in {during}" in second.stderr
    listed = json.loads(third.stdout)
    (bad,) = [each for each in listed["plugins"] if each["name"] == "bad"]
    assert bad["status"] == "refused"
    assert bad["reason"].endswith(
        f"processes of the town died in it, 2 in a row; the last time a process of the town died in {during}"
    )
    assert {each["status"] for each in listed["plugins"] if each["name"] in ("echo", "ops")} == {"active"}
    # It is fixed.
    module = install_plugin(site, "bad", API)
    os.utime(module, ns=(time.time_ns(), time.time_ns()))
    (bad,) = [each for each in json.loads(list_plugins(town_dir, site).stdout)["plugins"] if each["name"] == "bad"]
    assert bad["status"] == "active"
    assert read_deaths(town_dir.root) == []


def record(state: Path, root: Path, *lines: str) -> None:
    (state / "plugin-calls").write_text("\n".join([loading_state(root / CONFIG_FILE), *lines]))


def death(stage: str, at_ns: int | None = None) -> str:
    return f"bad\t{stage}\t{time.time_ns() if at_ns is None else at_ns}"


def load(guard: CallGuard) -> None:
    """As the kernel loads a plugin."""
    with guard.call("bad", "load"):
        guard.check("bad")


def call(guard: CallGuard) -> None:
    with guard.call("bad", "tinytown_gates"):
        pass


def test_a_call_that_returns_or_raises_leaves_nothing(town_dir: TownDirectory, state: Path) -> None:
    guard = CallGuard(town_dir.root)
    with suppress(SystemExit), guard.call("bad", "load"), guard.call("good", "tinytown_gates"):
        assert (state / "plugin-calls").read_text().endswith("\ngood\ttinytown_gates")
        raise SystemExit
    assert (state / "plugin-calls").read_text() == loading_state(town_dir.root / CONFIG_FILE) + "\n"


def test_a_plugin_that_has_returned_since_is_not_accused_any_more(town_dir: TownDirectory, state: Path) -> None:
    record(state, town_dir.root, death("load"), "bad\tload")
    with pytest.raises(PluginRefused):
        load(CallGuard(town_dir.root))
    record(state, town_dir.root, "bad\tload")
    guard = CallGuard(town_dir.root)
    assert [found[:2] for found in read_deaths(town_dir.root)] == [("bad", "load")]
    call(guard)  # another call says nothing
    assert len(read_deaths(town_dir.root)) == 1
    load(guard)
    assert read_deaths(town_dir.root) == []


def test_with_another_installation_or_other_settings_it_is_tried_again(town_dir: TownDirectory, state: Path) -> None:
    record(state, town_dir.root, death("load"), death("load"), "")
    with pytest.raises(PluginRefused, match="processes of the town died in it, 2 in a row"):
        load(CallGuard(town_dir.root))
    town_dir.configure("# changed\n")
    load(CallGuard(town_dir.root))


def test_one_process_marks_and_others_accuse_nobody(town_dir: TownDirectory, state: Path) -> None:
    first = CallGuard(town_dir.root)
    with first.call("good", "tinytown_gates"):
        second = CallGuard(town_dir.root)
        load(second)
        assert read_deaths(town_dir.root) == []
        assert (state / "plugin-calls").read_text().endswith("\ngood\ttinytown_gates")


def test_without_state_or_within_a_round_nothing_is_written(
    town_dir: TownDirectory, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYTOWN_ROUND_ID", "1")
    load(CallGuard(town_dir.root))
    assert not (state / "plugin-calls").exists()
    load(CallGuard(town_dir.root / "nowhere"))


async def test_the_kernel_of_a_town_without_it_says_so_in_log_event_and_status(
    town_dir: TownDirectory, state: Path, site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install_plugin(site, "bad", API)
    later = time.time_ns() + 10**9
    record(state, town_dir.root, death("tinytown_gates", later), death("tinytown_gates", later), "")
    with trio.fail_after(DEADLINE_S):
        async with town_dir.open() as town:
            (event, *_) = await town_dir.wait_for_events(town, 1, "plugin_reported", plugin="bad")
            assert "processes of the town died in it, 2 in a row" in event["text"]
            notice = await town.wait_until(lambda: notice_of(town), bool)
            assert "plugin 'bad'" in notice
    assert "plugin 'bad'" in caplog.text
    (site / "tinytown_bad.py").touch()
    os.utime(site / "tinytown_bad.py", ns=(later + 1, later + 1))
    with trio.fail_after(DEADLINE_S):
        async with town_dir.open() as town:
            await town.wait_until(lambda: notice_of(town), lambda notice: notice is None)


async def notice_of(town: Any) -> Any:
    return await town.run(town.operations.plugin_field("plugins", "notice"))


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 40, b"state\nbad\tload\n", b"state\nbad\tload\tsoon\nbad\tload", b"\xff\n\n\n"]
)
def test_a_damaged_file_accuses_nobody_and_is_written_anew(
    town_dir: TownDirectory, state: Path, content: bytes
) -> None:
    (state / "plugin-calls").write_bytes(content)
    guard = CallGuard(town_dir.root)
    guard.check("bad")
    with guard.call("bad", "load"):
        pass
    assert read_deaths(town_dir.root) == []
    assert (state / "plugin-calls").read_text() == loading_state(town_dir.root / CONFIG_FILE) + "\n"
