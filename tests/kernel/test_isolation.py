"""Whatever a plugin raises, wherever it is called: its own work suffers, it is named, and the town works on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.contracts import (
    AgentBackend,
    AgentContext,
    Box,
    Disposition,
    Finished,
    Gate,
    Outcome,
    Purpose,
    Report,
    Round,
    RoundAccess,
    RoundObserver,
    Sandbox,
    Service,
    Usage,
    Verdict,
    WorkContext,
    Workspace,
)
from tinytown.model.agents import Agent
from tinytown.model.events import Event
from tinytown.model.round_records import RoundRecord
from tinytown.model.tasks import Task
from tinytown.town import Town
from tinytown_sinks import StatusSink


class Odd(BaseException):
    """Something that only its maker knows."""


async def a_cancellation() -> trio.Cancelled:
    """One that was raised in another scope, which is long over."""
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            kept = cancelled
            raise
    return kept


#: What plugins raise, by the words that name it.
RAISED: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("oops"),
    "SystemExit": lambda: SystemExit(2),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "Odd": lambda: Odd("odd"),
    "SystemExit(3)": lambda: BaseExceptionGroup("two", [SystemExit(3), ValueError("oops")]),
}


class Mischief:
    """Raises `error` wherever `at` says."""

    def __init__(self) -> None:
        self.at = ""
        self.error: Callable[[], BaseException] = AssertionError

    def come_to(self, place: str) -> None:
        if self.at == place:
            raise self.error()


class BadBackend(AgentBackend):
    kind = "bad"

    def __init__(self, mischief: Mischief) -> None:
        self.mischief = mischief

    def permissions_of(self, agent: Agent, default: Any) -> Any:
        self.mischief.come_to("permissions")
        return "full" if self.mischief.at != "sandbox" else "write"

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncGenerator[BadBackend]:
        self.mischief.come_to("backend opening")
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            self.processes = context.processes
            yield self
        self.mischief.come_to("backend closing")

    async def run_round(self, work: Round, report: Report) -> Outcome:
        self.mischief.come_to("session")
        if self.mischief.at == "backend task":
            self.nursery.start_soon(self.fail_later)
            await trio.sleep_forever()
        if self.mischief.at == "listener":
            await self.processes.run(
                ["echo", "hello"],
                cwd=work.directory,
                env=work.environment,
                on_line=lambda line: self.mischief.come_to("listener"),
            )
        if self.mischief.at == "wrap":
            await self.processes.run(["true"], cwd=work.directory, env=work.environment, on_line=lambda line: None)
        return Finished()

    async def fail_later(self) -> None:
        await trio.lowlevel.checkpoint()
        self.mischief.come_to("backend task")


class BadSink(StatusSink):
    name = "bad-sink"

    def __init__(self, mischief: Mischief) -> None:
        self.mischief = mischief

    def wants(self, event: Event) -> bool:
        self.mischief.come_to("sink wants")
        return True

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        yield

    async def put(self, events: Sequence[Event]) -> None:
        self.mischief.come_to("sink")


class BadGate(Gate):
    name = "bad"

    def __init__(self, mischief: Mischief) -> None:
        self.mischief = mischief

    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        self.mischief.come_to("gate")
        return Verdict(passed=True)


class BadService(Service):
    name = "bad"

    def __init__(self, mischief: Mischief) -> None:
        self.mischief = mischief

    async def run(self, town: Town) -> None:
        with town.subscribe(lambda event: self.mischief.come_to("subscriber")):
            while True:
                self.mischief.come_to("service")
                await trio.sleep(0.01)


class BadWorkspace(Workspace):
    name = "bad"

    def __init__(self, mischief: Mischief) -> None:
        self.mischief = mischief

    def claims(self, agent: Agent, task: Task | None) -> bool:
        self.mischief.come_to("claims")
        return True

    @asynccontextmanager
    async def open(self, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
        self.mischief.come_to("workspace opening")
        yield work.root
        self.mischief.come_to("workspace closing")

    async def settle(self, work: WorkContext, disposition: Disposition, directory: Path | None) -> None:
        self.mischief.come_to("settle")


class BadAccess(RoundAccess):
    name = "bad"

    def __init__(self, mischief: Mischief) -> None:
        self.mischief = mischief

    @asynccontextmanager
    async def open(self, town: Town, agent: Agent, tasks: Sequence[Task], permissions_of: Any) -> AsyncGenerator[str]:
        self.mischief.come_to("access opening")
        yield "unix:///nowhere"
        self.mischief.come_to("access closing")


class BadObserver(RoundObserver):
    name = "bad"

    def __init__(self, mischief: Mischief) -> None:
        self.mischief = mischief

    def began(self, agent: Agent, work: Round) -> None:
        self.mischief.come_to("observing a beginning")

    def ended(self, agent: Agent, work: Round, record: RoundRecord, tail: bytes) -> None:
        self.mischief.come_to("observing an end")


class BadSandbox(Sandbox):
    name = "bad"

    def __init__(self, mischief: Mischief) -> None:
        self.mischief = mischief

    def problem(self) -> str:
        self.mischief.come_to("sandbox")
        return ""

    def wrap(self, command: Sequence[str], *, box: Box, environment: Mapping[str, str]) -> Sequence[str]:
        self.mischief.come_to("wrap")
        return command


#: Where plugins are called -> what the report begins with.
PLACES = {
    "permissions": "backend bad",
    "backend opening": "backend bad",
    "backend closing": "backend bad",
    "backend task": "backend bad",
    "session": "backend bad",
    "listener": "backend bad",
    "sink": "service bad-sink",
    "sink wants": "service bad-sink",
    "gate": "gate bad",
    "service": "service bad",
    "claims": "workspace bad",
    "workspace opening": "workspace bad",
    "workspace closing": "workspace bad",
    "settle": "workspace bad",
    "access opening": "round access bad",
    "access closing": "round access bad",
    "observing a beginning": "round observer bad",
    "observing an end": "round observer bad",
    "sandbox": "sandbox bad",
}
#: Hooks that are called while the town works.
HOOKS = ("sections", "choose", "environment")


@pytest.fixture
def mischief(town_dir, scripted_backend, monkeypatch) -> Mischief:
    monkeypatch.setattr("tinytown.kernel.kernel._FIRST_RETRY_S", 0.01)
    monkeypatch.setattr("tinytown.kernel.workspaces._RETRY_S", 0.05)
    town_dir.configure(max_attempts=1, retry_delay_s=0.01)
    made = Mischief()
    scripted_backend.backends.append(BadBackend(made))
    scripted_backend.sinks = [BadSink(made)]
    scripted_backend.gates = [BadGate(made)]
    scripted_backend.services = [BadService(made)]
    scripted_backend.workspaces = [BadWorkspace(made)]
    scripted_backend.sandboxes = [BadSandbox(made)]
    scripted_backend.round_access = [BadAccess(made)]
    scripted_backend.round_observers = [BadObserver(made)]
    return made


async def stop_and_start(agent: Any) -> None:
    """Have the session of an agent closed and opened again."""
    await agent.kill()
    await agent.wait_until(lambda now: now.state == "stopped" and now.host is None)
    await agent.resume()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.deadline_s(60)
async def test_whatever_a_plugin_raises_it_alone_is_named_and_the_town_works_on(town_dir, mischief, place) -> None:
    async with town_dir.open() as town:
        bad, good = await town.spawn("bad", cli="bad"), await town.spawn("good")
        for word, error in RAISED.items():
            await stop_and_start(bad)  # so that it opens a session
            mischief.error, mischief.at = error, place
            task = await bad.assign("do it")
            if place == "backend closing":
                await town.wait_for_task(task.id)
                await stop_and_start(bad)
            begins = f"{PLACES[place]} failed: "
            reported = await town_dir.wait_for_events(town, 1, "plugin_reported", plugin="scripted")
            while not any(word in event["text"] for event in reported):
                reported = await town_dir.wait_for_events(town, len(reported) + 1, "plugin_reported", plugin="scripted")
            assert {event["text"].startswith(begins) for event in reported} == {True}, reported
            mischief.at = ""
            town_dir.events.clear()
            assert (await town.wait_for_task((await good.assign("do it")).id)).state == "completed"
        await stop_and_start(bad)
        assert (await town.wait_for_task((await bad.assign("do it")).id)).state == "completed"


@pytest.mark.parametrize("hook", HOOKS)
async def test_whatever_a_hook_raises_the_town_works_on(town_dir, scripted_backend, hook) -> None:
    def ask(*arguments: Any) -> Any:
        raise error()

    async with town_dir.open() as town:
        good = await town.spawn("good", tags=["any"])
        setattr(scripted_backend, hook, ask)
        for error in RAISED.values():  # noqa: B007 - what `ask` raises
            await town.wait_for_task((await good.assign("do it")).id)
            await town.wait_for_task((await town.add_task("for anybody", tags=["any"])).id)
            await town.add_task("for nobody", tags=["nobody"])  # none takes it before the hook is asked
        (event,) = await town_dir.wait_for_events(town, 1, "plugin_reported", plugin="scripted")
        assert any(word in event["text"] for word in RAISED), event


async def test_what_a_subscriber_raises_is_logged_and_costs_nothing(town_dir, mischief, caplog) -> None:
    async with town_dir.open() as town:
        good = await town.spawn("good")
        for mischief.error in RAISED.values():
            mischief.at = "subscriber"
            assert (await town.wait_for_task((await good.assign("do it")).id)).state == "completed"
    assert "SystemExit" in caplog.text


async def test_a_cancellation_from_elsewhere_is_a_fault_and_no_cancellation(town_dir, mischief) -> None:
    kept = await a_cancellation()
    async with town_dir.open() as town:
        bad = await town.spawn("bad", cli="bad")
        mischief.at, mischief.error = "session", lambda: kept
        task = await town.wait_for_task((await bad.assign("do it")).id)
        assert task.state == "failed"
        assert "Cancelled" in task.reason
        await town_dir.wait_for_events(town, 1, "plugin_reported", plugin="scripted")


async def test_a_sandbox_that_raises_while_it_wraps_a_command_fails_the_round(town_dir, mischief) -> None:
    town_dir.configure('permissions = "write"\n', max_attempts=1)
    async with town_dir.open() as town:
        bad = await town.spawn("bad", cli="bad")
        mischief.error, mischief.at = RAISED["SystemExit"], "sandbox"  # so that it is boxed
        mischief.come_to = lambda place: None if place != "wrap" or mischief.at != "wrap" else sys_exit()  # type: ignore[method-assign]
        assert (await town.wait_for_task((await bad.assign("do it")).id)).state == "completed"
        mischief.at = "wrap"
        task = await town.wait_for_task((await bad.assign("do it")).id)
        assert (task.state, task.reason) == ("failed", "sandbox bad failed: SystemExit(4)")


def sys_exit() -> None:
    raise SystemExit(4)


@pytest.mark.parametrize(
    ("answer", "left_out"),
    [
        (Finished(text="done", usage=Usage(input_tokens=-1)), "usage Usage(input_tokens=-1"),
        (Finished(text="done", usage=Usage(output_tokens=10**18)), "usage Usage("),
        (Finished(text="done", usage=Usage(cached_tokens=10**30)), "usage Usage("),
        (Finished(text="done", usage=Usage(cost_usd=1e18)), "usage Usage("),
        (Finished(text="done", usage=Usage(cost_usd=float("-inf"))), ""),
        (Finished(text="done", usage=Usage(cost_usd=float("nan"))), ""),
        (Finished(text="done", usage=Usage(input_tokens="many")), "usage Usage("),  # type: ignore[arg-type]
        (Finished(text="done", session_id="x" * 50_000_000), "session_id 'xxx"),
        (Finished(text="done", session_id="two\nlines"), "session_id 'two"),
    ],
)
async def test_what_cannot_be_true_of_an_answer_is_left_out_and_named(
    town_dir, scripted_backend, scripted_answers, answer, left_out
) -> None:
    scripted_backend.script = scripted_answers(answer)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert (task.state, task.result) == ("completed", "done")
        await agent.wait_for_idle()
        assert (await agent.info()).session_id is None
        reported = town_dir.recorded("plugin_reported", plugin="scripted")
        assert bool(reported) == bool(left_out)
        assert all(left_out in event["text"] for event in reported)


async def test_a_report_takes_whatever_a_session_says(town_dir, scripted_backend) -> None:
    async def script(work: Any, report: Any) -> Finished:
        report.line(5)
        report.usage("many")
        report.usage(Usage(input_tokens=-5))
        return Finished(text="done")

    scripted_backend.script = script
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        assert (await town.wait_for_task((await agent.assign("do it")).id)).state == "completed"
