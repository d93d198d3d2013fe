"""A machine that lacks what a round needs: the mail goes back untouched, and the kernel waits and says so."""

from __future__ import annotations

import errno
import resource
import shutil
from pathlib import Path

import pytest
import trio
from tinytown.errors import HostFailure, PluginFaulty, host_failure
from tinytown.kernel.host_limits import HostLimits, check_room, raise_open_files
from tinytown_testing.towns import KernelStarter, TownDirectory

from plugins.server.tests.disks import CAN_MOUNT, mounted

FEW_FILES = ("sh", "-c", 'ulimit -n 256; exec "$@"', "sh")


@pytest.mark.deadline_s(120)
async def test_a_hundred_agents_finish_their_tasks_with_256_open_files(town_dir, start_kernel) -> None:
    town_dir.configure('default_cli = "shell"\nlease_s = 5.0\n')
    start_kernel(prefix=FEW_FILES)
    async with town_dir.connect() as town:
        for number in range(100):
            agent = await town.spawn(f"a{number}", cli="shell")
            await agent.assign("sleep 0.3; ulimit -n")
        await town.wait_for_idle()
        tasks = await town.tasks(limit=200)
    assert {(task.state, task.attempts, task.result) for task in tasks} == {("completed", 1, "256")}


async def test_commands_keep_the_limit_of_open_files_that_the_kernel_had_before_it_raised_its_own(
    town_dir, start_kernel
) -> None:
    kernel = start_kernel(prefix=("sh", "-c", 'ulimit -Sn 200; exec "$@"', "sh"))
    async with town_dir.connect() as town:
        agent = await town.spawn("ada", cli="shell")
        task = await agent.assign("ulimit -n")
        assert (await town.wait_for_task(task.id)).result == "200"
    soft, hard = resource.prlimit(kernel.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


async def test_a_log_that_cannot_be_written_costs_no_attempt_and_the_kernel_says_what_it_waits_for(
    town_dir, start_kernel
) -> None:
    start_kernel()
    async with town_dir.connect() as town:
        ada, bob = await town.spawn("ada", cli="shell"), await town.spawn("bob", cli="shell")
        log = town_dir.state / "logs" / "ada.log"
        log.mkdir()
        task = await ada.assign("echo done")
        status = await town.wait_until(town.status, lambda status: bool(status.hosts[0].trouble))
        assert "cannot write the log" in status.hosts[0].trouble
        other = await bob.assign("echo bob")
        waiting = await bob.wait_until(lambda agent: "its host waits" in (agent.reason or ""))
        assert waiting.state == "idle"
        shutil.rmtree(log)
        finished = await town.wait_for_task(task.id)
        assert (finished.result, finished.attempts) == ("done", 1)
        assert (await town.wait_for_task(other.id)).attempts == 1
        await town.wait_until(town.status, lambda status: not status.hosts[0].trouble)


@CAN_MOUNT
async def test_work_that_fails_on_a_full_disk_goes_back_untouched_and_is_done_when_there_is_room(
    no_town_environment, tmp_path: Path
) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=4m", "none"):
        town_dir, starter = TownDirectory(tmp_path / "disk"), KernelStarter(tmp_path / "disk")
        fill = town_dir.root / "fill"
        town_dir.configure("[limits]\ndisk_reserve_bytes = 262144\n")
        try:
            starter()
            async with town_dir.connect() as town:
                ada = await town.spawn("ada", cli="shell")
                fill.write_bytes(bytes(3200 << 10))
                task = await ada.assign("dd if=/dev/zero of=made bs=1M count=1")
                status = await town.wait_until(town.status, lambda status: bool(status.hosts[0].trouble))
                assert "less than limits.disk_reserve_bytes" in status.hosts[0].trouble
                fill.unlink()
                finished = await town.wait_for_task(task.id)
            assert (finished.state, finished.attempts) == ("completed", 1)
        finally:
            starter.close()
            town_dir.close()


@CAN_MOUNT
async def test_a_round_that_uses_up_the_disk_is_ended_before_it_is_full_and_its_task_is_done_later(
    no_town_environment, tmp_path: Path
) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=24m", "none"):
        town_dir, starter = TownDirectory(tmp_path / "disk"), KernelStarter(tmp_path / "disk")
        town_dir.configure("[limits]\ndisk_reserve_bytes = 8388608\n")
        made = town_dir.root / "made"
        try:
            starter()
            async with town_dir.connect() as town:
                ada = await town.spawn("ada", cli="shell")
                fill = "head -c 17000000 /dev/zero > made; exec sleep 600"
                task = await ada.assign(f"test -e enough || {{ touch enough; {fill}; }}; echo done")
                status = await town.wait_until(town.status, lambda status: bool(status.hosts[0].trouble))
                assert "less than limits.disk_reserve_bytes (8,388,608) is left on the disk" in status.hosts[0].trouble
                assert made.stat().st_size == 17_000_000
                await town.wait_until(
                    lambda: town.task(task.id),
                    lambda found: found.state == "assigned" and "less than limits" in (found.reason or ""),
                )
                made.unlink()
                finished = await town.wait_for_task(task.id)
            assert (finished.state, finished.attempts) == ("completed", 1)
        finally:
            starter.close()
            town_dir.close()


@CAN_MOUNT
def test_a_disk_without_room_is_told_before_anything_fails(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "-t", "tmpfs", "-o", "size=1m", "none"):
        check_room(256 << 10, disk, tmp_path / "not there")
        (disk / "fill").write_bytes(bytes(900 << 10))
        with pytest.raises(HostFailure, match=r"less than limits.disk_reserve_bytes \(262,144\) is left"):
            check_room(256 << 10, disk)
        check_room(1 << 10, disk)
    with mounted(disk, "-t", "tmpfs", "-o", "nr_inodes=2000", "none"):
        for number in range(1990):
            (disk / str(number)).touch()
        with pytest.raises(HostFailure, match="hardly any inodes are left"):
            check_room(0, disk)


def test_what_a_machine_lacks_is_found_behind_other_errors() -> None:
    error = PluginFaulty("workspace git failed")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert "No space left" in str(host_failure(error))
    assert host_failure(OSError(errno.EACCES, "Permission denied")) is None
    assert host_failure(None) is None


async def test_after_failures_the_pause_grows_and_fewer_rounds_run_until_some_end_well(autojump_clock) -> None:
    limits, woken = HostLimits(), list[str]()
    limits._most = limits._allowed = 4
    for name in "abcd":
        assert limits.enter(name, lambda: None) == ("", 0.0)
    why, _ = limits.enter("e", lambda: woken.append("e"))
    assert "rounds as it can: 4" in why
    for _ in range(4):
        limits.fail("no memory")
        limits.leave()
    assert woken == ["e"]
    why, first_s = limits.enter("e", lambda: None)
    assert "no memory" in why
    await trio.sleep(first_s)
    assert limits.enter("e", lambda: None) == ("", 0.0)
    limits.fail("no memory")
    limits.leave()
    _, second_s = limits.enter("e", lambda: None)
    assert second_s > first_s
    await trio.sleep(second_s)
    assert limits.enter("a", lambda: None) == ("", 0.0)
    assert "rounds as it can: 1" in limits.enter("b", lambda: woken.append("b"))[0]
    limits.succeed()
    limits.leave()
    assert woken == ["e", "b"]
    assert limits.trouble == ""
    assert [limits.enter(name, lambda: None)[0] for name in "ab"] == ["", ""]


async def test_a_round_that_is_to_run_alone_does_once_the_others_have_ended() -> None:
    limits, woken = HostLimits(), list[str]()
    limits._most = limits._allowed = 8

    def enter(name: str) -> bool:
        return limits.enter(name, lambda: woken.append(name))[0] == ""

    assert [enter(name) for name in "abc"] == [True, True, True]
    assert not limits.run_alone()
    limits.leave()  # a gives its mail back
    assert not enter("a")
    for _ in "bc":
        limits.succeed()
        assert woken == []
        limits.leave()
    assert woken == ["a"]
    assert enter("a")
    assert limits.run_alone()
    assert not enter("d")
    limits.succeed()
    limits.leave()
    assert woken == ["a", "d"]
    assert [enter(name) for name in "def"] == [True, True, True]  # as many as before
    assert not limits.run_alone()
    assert not enter("g")
    for _ in "def":  # whoever is to run alone may be gone: the others continue
        limits.succeed()
    assert enter("g")


async def test_the_only_round_runs_alone_at_once() -> None:
    limits = HostLimits()
    assert limits.enter("a", lambda: None)[0] == ""
    assert limits.run_alone()
    limits.succeed()
    limits.leave()
    assert [limits.enter(name, lambda: None)[0] for name in "ab"] == ["", ""]


def test_the_limit_of_open_files_is_raised_to_what_the_process_may_have() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(200, before[1]), before[1]))
        raise_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
