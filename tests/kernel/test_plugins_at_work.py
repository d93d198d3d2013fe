"""Workspaces, gates, services, prompt sections and routing, as a running kernel uses them, and strangers among them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.contracts import Disposition, Failed, Finished, Gate, Service, Verdict, WorkContext, Workspace
from tinytown.errors import Refused
from tinytown.kernel import workspaces
from tinytown.model.tasks import Task
from tinytown_cli import administration
from trio_util import AsyncValue

# -- workspaces ------------------------------------------------------------------------------------------


class Shed(Workspace):
    """A workspace that keeps a diary and fails where it has to."""

    def __init__(self, name: str, directory: Path, claims: bool = True, fail_at: str = "") -> None:
        self.name = name
        self.directory = directory
        self.fail_at = fail_at
        self.diary: list[str] = []
        self._claims = claims

    def claims(self, agent: Any, task: Any) -> bool:
        if self.fail_at == "claims":
            raise RuntimeError("no idea")
        return self._claims

    @asynccontextmanager
    async def open(self, work: Any, purpose: Any) -> AsyncGenerator[Path]:
        if self.fail_at == "open":
            raise RuntimeError("no room")
        self.diary.append(f"opened for {work.agent.name}")
        async with trio.open_nursery():
            yield self.directory
        self.diary.append("closed")
        if self.fail_at == "close":
            raise RuntimeError("cannot merge")


async def test_the_first_workspace_that_claims_a_round_gives_its_directory(
    town_dir, scripted_backend, tmp_path
) -> None:
    declines, serves, spare = (
        Shed("a", tmp_path / "a", claims=False),
        Shed("b", tmp_path / "b"),
        Shed("c", tmp_path / "c"),
    )
    scripted_backend.workspaces = [declines, serves, spare]
    town_dir.configure('blocked_plugins = ["results"]\n')  # a gate opens the workspace once more
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await town.wait_for_task((await agent.assign("do it")).id)
        await agent.wait_for_idle()
        assert [round.directory for round in scripted_backend.rounds] == [tmp_path / "b"]
        assert (declines.diary, serves.diary, spare.diary) == ([], ["opened for ada", "closed"], [])


async def test_without_a_workspace_the_round_is_at_the_towns_root(town_dir, scripted_backend) -> None:
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await town.wait_for_task((await agent.assign("do it")).id)
        assert scripted_backend.rounds[0].directory == town_dir.root


@pytest.mark.parametrize(("stage", "what"), [("claims", "no idea"), ("open", "no room"), ("close", "cannot merge")])
async def test_a_workspace_that_raises_costs_an_attempt_and_its_plugin_is_named(
    town_dir, scripted_backend, tmp_path, stage, what
) -> None:
    shed = Shed("shed", tmp_path, fail_at=stage)
    scripted_backend.workspaces = [shed]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        failed = await town.wait_until(lambda: town.task(task.id), lambda now: what in (now.reason or ""))
        assert "workspace shed failed" in failed.reason
        shed.fail_at = ""
        assert (await town.wait_for_task(task.id)).state == "completed"
        await town_dir.wait_for_events(town, 1, "plugin_reported", plugin="scripted")


async def test_the_environment_of_a_round_has_what_plugins_add(town_dir, scripted_backend) -> None:
    scripted_backend.environment = lambda agent, task: {"VENV": f"of {agent.name}", "PATH": "/mine"}
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await town.wait_for_task((await agent.assign("do it")).id)
        environment = scripted_backend.rounds[0].environment
        assert (environment["VENV"], environment["PATH"], environment["TINYTOWN_AGENT_NAME"]) == (
            "of ada",
            "/mine",
            "ada",
        )


class Settling(Shed):
    """A workspace that notes what it settles, after it has failed as often as it has to."""

    def __init__(self, directory: Path, failures: int = 0, error: Exception | None = None) -> None:
        super().__init__("settling", directory)
        self.failures = failures
        self.error = error or RuntimeError("cannot merge")
        self.settled: list[tuple[WorkContext, str, Path | None]] = []
        self.count: AsyncValue[int] = AsyncValue(0)

    async def settle(self, work: WorkContext, disposition: Disposition, directory: Path | None) -> None:
        if self.failures:
            self.failures -= 1
            raise self.error
        self.settled.append((work, disposition, directory))
        self.count.value = len(self.settled)


async def test_a_finished_task_is_settled_once_with_its_directory_and_its_disposition(
    town_dir, scripted_backend, scripted_answers, tmp_path
) -> None:
    settling = Settling(tmp_path)
    scripted_backend.workspaces = [settling]
    scripted_backend.script = scripted_answers(Finished(), Failed(reason="cannot", retryable=False))
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        done, failed = [await town.wait_for_task((await agent.assign(text)).id) for text in ("do it", "and this")]
        await settling.count.wait_value(lambda count: count == 2)
        untouched = await town.add_task("for nobody")
        await town.cancel_task(untouched.id)
        assert [(work.task.id, how, where) for work, how, where in settling.settled] == [
            (done.id, "completed", tmp_path),
            (failed.id, "failed", tmp_path),
        ]
        work = settling.settled[0][0]
        assert (work.agent.name, work.root, work.round_id) == ("ada", town_dir.root, done.round_id)
        assert work.environment["TINYTOWN_TASK_ID"] == done.id
        assert "TINYTOWN_TASK_TOKEN" not in work.environment
    async with town_dir.open() as town:
        await town.wait_for_task((await (await town.agent("ada")).assign("a third one")).id)
        await settling.count.wait_value(lambda count: count == 3)
    assert not [*(town_dir.state / "opened").iterdir()]


async def test_a_task_that_is_cancelled_while_its_round_runs_is_settled_after_the_round(
    town_dir, scripted_backend, tmp_path
) -> None:
    settling, begun = Settling(tmp_path), trio.Event()
    scripted_backend.workspaces = [settling]

    async def script(work: Any, report: Any) -> Any:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            settling.diary.append("ended")

    scripted_backend.script = script
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        await begun.wait()
        await town.cancel_task(task.id)
        await settling.count.wait_value(lambda count: count == 1)
        assert settling.diary == ["opened for ada", "ended"]
        assert settling.settled[0][1:] == ("cancelled", tmp_path)


async def test_what_a_kernel_could_not_settle_the_next_one_does(town_dir, scripted_backend, tmp_path) -> None:
    settling = Settling(tmp_path, failures=1)
    scripted_backend.workspaces = [settling]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        (event,) = await town_dir.wait_for_events(town, 1, "plugin_reported", plugin="scripted")
        assert event["text"] == "workspace settling failed: RuntimeError('cannot merge'); retried in 60 s"
    async with town_dir.open():
        await settling.count.wait_value(lambda count: count == 1)
        work, disposition, directory = settling.settled[0]
        assert (work.task.id, disposition, directory) == (task.id, "completed", tmp_path)


async def test_a_workspace_that_cannot_settle_a_task_now_is_not_at_fault(
    town_dir, scripted_backend, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(workspaces, "_RETRY_S", 0.1)
    settling = Settling(tmp_path, failures=2, error=Refused("the worktree is in use"))
    scripted_backend.workspaces = [settling]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await town.wait_for_task((await agent.assign("do it")).id)
        await settling.count.wait_value(lambda count: count == 1)
        assert settling.failures == 0
        events = await town.run(town.operations.latest_events(100))
        assert not [event for event in events if event.type == "plugin_reported"]


async def test_a_task_that_was_reopened_is_settled_again_and_a_deleted_one_as_cancelled(
    town_dir, scripted_backend, scripted_answers, tmp_path
) -> None:
    town_dir.configure(retry_delay_s=30.0)
    settling = Settling(tmp_path)
    scripted_backend.workspaces = [settling]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        await settling.count.wait_value(lambda count: count == 1)
        await town.run(administration.reopen_task(town.operations.keys, task.id))
        await settling.count.wait_value(lambda count: count == 2)
        scripted_backend.script = scripted_answers(Failed(reason="not yet"))
        deleted = await agent.assign("and this")
        await town.wait_until(lambda: town.task(deleted.id), lambda now: now.reason == "not yet")
        await town.run(administration.delete_task(town.operations.keys, deleted.id))
        await settling.count.wait_value(lambda count: count == 3)
        assert [(work.task.description, how) for work, how, _ in settling.settled] == [
            ("do it", "completed"),
            ("do it", "completed"),
            ("and this", "cancelled"),
        ]


# -- gates -----------------------------------------------------------------------------------------------


class Judge(Gate):
    """A gate that hands out verdicts one after the other, the last one for ever."""

    def __init__(self, *verdicts: Verdict | Exception | None, name: str = "judge") -> None:
        self.name = name
        self.left = list(verdicts)
        self.seen: list[tuple[str, Path]] = []

    async def check(self, work: Any, directory: Path) -> Verdict:
        self.seen.append((work.task.state, directory))
        verdict = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        if verdict is None:
            await trio.sleep_forever()
        if isinstance(verdict, Exception):
            raise verdict
        assert verdict is not None
        return verdict


async def test_a_task_is_completed_when_every_gate_lets_it_pass(town_dir, scripted_backend, tmp_path) -> None:
    first, second = Judge(Verdict(passed=True)), Judge(Verdict(passed=True), name="other")
    scripted_backend.gates = [first, second]
    scripted_backend.workspaces = [Shed("shed", tmp_path)]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert (task.state, task.result) == ("completed", "did do it")
        assert first.seen == second.seen == [("verifying", tmp_path)]
        assert (await agent.info()).tasks_completed == 1


class Choosy(Judge):
    """A gate that wants the tasks whose text says so."""

    def wants(self, task: Task) -> bool:
        if "broken" in task.description:
            raise RuntimeError("cannot tell")
        return "judge" in task.description


async def test_a_task_that_no_gate_wants_is_completed_at_once_and_its_workspace_is_not_opened_again(
    town_dir, scripted_backend, tmp_path
) -> None:
    gate, shed = Choosy(Verdict(passed=True)), Shed("shed", tmp_path)
    scripted_backend.gates, scripted_backend.workspaces = [gate], [shed]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert (task.state, len(shed.diary), gate.seen) == ("completed", 2, [])
        assert not town_dir.recorded("task_state_changed", new="verifying")
        task = await town.wait_for_task((await agent.assign("judge it")).id)
        assert (task.state, len(shed.diary), len(gate.seen)) == ("completed", 6, 1)


async def test_what_an_agent_submits_itself_is_judged_by_the_gates_that_want_it(town_dir, scripted_backend) -> None:
    async def script(work: Any, report: Any) -> Finished:
        task = work.task
        await town.run(town.operations.settle_task("submit", task.id, by=task.agent_id, token=task.token))
        return Finished()

    gate = Choosy(Verdict(passed=True))
    scripted_backend.gates, scripted_backend.script = [gate], script
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        assert (await town.wait_for_task((await agent.assign("do it")).id)).state == "completed"
        assert gate.seen == []


async def test_a_gate_that_cannot_say_what_it_wants_is_reported_and_judges(town_dir, scripted_backend) -> None:
    gate = Choosy(Verdict(passed=True))
    scripted_backend.gates = [gate]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        assert (await town.wait_for_task((await agent.assign("a broken one")).id)).state == "completed"
        assert len(gate.seen) == 1
        (event, *_) = await town_dir.wait_for_events(town, 1, "plugin_reported")
        assert "cannot tell" in event["text"]


async def test_a_refused_task_goes_back_to_its_agent_with_the_evidence(town_dir, scripted_backend) -> None:
    scripted_backend.gates = [Judge(Verdict(passed=False, evidence="2 tests failed"), Verdict(passed=True))]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert (task.state, task.attempts) == ("completed", 2)
        assert "gate judge: 2 tests failed" in scripted_backend.rounds[1].prompt


async def test_a_gate_that_raises_lets_nothing_pass(town_dir, scripted_backend) -> None:
    scripted_backend.gates = [Judge(RuntimeError("no pytest"), Verdict(passed=True))]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert task.attempts == 2
        assert "gate judge failed: RuntimeError('no pytest')" in scripted_backend.rounds[1].prompt
        await town_dir.wait_for_events(town, 1, "plugin_reported")


async def test_a_task_that_gates_refuse_time_after_time_fails_when_its_budget_is_spent(
    town_dir, scripted_backend
) -> None:
    town_dir.configure(max_attempts=2)
    scripted_backend.gates = [Judge(Verdict(passed=False, evidence="still red"))]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert (task.state, task.attempts, task.reason) == ("failed", 2, "gate judge: still red")
        await agent.wait_for_idle()


async def test_a_task_whose_kernel_stopped_while_a_gate_judged_is_judged_by_the_next(
    town_dir, scripted_backend, wait_for_task_state
) -> None:
    scripted_backend.gates = [Judge(None)]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        await wait_for_task_state(town, task, "verifying")
    scripted_backend.gates = [Judge(Verdict(passed=True))]
    async with town_dir.open() as town:
        assert (await town.wait_for_task(task.id)).state == "completed"
        assert len(scripted_backend.rounds) == 1


async def test_what_a_stopped_agent_has_submitted_is_judged_by_whichever_kernel_is_there(
    town_dir, scripted_backend, wait_for_task_state
) -> None:
    scripted_backend.gates = [Judge(None)]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        await wait_for_task_state(town, task, "verifying")
        await agent.kill()
    async with town_dir.connect() as town:
        ada = await town.run(town.operations.agent("ada"))
        assert (ada.desired_state, ada.state, (await town.task(task.id)).state) == ("stopped", "stopped", "verifying")
    scripted_backend.gates = [Judge(Verdict(passed=True))]
    async with town_dir.open() as town:
        assert (await town.wait_for_task(task.id)).state == "completed"
        agent = await town.agent("ada")
        await agent.wait_until(lambda now: now.state == "stopped" and now.host is None)
        assert len(scripted_backend.rounds) == 1


async def test_gates_that_judge_what_another_kernel_has_left_hold_up_no_kernels_end(
    town_dir, scripted_backend, wait_for_task_state
) -> None:
    scripted_backend.gates = [Judge(None)]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        tasks = [await agent.assign("do it"), await agent.assign("and this")]
        for task in tasks:
            await wait_for_task_state(town, task, "verifying")
            if task is tasks[0]:
                await agent.interrupt(now=True)
                town_dir.kernel.hurry()  # the gate is left to the next kernel
                await agent.resume()
    async with town_dir.open():
        gate = scripted_backend.gates[0]
        while len(gate.seen) < 3:  # noqa: ASYNC110 - a gate tells nobody
            await trio.sleep(0.01)
        began = trio.current_time()
    assert trio.current_time() - began < 3.0  # drained for 0.3 s, then cut off
    assert len(gate.seen) == 3


async def test_a_gate_that_takes_longer_than_the_outcomes_storing_is_waited_for(
    town_dir, scripted_backend, monkeypatch
) -> None:
    monkeypatch.setattr("tinytown.kernel.round_runner._SETTLE_FOR_S", 0.2)

    class Slow(Judge):
        async def check(self, work: Any, directory: Path) -> Verdict:
            await trio.sleep(0.5)
            return Verdict(passed=True)

    scripted_backend.gates = [Slow()]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        assert (await town.wait_for_task((await agent.assign("do it")).id)).state == "completed"


# -- services --------------------------------------------------------------------------------------------


class Clock(Service):
    name = "clock"

    def __init__(self, *ways: Exception | str) -> None:
        self.left = list(ways)
        self.runs: AsyncValue[int] = AsyncValue(0)
        self.began: list[float] = []
        self.cancelled = False

    async def run(self, town: Any) -> None:
        self.began.append(trio.current_time())
        self.runs.value += 1
        way = self.left.pop(0) if self.left else "stay"
        if isinstance(way, Exception):
            raise way
        if way == "stay":
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    await trio.sleep_forever()
            except BaseException:
                self.cancelled = True
                raise


async def test_a_service_runs_as_long_as_the_kernel(town_dir, scripted_backend) -> None:
    clock = Clock()
    scripted_backend.services = [clock]
    async with town_dir.open():
        await clock.runs.wait_value(1)
        assert not clock.cancelled
    assert clock.cancelled


async def test_a_service_that_raises_or_ends_is_started_again_later_and_later(
    town_dir, scripted_backend, monkeypatch
) -> None:
    monkeypatch.setattr("tinytown.kernel.kernel._FIRST_RETRY_S", 0.05)
    clock = Clock(OSError("no port"), ExceptionGroup("two", [ValueError("a"), ValueError("b")]), "end")
    scripted_backend.services = [clock]
    async with town_dir.open() as town:
        await clock.runs.wait_value(4)
        pauses = [after - before for before, after in pairwise(clock.began)]
        assert all(pause >= least for pause, least in zip(pauses, [0.1, 0.2, 0.4], strict=True))
        await town_dir.wait_for_events(town, 3, "plugin_reported")
        assert (
            "service clock failed: OSError('no port'); restarted in" in town_dir.recorded("plugin_reported")[0]["text"]
        )


async def test_a_service_that_breaks_while_the_kernel_stops_breaks_nothing_else(town_dir, scripted_backend) -> None:
    class Brittle(Clock):
        async def run(self, town: Any) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                self.runs.value += 1
                try:
                    await trio.sleep_forever()
                finally:
                    raise ValueError("while cancelled")

    clock = Brittle()
    scripted_backend.services = [clock]
    async with town_dir.open():
        await clock.runs.wait_value(1)


# -- prompt sections and routing -------------------------------------------------------------------------


async def test_what_plugins_add_to_a_prompt_is_in_it(town_dir, scripted_backend) -> None:
    scripted_backend.sections = lambda agent, task: [
        f"## House rules for {agent.name}\n\nTask {task.id if task else 'none'}."
    ]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert f"## House rules for ada\n\nTask {task.id}." in scripted_backend.rounds[0].prompt


async def test_what_a_plugin_keeps_in_the_town_reaches_its_part_of_the_prompt(town_dir, scripted_backend) -> None:
    async with town_dir.open() as town:
        await town.run(town.operations.set_plugin_field("scripted", "note", "## Mind the gap"))
        await town.run(town.operations.set_plugin_field("other", "note", "not for you"))
        agent = await town.spawn("ada")
        await town.wait_for_task((await agent.assign("do it")).id)
        assert "## Mind the gap" in scripted_backend.rounds[0].prompt
        assert "not for you" not in scripted_backend.rounds[0].prompt


async def test_a_plugin_whose_section_raises_costs_nothing_but_the_section_and_is_told_once(
    town_dir, scripted_backend
) -> None:
    def broken(agent: Any, task: Any) -> list[str]:
        raise KeyError("rules")

    scripted_backend.sections = broken
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        for _ in range(2):
            assert (await town.wait_for_task((await agent.assign("do it")).id)).state == "completed"
        (reported,) = await town_dir.wait_for_events(town, 1, "plugin_reported", plugin="scripted")
        assert "tinytown_prompt_sections: KeyError: 'rules'" in reported["text"]


async def test_the_prompt_tells_who_one_is_what_to_do_and_who_else_is_there(town_dir, scripted_backend) -> None:
    async with town_dir.open() as town:
        await town.spawn("bea", role="reviewer")
        agent = await town.spawn("ada", role="developer")
        need = await agent.assign("first")
        task = await agent.assign("Build the thing", title="The thing", needs=[need.id])
        await town.wait_for_task(task.id)
        prompt = scripted_backend.rounds[1].prompt
        for expected in (
            "# You are ada, developer, an agent of the town t",
            f"## Your task {task.id}",
            "Title: The thing",
            "Build the thing",
            f"{need.id}, completed by ada: first\n\n```text\ndid first\n```",
            "- bea (reviewer)",
            "tt task complete",
        ):
            assert expected in prompt
        assert "- ada" not in prompt


async def test_a_plugin_chooses_the_agent_for_a_task_of_the_backlog(town_dir, scripted_backend) -> None:
    asked: AsyncValue[list[list[str]]] = AsyncValue([])

    def choose(task: Any, agents: Sequence[Any]) -> str | None:
        asked.value = [*asked.value, [agent.name for agent in agents]]
        return "bea" if "ui" in task.tags else None

    scripted_backend.choose = choose
    async with town_dir.open() as town:
        for name in ("ada", "bea", "eve"):
            await town.spawn(name)
        await (await town.agent("eve")).interrupt()
        task = await town.add_task("paint it", tags=["ui"])
        ended = await town.wait_for_task(task.id)
        assert (ended.state, ended.assigned_to) == ("completed", "bea")
        assert asked.value == [["ada", "bea"]]
        assert (await town.add_task("think", tags=["philosophy"])).state == "pending"
        await asked.wait_value(lambda asked: len(asked) == 2)


async def test_what_lay_on_the_backlog_before_the_kernel_or_its_agent_came_is_routed_too(
    town_dir, scripted_backend
) -> None:
    scripted_backend.choose = lambda task, agents: "ada"
    async with town_dir.connect() as town:
        early = await town.add_task("early")
    async with town_dir.open() as town:
        assert (await town.task(early.id)).state == "pending"
        await town.spawn("ada")
        assert (await town.wait_for_task(early.id)).assigned_to == "ada"


async def test_a_chooser_that_raises_or_names_a_stranger_leaves_the_task_on_the_backlog(
    town_dir, scripted_backend
) -> None:
    answers: list[Any] = [ZeroDivisionError(), "nobody", "ada"]

    def choose(task: Any, agents: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with town_dir.open() as town:
        agent = await town.spawn("ada", tags=["other"])
        await agent.wait_for_idle()
        scripted_backend.choose = choose
        tasks = [await town.add_task(f"task {number}") for number in range(3)]
        await town.wait_until(trio.lowlevel.checkpoint, lambda _: not answers)
        await town.wait_until(town.agents, lambda agents: agents[0].tasks_completed == 1)
        states = [(await town.task(task.id)).state for task in tasks]
        assert sorted(states) == ["completed", "pending", "pending"]
        (reported,) = await town_dir.wait_for_events(town, 1, "plugin_reported", plugin="scripted")
        assert "tinytown_choose_agent: ZeroDivisionError" in reported["text"]


async def test_an_idle_agent_takes_up_backlog_tasks_that_bear_its_words_without_being_asked(
    town_dir, scripted_backend
) -> None:
    async with town_dir.open() as town:
        await town.spawn("ada", role="tester")
        await town.spawn("bea", tags=["docs"])
        await town.wait_for_idle()
        test, page, other = (
            await town.add_task("test it", role="tester"),
            await town.add_task("write it", tags=["docs", "later"]),
            await town.add_task("nobody's"),
        )
        assert (await town.wait_for_task(test.id)).assigned_to == "ada"
        assert (await town.wait_for_task(page.id)).assigned_to == "bea"
        assert (await town.task(other.id)).state == "pending"


async def test_with_auto_claim_off_nobody_helps_himself(town_dir, scripted_backend) -> None:
    town_dir.configure("auto_claim = false\n")
    async with town_dir.open() as town:
        agent = await town.spawn("ada", role="tester")
        task = await town.add_task("test it", role="tester")
        await agent.send("an order")
        await agent.wait_until(lambda agent: agent.rounds_completed == 1 and agent.state == "idle")
        assert (await town.task(task.id)).state == "pending"
