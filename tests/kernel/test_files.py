"""What a kernel leaves on the disk: who may read it, how large it grows, and that a town may be moved."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import tinytown
from tinytown.state import state_directory
from tinytown_server.server import EmbeddedServer

SHELL = 'default_cli = "shell"\n'


async def test_nobody_else_can_look_into_a_towns_files(town_dir) -> None:
    town_dir.configure(SHELL)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await agent.assign("echo secret")
        await agent.wait_for_idle()
        state = town_dir.state
        modes = {path.relative_to(state).as_posix(): path.stat().st_mode & 0o777 for path in (state, *state.rglob("*"))}
        open_directories = [name for name, mode in modes.items() if mode & 0o077 and (state / name).is_dir()]
        assert modes["."] == modes["agents/ada"] == modes["logs"] == 0o700
        assert modes["logs/ada.log"] == 0o600
        assert not open_directories


async def test_an_agents_log_is_bounded(town_dir) -> None:
    town_dir.configure(SHELL + "[limits]\nlog_bytes = 10_000\n")
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        for number in range(8):
            await agent.assign(f"for i in $(seq 400); do echo line {number} $i; done")
        await agent.wait_for_idle()
        logs = sorted((town_dir.state / "logs").glob("ada.log*"))
        assert [path.name for path in logs] == ["ada.log", "ada.log.1"]
        assert sum(path.stat().st_size for path in logs) < 30_000
        assert "line 7 400" in logs[0].read_text()


async def test_a_round_that_floods_its_log_keeps_it_within_its_bound(town_dir) -> None:
    town_dir.configure(SHELL + "[limits]\nlog_bytes = 10_000\n")
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        done = await town.wait_for_task((await agent.assign("seq 100000 200000; echo last")).id)
        assert done.state == "completed"
        logs = sorted((town_dir.state / "logs").glob("ada.log*"))
        assert [path.name for path in logs] == ["ada.log", "ada.log.1"]
        # A chunk of the pipe may be larger than the bound; it is never split.
        assert sum(path.stat().st_size for path in logs) < 2 * (10_000 + 65_536) + 1_000
        assert "\nlast\n" in logs[0].read_text()


async def test_a_town_that_was_moved_between_kernels_goes_on(town_dir) -> None:
    town_dir.configure(SHELL)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        done = await town.wait_for_task((await agent.assign("pwd")).id)
        assert done.result == str(town_dir.root)
        await agent.interrupt()
        await agent.wait_until(lambda agent: agent.state == "paused")
        waiting = await agent.assign("pwd")
    town_dir.server.stop()
    moved = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp")).resolve() / "town"
    try:
        shutil.move(town_dir.root, moved)
        async with tinytown.open_town(moved) as town:
            assert (await town.task(done.id)).state == "completed"
            await (await town.agent("ada")).resume()
            assert (await town.wait_for_task(waiting.id)).result == str(moved)
    finally:
        EmbeddedServer(state_directory(moved)).stop()
        shutil.rmtree(moved.parent)
        town_dir.root.mkdir(exist_ok=True)


async def test_a_directory_with_nothing_but_a_toml_file_is_a_town(town_dir) -> None:
    town_dir.configure(SHELL)
    assert [path.name for path in town_dir.root.iterdir()] == ["tinytown.toml"]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        assert (await town.wait_for_task((await agent.assign("echo ok")).id)).result == "ok"
