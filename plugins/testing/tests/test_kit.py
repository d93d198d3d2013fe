"""The kit itself: its reports, its sandbox, and checks of code that hangs or shields itself from cancellation."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import trio
from tinytown import contracts
from tinytown.config import Config
from tinytown.contracts import AgentBackend, Verdict, WorkContext
from tinytown.errors import ConfigError, NotFound, PluginFaulty, UsageError
from tinytown_testing import (
    PROMISES,
    BackendScenarios,
    BrokenPromise,
    Scenario,
    check_agent_backend,
    check_gate,
    check_plugin,
    open_sandbox,
    promises,
    run_check,
    trial,
)

DEADLINE_S = 60.0


class Gate(contracts.Gate):
    """Passes everything."""

    name = "gate"

    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        await trio.lowlevel.checkpoint()
        return Verdict(passed=True)


class RaisingGate(Gate):
    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        raise RuntimeError("oops")


def test_a_check_runs_without_an_async_test() -> None:
    report = run_check(check_gate, Gate, only={"G1", "G2"})
    assert report.subject == "gate gate"
    assert [result.promise.id for result in report.passed] == ["G1", "G2"]
    report.raise_if_broken()


def test_a_broken_promise_is_named_with_its_sentence_and_what_was_seen() -> None:
    report = run_check(check_gate, RaisingGate, only={"G2"})
    with pytest.raises(BrokenPromise) as caught:
        report.raise_if_broken()
    text = str(caught.value)
    assert text.startswith("gate gate\nG2 broken: It returns a verdict on any work")
    assert "raised RuntimeError: oops (at test_kit.py:" in text
    assert isinstance(caught.value, AssertionError)


def test_a_promise_that_requires_a_broken_one_is_skipped() -> None:
    report = run_check(check_gate, RaisingGate)
    assert [result.promise.id for result in report.broken] == ["G2"]
    assert "requires G2, which is broken" in {result.detail for result in report.not_applicable}


def test_a_promise_that_cannot_be_checked_is_never_reported_as_ok() -> None:
    report = run_check(check_gate, Gate)
    assert {result.promise.id: result.detail for result in report.not_applicable} == {
        "G4": "no scenario 'passing' was given",
        "G5": "no scenario 'refused' was given",
        "G6": "refused nothing, and no scenario 'refused' was given",
    }
    assert "G4 not applicable: Good work passes." in str(report)


def test_an_unknown_promise_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"a gate has no promise G99, X1; the promises are G1, G2"):
        run_check(check_gate, Gate, only={"X1", "G99"})


def test_a_promise_has_one_number_and_one_sentence() -> None:
    for promises_ in PROMISES.values():
        letter, count = promises_[0].id[0], len(promises_)
        assert len({promise.sentence for promise in promises_}) == count
        assert [promise.id for promise in promises_] == [f"{letter}{number}" for number in range(1, count + 1)]
    assert len({promises_[0].id[0] for promises_ in PROMISES.values()}) == len(PROMISES)


async def test_a_check_that_hangs_is_ended_and_its_promise_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promises, "PROMISE_TIMEOUT_S", 0.2)

    class Hangs(Gate):
        async def check(self, work: WorkContext, directory: Path) -> Verdict:
            await trio.sleep_forever()
            raise AssertionError

    with trio.fail_after(DEADLINE_S):
        report = await check_gate(Hangs, only={"G2"})
    assert [result.detail for result in report.broken] == ["timed out after 0 s"]


async def test_code_that_shields_itself_from_cancellation_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promises, "PROMISE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(promises, "_STUCK_S", 0.1)

    class Hides(Gate):
        async def check(self, work: WorkContext, directory: Path) -> Verdict:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
            raise AssertionError

    with trio.CancelScope(shield=True) as ours, trio.fail_after(DEADLINE_S):
        report = await check_gate(Hides, only={"G2"})
        assert ours.shield, "only what came later may lose its shield"
    assert [result.promise.id for result in report.broken] == ["G2"]


async def test_a_system_exit_breaks_the_promise_and_not_the_kit() -> None:
    class Exits(Gate):
        async def check(self, work: WorkContext, directory: Path) -> Verdict:
            raise SystemExit(3)

    with trio.fail_after(DEADLINE_S):
        report = await check_gate(Exits, only={"G2"})
    assert "SystemExit: 3" in report.broken[0].detail


def test_time_in_which_others_use_the_processor_is_no_fault_of_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    waited_s = 1_000.0
    monkeypatch.setattr(trial, "_waited_ns", lambda: int(waited_s * 1e9))
    began = trial.own_time_s()
    waited_s += 500.0
    assert trial.own_time_s() - began < -400.0


# -- the sandbox ---------------------------------------------------------------------------------------------


async def test_a_sandbox_is_a_town_of_its_own_and_leaves_nothing_behind() -> None:
    before = {name: os.environ.get(name) for name in ("HOME", "TMPDIR")}
    with trio.fail_after(DEADLINE_S):
        async with open_sandbox(toml='[plugins.x]\nkey = "value"\n') as sandbox:
            assert isinstance(sandbox.config, Config)
            assert sandbox.config.plugins == {"x": {"key": "value"}}
            assert Path.home() == sandbox.home
            assert Path(tempfile.gettempdir()) == sandbox.temporary
            assert not any(name.startswith(("TINYTOWN_", "REDIS_")) for name in os.environ)
            context = sandbox.context(sandbox.agent())
            assert context.state_directory.is_dir()
            work = sandbox.round(context.agent, "do it")
            assert work.task is not None
            assert work.environment["TINYTOWN_TASK_ID"] == work.task.id
            lines: list[str] = []
            ended = await sandbox.processes.run(
                ["sh", "-c", "echo $HOME"],
                cwd=work.directory,
                env=work.environment,
                on_line=lambda line: lines.append(line.text),
            )
            assert (ended.status, lines) == (0, [str(sandbox.home)])
    assert not sandbox.base.exists()
    assert {name: os.environ.get(name) for name in before} == before


async def test_a_sandbox_opens_a_real_town() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_sandbox() as sandbox, sandbox.open_town() as town:
            task = await town.add_task("do it")
            assert (await town.task(task.id)).description == "do it"
    assert not sandbox.base.exists()


async def test_invalid_settings_are_an_error() -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        async with open_sandbox(toml="colour = 'red'\n"):
            raise AssertionError
    with pytest.raises(ConfigError, match="not valid TOML"):
        async with open_sandbox(toml="]]"):
            raise AssertionError


async def test_one_sandbox_serves_several_checks() -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_sandbox() as sandbox:
            for _ in range(2):
                report = await check_gate(Gate, sandbox=sandbox)
                report.raise_if_broken()


# -- installed plugins -------------------------------------------------------------------------------------


async def test_all_contributions_of_an_installed_plugin_are_checked() -> None:
    with trio.fail_after(DEADLINE_S):
        reports = [*await check_plugin("journal"), *await check_plugin("testing")]
    for report in reports:
        report.raise_if_broken()
    assert [report.subject for report in reports] == [
        "plugin journal",
        "sink journal",
        "plugin testing",
        "command plugin",
    ]


async def test_a_plugin_that_is_not_installed_is_not_found() -> None:
    with pytest.raises(NotFound, match=r"no plugin 'absent' is installed; installed are: .*echo"):
        await check_plugin("absent")
    with pytest.raises(NotFound):
        await check_plugin("absent", toml="[plugins.absent]\n")


async def test_a_plugin_that_a_town_cannot_use_is_refused_with_the_reason() -> None:
    with pytest.raises(PluginFaulty, match=r"the plugin 'echo' is blocked: "):
        await check_plugin("echo", toml='blocked_plugins = ["echo"]\n')
    with pytest.raises(PluginFaulty, match=r"the plugin 'echo' is refused: .*unknown key at plugins\.echo\.colour"):
        await check_plugin("echo", toml="[plugins.echo]\ncolour = 1\n")


async def test_a_text_in_place_of_a_scenario_is_the_reason_in_the_report() -> None:
    class Backend(AgentBackend):
        kind = "none"

        def open(self, context: object) -> object:
            raise AssertionError("no scenario opens it")

    scenarios = BackendScenarios(work="it never works", rate_limit=Scenario())
    report = await check_agent_backend(Backend, scenarios=scenarios, only={"B11"})  # type: ignore[arg-type]
    assert [result.detail for result in report.not_applicable] == ["it never works"]
