"""A kernel that stands still while another takes its work over: no task has two processes."""

from __future__ import annotations

import signal

import pytest
import trio
from tinytown.errors import HostFailure
from tinytown.process import descendants_of, open_process_supervisor
from tinytown.process.reaper import boot_time
from tinytown_testing import TownDirectory

TOWN = 'default_cli = "shell"\nlease_s = 1.0\n'


@pytest.mark.faults
@pytest.mark.deadline_s(60)
async def test_the_rounds_of_a_frozen_kernel_end_when_its_lease_does_though_it_cannot_end_them(
    town_dir, start_kernel, wait_for_file
) -> None:
    town_dir.configure(TOWN)
    async with town_dir.connect() as town:
        kernel = await trio.to_thread.run_sync(start_kernel)
        agent = await town.spawn("ada")
        task = await agent.assign("echo x >> began; test $(wc -l < began) -ge 2 || sleep 1000")
        await wait_for_file(town_dir.root / "began", "x")
        kernel.signal(signal.SIGSTOP)
        (reaper,) = descendants_of(kernel.pid) - {
            below for pid in descendants_of(kernel.pid) for below in descendants_of(pid)
        }
        while descendants_of(reaper):  # noqa: ASYNC110 - nothing announces it
            await trio.sleep(0.05)
        kernel.signal(signal.SIGCONT)
        done = await town.wait_for_task(task.id)
        assert done.state == "completed"
        assert await trio.to_thread.run_sync(kernel.stop) == 0


async def test_commands_end_at_once_when_the_lease_is_not_put_off_and_later_ones_run(tmp_path) -> None:
    async with open_process_supervisor(run_dir=tmp_path / "run") as processes:

        async def run(script: str) -> int | None:
            ended = await processes.run(
                ["sh", "-c", script], cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, on_line=print
            )
            return ended.status

        processes.keep_until(boot_time() + 100)
        assert await run("exit 3") == 3
        processes.keep_until(boot_time() + 0.5)
        with pytest.raises(HostFailure, match="lease of this kernel ended") as caught:
            await run("trap '' TERM; sleep 1000 & while :; do sleep 1; done")
        assert caught.value.code == "lease_lost"
        assert await run("exit 4") == 4


async def test_a_lease_that_is_renewed_ends_nothing(town_dir: TownDirectory) -> None:
    town_dir.configure(TOWN)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("sleep 3; echo done")
        assert (await town.wait_for_task(task.id)).attempts == 1
