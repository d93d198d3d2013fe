"""A plugin that holds up the kernel's event loop is named while it does so, and in the end no longer called."""

from __future__ import annotations

import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.contracts import Finished, Gate, Service, Verdict
from tinytown_cli.client import open_town_client
from tinytown_ops.doctor.town_checks import check_stalls
from tinytown_ops.watchdog import service
from tinytown_ops.watchdog.stalls import Stall, find_culprit, keep, read_stalls, stalls_file

DEADLINE_S = 90.0


def hold_up(seconds: float) -> None:
    """What no plugin may do: nothing else runs meanwhile."""
    time.sleep(seconds)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watchdog that loses its patience soon."""
    monkeypatch.setattr(service, "BEAT_S", 0.02)
    monkeypatch.setattr(service, "STALL_S", 0.2)


async def findings(root: Path) -> list[Any]:
    def check() -> list[Any]:
        with open_town_client(root) as town:
            return list(check_stalls(town))

    return await trio.to_thread.run_sync(check)


@pytest.mark.usefixtures("quick")
async def test_who_holds_up_the_loop_is_named_in_log_event_and_doctor(town_dir, scripted_backend, caplog) -> None:
    async def script(work: Any, report: Any) -> Finished:
        hold_up(0.8)
        return Finished(text="done")

    scripted_backend.script = script
    with trio.fail_after(DEADLINE_S):
        async with town_dir.open() as town:
            agent = await town.spawn("ada")
            assert (await town.wait_for_task((await agent.assign("do it")).id)).state == "completed"
            (event, *_) = await town_dir.wait_for_events(town, 1, "plugin_reported", plugin="scripted")
            assert "held up the kernel for" in event["text"]
            assert event["text"].endswith("tinytown_testing.scripted_backend.ScriptedSession.run_round")
            (finding,) = await findings(town_dir.root)
            assert (finding.level, finding.check) == ("note", "event loop")
            assert "plugin scripted held up the kernel 1 time in a day" in finding.found
    (stall,) = read_stalls(town_dir.root)
    assert stall.is_over
    assert any("hold_up" in call for call in stall.stack)
    assert "plugin scripted holds up the kernel" in caplog.text
    assert "in hold_up" in caplog.text


@pytest.mark.usefixtures("quick")
async def test_doctor_names_who_holds_up_the_kernel_at_this_moment(town_dir, scripted_backend) -> None:
    seen: list[Any] = []

    async def script(work: Any, report: Any) -> Finished:
        until = time.monotonic() + 30.0
        while not seen and time.monotonic() < until:  # what a stranger's process would see
            hold_up(0.05)
            seen.extend(stall for stall in read_stalls(town_dir.root) if not stall.is_over)
        with open_town_client(town_dir.root) as client:
            seen.extend(check_stalls(client))
        return Finished()

    scripted_backend.script = script
    with trio.fail_after(DEADLINE_S):
        async with town_dir.open() as town:
            agent = await town.spawn("ada")
            await town.wait_for_task((await agent.assign("do it")).id)
    assert seen[0].plugin == "scripted"
    assert seen[-1].level == "problem"
    assert seen[-1].found.startswith("plugin scripted holds up the kernel since")


class Lazy(Service, Gate):
    """Holds up the loop wherever it is called."""

    name = "lazy"

    def __init__(self) -> None:
        self.calls = 0

    async def run(self, town: Any) -> None:
        while True:
            self.calls += 1
            hold_up(0.5)
            await trio.sleep(0.01)

    async def check(self, work: Any, directory: Path) -> Verdict:
        return Verdict(passed=True)


@pytest.mark.usefixtures("quick")
async def test_a_plugin_that_goes_on_is_not_called_any_more(town_dir, scripted_backend, monkeypatch) -> None:
    monkeypatch.setattr(service, "SUSPEND_AFTER_S", 0.9)
    lazy = Lazy()
    scripted_backend.services = [lazy]
    scripted_backend.sections = lambda agent, task: ["a section"]
    with trio.fail_after(DEADLINE_S):
        async with town_dir.open() as town:
            agent = await town.spawn("ada")
            reported: list[Any] = []
            while not any("not called any more" in event["text"] for event in reported):
                reported = await town_dir.wait_for_events(town, len(reported) + 1, "plugin_reported", plugin="scripted")
            calls = lazy.calls
            (report,) = [each for each in town_dir.kernel.plugins.reports if each.name == "scripted"]
            assert report.status == "faulty"
            assert "held up the kernel" in report.reason
            await agent.assign("do it")
            stopped = await agent.wait_until(lambda now: now.state == "error")
            assert "plugin 'scripted' is no longer called: it held up the kernel" in stopped.reason
            echo = await town.spawn("eve", cli="echo")
            task = await town.wait_for_task((await echo.assign("hello")).id)
            assert (task.state, lazy.calls) == ("completed", calls)


async def test_a_loop_that_runs_is_left_alone(town_dir, scripted_backend) -> None:
    with trio.fail_after(DEADLINE_S):
        async with town_dir.open() as town:
            agent = await town.spawn("ada")
            await town.wait_for_task((await agent.assign("do it")).id)
            await trio.sleep(3 * service.BEAT_S)
    assert read_stalls(town_dir.root) == []
    assert [event for event in town_dir.recorded("plugin_reported") if "held up" in event["text"]] == []


async def test_a_kernel_that_is_stopped_and_continued_blames_no_plugin(town_dir, running_kernel) -> None:
    with trio.fail_after(DEADLINE_S):
        async with town_dir.connect() as town:
            eve = await town.spawn("eve", cli="echo")
            for _ in range(3):
                running_kernel.signal(signal.SIGSTOP)
                await trio.sleep(service.STALL_S + 1.0)
                running_kernel.signal(signal.SIGCONT)
                await town.wait_for_task((await eve.assign("hello")).id)
                await trio.sleep(4 * service.BEAT_S)  # the thread looks, and the loop reports
            events = await town.run(town.operations.events_after("0", count=10_000))
    assert [event for event in events if event.type == "plugin_reported"] == []
    assert read_stalls(town_dir.root) == []


def test_whoever_has_started_the_loop_is_not_to_blame_for_what_happens_in_it() -> None:
    async def look() -> Any:
        return find_culprit(sys._getframe(), {__name__: "starter"})[0]

    async def look_elsewhere() -> Any:
        return find_culprit(sys._getframe().f_back, {__name__: "starter"})[0]

    assert trio.run(look) == "starter"
    assert trio.run(look_elsewhere) == ""


def test_the_innermost_plugin_on_the_stack_is_to_blame() -> None:
    frame = sys._getframe()
    here = f"{__name__}.test_the_innermost_plugin_on_the_stack_is_to_blame"
    assert find_culprit(frame, {})[:2] == ("", here)
    assert find_culprit(frame, {}, "called")[:2] == ("called", here)
    plugin, function, stack = find_culprit(
        frame, {"_pytest": "outer", __name__: "mine", __name__.partition(".")[0]: "no"}
    )
    assert (plugin, function, len(stack)) == ("mine", here, 1)


def test_the_file_of_stalls_keeps_the_latest_and_damage_to_it_is_no_matter(town_dir) -> None:
    town_dir.state.mkdir(parents=True, exist_ok=True)
    stall = Stall(
        plugin="p", function="f", stack=("f",), since=datetime.now(UTC).isoformat(), seconds=3.0, is_over=False
    )
    keep(town_dir.root, stall)
    keep(town_dir.root, Stall(**{**{name: getattr(stall, name) for name in stall.__struct_fields__}, "is_over": True}))
    assert [kept.is_over for kept in read_stalls(town_dir.root)] == [True]
    stalls_file(town_dir.root).write_text("{")
    assert read_stalls(town_dir.root) == []
