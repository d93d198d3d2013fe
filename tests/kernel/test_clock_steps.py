"""A server whose clock is set, by libfaketime, under a town at work. Needs it and a server that is linked dynamically."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.contracts import Failed, Finished, RateLimited
from tinytown_server.server import find_binary

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
pytestmark = [pytest.mark.faults, pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")]


class SetServer:
    """A server whose clock a test sets."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp"))
        self._offset = self.home / "offset"
        self.set(0)
        self._process = subprocess.Popen(
            [
                find_binary().path,
                "--port",
                "0",
                "--unixsocket",
                f"{self.home}/s",
                "--dir",
                str(self.home),
                "--save",
                "",
            ],
            env={
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(self._offset),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        next(line for line in self._process.stdout if "Ready to accept" in line)
        self._process.stdout.close()

    @property
    def url(self) -> str:
        return f"unix://{self.home}/s"

    def set(self, offset_s: int) -> None:
        """Have its clock so far ahead of the true time."""
        draft = self.home / "draft"
        draft.write_text(f"{offset_s:+d}s\n")
        os.replace(draft, self._offset)

    def close(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self.home)


@pytest.fixture
def clock() -> Iterator[SetServer]:
    server = SetServer()
    try:
        yield server
    finally:
        server.close()


@asynccontextmanager
async def open_with(town_dir: Any, clock: SetServer, **rounds: Any) -> AsyncGenerator[Any]:
    town_dir.configure(f'lease_s = 3.0\n[redis]\nurl = "{clock.url}"\n', **rounds)
    async with town_dir.open() as town:
        before = int((await town.link.command("TIME"))[0])
        clock.set(3600)
        if int((await town.link.command("TIME"))[0]) - before < 3000:
            pytest.skip("the server does not take libfaketime's time")
        clock.set(0)
        await beats(town, 2)
        yield town


async def beats(town: Any, count: int) -> None:
    """Wait for so many heartbeats."""
    seen: list[bytes] = []
    while len(seen) <= count:
        (latest,) = await town.link.command("HMGET", f"{town.operations.keys.base}:meta", "clock_at")
        if latest is not None and latest not in seen:
            seen.append(latest)
        await trio.sleep(0.05)


@pytest.mark.deadline_s(90)
@pytest.mark.parametrize("step_s", [-7200, 7200])
async def test_a_retry_an_account_a_hold_and_mail_come_when_they_would_have_come(
    town_dir, scripted_backend, clock, step_s
) -> None:
    async def script(work: Any, report: Any) -> Any:
        if work.task is None:
            return Finished(text="read")
        if work.task.description == "fail once" and work.task.attempts == 1:
            clock.set(step_s)
            return Failed(reason="no luck")
        return Finished(text="done")

    scripted_backend.script = script
    async with open_with(town_dir, clock, retry_delay_s=2.0) as town:
        ada, bea = await town.spawn("ada"), await town.spawn("bea")
        await town.wait_for_idle()
        held = await bea.assign("later", held="wait", held_until=await moment(town, 4))
        task = await ada.assign("fail once")
        with trio.fail_after(45):
            assert (await town.wait_for_task(task.id)).attempts == 2
            assert (await town.wait_for_task(held.id)).state == "completed"
        assert len((await town.status()).hosts) == 1
        clock.set(0)  # and back again, while an account is parked
        await beats(town, 3)
        next_task = await bea.assign("after all")
        with trio.fail_after(45):
            assert (await town.wait_for_task(next_task.id)).attempts == 1


async def moment(town: Any, in_s: float) -> str:
    from tinytown.model.time import rfc3339

    seconds, _ = await town.link.command("TIME")
    return rfc3339(int((int(seconds) + in_s) * 1000))


@pytest.mark.deadline_s(90)
@pytest.mark.parametrize("step_s", [-7200, 7200])
async def test_an_account_is_parked_for_as_long_as_its_vendor_says(town_dir, scripted_backend, clock, step_s) -> None:
    asked: list[float] = []

    async def script(work: Any, report: Any) -> Any:
        asked.append(trio.current_time())
        if len(asked) == 1:
            return RateLimited(reason="slow down", retry_after_s=5.0)
        return Finished(text="done")

    scripted_backend.script = script
    async with open_with(town_dir, clock) as town:
        ada = await town.spawn("ada")
        task = await ada.assign("work")
        await town.wait_until(town.status, lambda status: len(asked) == 1)
        await trio.sleep(0.5)
        clock.set(step_s)
        with trio.fail_after(60):
            assert (await town.wait_for_task(task.id)).state == "completed"
        assert asked[1] - asked[0] > 4.5


@pytest.mark.deadline_s(120)
@pytest.mark.parametrize("step_s", [-7200, 7200])
async def test_rounds_of_two_kernels_continue_whatever_the_clock_is_set_to(
    town_dir, start_kernel, clock, tmp_path, step_s
) -> None:
    second = type(town_dir)(Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp")).resolve())
    try:
        for each in (town_dir, second):
            each.configure(f'default_cli = "shell"\nlease_s = 3.0\n[redis]\nurl = "{clock.url}"\n')
        await trio.to_thread.run_sync(start_kernel)
        await trio.to_thread.run_sync(start_kernel, second.root)
        go, runs = tmp_path / "go", tmp_path / "runs"
        async with town_dir.connect() as town:
            agents = [await town.spawn(f"a{number}") for number in range(4)]
            script = f"echo x >> {runs}; while [ ! -e {go} ]; do sleep 0.05; done; echo done"
            tasks = [await agent.assign(script) for agent in agents]
            await town.wait_until(town.agents, lambda agents: all(agent.state == "working" for agent in agents))
            before = {agent.name: agent.host for agent in await town.agents()}
            assert len(set(before.values())) == 2
            await beats(town, 3)
            clock.set(step_s)
            await beats(town, 6)
            assert {agent.name: agent.host for agent in await town.agents()} == before
            go.touch()
            for task in tasks:
                done = await town.wait_for_task(task.id)
                assert (done.state, done.attempts, done.lost) == ("completed", 1, 0)
            assert len(runs.read_text().split()) == 4
    finally:
        start_kernel.close()
        second.close()
