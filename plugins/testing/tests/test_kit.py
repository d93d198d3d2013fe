"""The kit itself: what a report says, what a bench is, and that neither hanging nor hiding code gets the better of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import trio
from tinytown.config import Config
from tinytown.contracts import AgentBackend, Verdict
from tinytown.errors import ConfigError, NotFound, PluginFaulty, UsageError
from tinytown.model.tasks import Task
from tinytown_testing import (
    PROMISES,
    BackendScenarios,
    BrokenPromise,
    Scenario,
    check_agent_backend,
    check_gate,
    check_plugin,
    open_bench,
    promises,
    run_check,
)

DEADLINE_S = 60.0


class Gate:
    """Passes everything."""

    name = "gate"

    async def check(self, task: Task, directory: Path) -> Verdict:
        await trio.lowlevel.checkpoint()
        return Verdict(passed=True)


class RaisingGate(Gate):
    async def check(self, task: Task, directory: Path) -> Verdict:
        raise RuntimeError("oops")


def test_a_check_runs_without_an_async_test() -> None:
    report = run_check(check_gate, Gate, only={"G1", "G2"})
    assert report.subject == "gate gate"
    assert [finding.promise.id for finding in report.passed] == ["G1", "G2"]
    report.raise_if_broken()


def test_a_broken_promise_is_named_with_its_sentence_and_what_was_seen() -> None:
    report = run_check(check_gate, RaisingGate, only={"G2"})
    with pytest.raises(BrokenPromise) as caught:
        report.raise_if_broken()
    text = str(caught.value)
    assert text.startswith("gate gate\nG2 broken: It gives a verdict on any work")
    assert "it raised RuntimeError: oops (at test_kit.py:" in text
    assert isinstance(caught.value, AssertionError)


def test_what_rests_on_a_broken_promise_is_not_tried() -> None:
    report = run_check(check_gate, RaisingGate)
    assert [finding.promise.id for finding in report.broken] == ["G2"]
    assert "it rests on G2, which is broken" in {finding.seen for finding in report.not_applicable}


def test_what_cannot_be_tried_is_never_reported_as_kept() -> None:
    report = run_check(check_gate, Gate)
    assert {finding.promise.id: finding.seen for finding in report.not_applicable} == {
        "G4": "no scenario 'passing' was given",
        "G5": "no scenario 'refused' was given",
        "G6": "it refused nothing, and no scenario 'refused' was given",
    }
    assert "G4 not applicable: Good work passes." in str(report)


def test_an_unknown_promise_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"no such promise of a gate: G99, X1; the promises are G1, G2"):
        run_check(check_gate, Gate, only={"X1", "G99"})


def test_a_promise_has_one_number_and_one_sentence() -> None:
    for book in PROMISES.values():
        assert len({promise.sentence for promise in book}) == len(book)
        assert [promise.id for promise in book] == [f"{book[0].id[0]}{number}" for number in range(1, len(book) + 1)]
    assert len({book[0].id[0] for book in PROMISES.values()}) == len(PROMISES)


async def test_a_check_that_hangs_is_ended_and_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promises, "PATIENCE_S", 0.2)

    class Hangs(Gate):
        async def check(self, task: Task, directory: Path) -> Verdict:
            await trio.sleep_forever()
            raise AssertionError

    with trio.fail_after(DEADLINE_S):
        report = await check_gate(Hangs, only={"G2"})
    assert [finding.seen for finding in report.broken] == ["this took more than 0 s"]


async def test_code_that_hides_from_cancellation_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promises, "PATIENCE_S", 0.2)
    monkeypatch.setattr(promises, "_STUCK_S", 0.1)

    class Hides(Gate):
        async def check(self, task: Task, directory: Path) -> Verdict:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
            raise AssertionError

    with trio.CancelScope(shield=True) as ours, trio.fail_after(DEADLINE_S):
        report = await check_gate(Hides, only={"G2"})
        assert ours.shield, "only what came later may lose its shield"
    assert [finding.promise.id for finding in report.broken] == ["G2"]


async def test_what_raises_system_exit_breaks_a_promise_and_not_the_kit() -> None:
    class Exits(Gate):
        async def check(self, task: Task, directory: Path) -> Verdict:
            raise SystemExit(3)

    with trio.fail_after(DEADLINE_S):
        report = await check_gate(Exits, only={"G2"})
    assert "SystemExit: 3" in report.broken[0].seen


# -- the bench ---------------------------------------------------------------------------------------------


async def test_a_bench_is_a_town_of_its_own_and_leaves_nothing() -> None:
    before = {name: os.environ.get(name) for name in ("HOME", "TMPDIR")}
    with trio.fail_after(DEADLINE_S):
        async with open_bench(toml='[plugins.x]\nkey = "value"\n') as bench:
            assert isinstance(bench.config, Config)
            assert bench.config.plugins == {"x": {"key": "value"}}
            assert Path.home() == bench.home
            assert Path(tempfile.gettempdir()) == bench.temporary
            assert not any(name.startswith(("TINYTOWN_", "REDIS_")) for name in os.environ)
            context = bench.context(bench.agent())
            assert context.state_directory.is_dir()
            work = bench.round(context.agent, "do it")
            assert work.task is not None
            assert work.environment["TINYTOWN_TASK_ID"] == work.task.id
            lines: list[str] = []
            ended = await bench.keeper.run(
                ["sh", "-c", "echo $HOME"],
                cwd=work.directory,
                env=work.environment,
                on_line=lambda line: lines.append(line.text),
            )
            assert (ended.status, lines) == (0, [str(bench.home)])
    assert not bench.base.exists()
    assert {name: os.environ.get(name) for name in before} == before


async def test_a_bench_has_a_real_town_when_it_is_asked_for_one() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_bench() as bench, bench.open_town() as town:
            task = await town.add_task("do it")
            assert (await town.task(task.id)).description == "do it"
    assert not bench.base.exists()


async def test_settings_that_no_town_could_have_are_an_error() -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        async with open_bench(toml="colour = 'red'\n"):
            raise AssertionError
    with pytest.raises(ConfigError, match="not valid TOML"):
        async with open_bench(toml="]]"):
            raise AssertionError


async def test_one_bench_serves_several_checks() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_bench() as bench:
            for _ in range(2):
                report = await check_gate(Gate, bench=bench)
                report.raise_if_broken()


# -- installed plugins -------------------------------------------------------------------------------------


async def test_everything_that_an_installed_plugin_offers_is_checked() -> None:
    with trio.fail_after(DEADLINE_S):
        reports = await check_plugin("beads")
    for report in reports:
        report.raise_if_broken()
    subjects = [report.subject for report in reports]
    assert subjects[:4] == ["plugin beads", "converter beads", "service groups", "service formula-gates"]
    assert "command beads" in subjects
    assert subjects[-1] == "prompt sections beads"


async def test_a_plugin_that_is_not_installed_is_not_found() -> None:
    with pytest.raises(NotFound, match=r"no plugin 'absent' is installed; installed are: .*echo"):
        await check_plugin("absent")
    with pytest.raises(NotFound):
        await check_plugin("absent", toml="[plugins.absent]\n")


async def test_a_plugin_that_a_town_cannot_use_says_why() -> None:
    with pytest.raises(PluginFaulty, match=r"the plugin 'echo' is blocked: "):
        await check_plugin("echo", toml='blocked_plugins = ["echo"]\n')
    with pytest.raises(PluginFaulty, match=r"the plugin 'echo' is refused: .*unknown key at plugins\.echo\.colour"):
        await check_plugin("echo", toml="[plugins.echo]\ncolour = 1\n")


async def test_a_scenario_may_say_why_there_is_none() -> None:
    class Backend(AgentBackend):
        kind = "none"

        def open(self, context: object) -> object:
            raise AssertionError("no scenario opens it")

    scenarios = BackendScenarios(work="it never works", rate_limit=Scenario())
    report = await check_agent_backend(Backend, scenarios=scenarios, only={"B11"})  # type: ignore[arg-type]
    assert [finding.seen for finding in report.not_applicable] == ["it never works"]
