"""Rounds of an agent that speaks the protocol: a scripted one, under a real process supervisor."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from tinytown.config import Config
from tinytown.contracts import (
    Diff,
    Failed,
    Finished,
    Lost,
    Outcome,
    Plan,
    PlanEntry,
    Said,
    ToolCall,
    Unauthorized,
    Unavailable,
    Usage,
)
from tinytown.errors import ConfigError
from tinytown.model.agents import Agent
from tinytown.plugin import load_plugins
from tinytown_adapters import CliBackend
from tinytown_testing import ReportRecorder, Sandbox, check_agent_backend, open_sandbox
from tinytown_testing.fake_acp import AGENT, acp_scenarios, install_fake_agent

DEADLINE_S = 60.0
PROMISES_S = 200.0


@dataclass
class Desk:
    """An agent of the kind `fake`, and what its rounds report."""

    sandbox: Sandbox
    agent: Agent
    report: ReportRecorder = field(default_factory=ReportRecorder)
    environment: dict[str, str] = field(default_factory=dict[str, str])
    timeout_s: float | None = 30.0

    @property
    def state(self) -> Path:
        return self.sandbox.base / "fake-state"

    async def run(
        self, *steps: dict[str, Any], agent: Agent | None = None, meta: dict[str, Any] | None = None, **settings: Any
    ) -> Outcome:
        agent = agent or self.agent
        table = {"command": [sys.executable, str(AGENT), str(self.state)], "permissions": "full", **settings}
        config = Config(name="desk", plugins={"acp": {"agents": {"fake": table}}})
        backend = load_plugins(config, self.sandbox.root).backends["fake"]
        with trio.fail_after(DEADLINE_S):
            async with backend.open(self.sandbox.context(agent)) as session:
                script = f"<fake>{json.dumps(steps)}</fake>"
                work = self.sandbox.round(agent, script, environment=self.environment, timeout_s=self.timeout_s)
                task = msgspec.structs.replace(work.task or self.sandbox.task("it"), meta=meta or {})
                return await session.run_round(replace(work, task=task), self.report)


@pytest.fixture
def desk(sandbox: Sandbox) -> Desk:
    return Desk(sandbox, sandbox.agent("ada", cli="fake"))


async def test_it_keeps_the_promises_of_a_backend() -> None:
    table = {"command": ["fake-agent"], "permissions": "full"}
    config = Config(name="desk", plugins={"acp": {"agents": {"fake": table}}})
    with trio.fail_after(PROMISES_S):
        async with open_sandbox() as sandbox:
            install_fake_agent(sandbox, "fake-agent")
            report = await check_agent_backend(
                lambda: load_plugins(config, sandbox.root).backends["fake"], scenarios=acp_scenarios(), sandbox=sandbox
            )
    report.raise_if_broken()
    assert report.not_applicable == ()


async def test_a_turn_ends_with_its_answer_and_its_session(desk: Desk) -> None:
    used = {"inputTokens": 100, "outputTokens": 7, "cachedReadTokens": 50}
    outcome = await desk.run({"say": "all "}, {"say": "done"}, {"usage": used})
    assert isinstance(outcome, Finished)
    assert outcome.text == "all done"
    assert outcome.session_id
    assert outcome.usage == Usage(input_tokens=150, output_tokens=7, cached_tokens=50)
    assert desk.report.problems == []


async def test_the_next_round_loads_the_session_and_does_not_repeat_what_was_said(desk: Desk) -> None:
    first = await desk.run({"say": "one"})
    second = await desk.run({"recall": True})
    assert isinstance(first, Finished)
    assert isinstance(second, Finished)
    assert (second.session_id, second.text) == (first.session_id, "2")
    assert "what was said before" not in desk.report.lines


async def test_a_session_that_is_gone_is_begun_anew_in_the_same_round(desk: Desk) -> None:
    first = await desk.run({"say": "one"})
    assert isinstance(first, Finished)
    (desk.state / str(first.session_id)).unlink()
    second = await desk.run({"say": "two"})
    assert isinstance(second, Finished)
    assert second.session_id != first.session_id
    assert second.text == "two"


async def test_an_agent_that_stays_after_its_turn_is_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinytown_adapters.run_clock.LINGER_S", 0.3)
    desk.timeout_s = None
    outcome = await desk.run({"linger": 1000}, {"say": "done"})
    assert isinstance(outcome, Finished)
    assert outcome.text == "done"


@pytest.mark.parametrize("forks", ["yes", "no"])
async def test_a_session_is_forked_by_an_agent_that_offers_it(desk: Desk, forks: str) -> None:
    desk.environment["FAKE_FORKS"] = forks
    first = await desk.run({"say": "one"})
    assert isinstance(first, Finished)
    ben = desk.sandbox.agent("ben", cli="fake")
    meta = {"fork": {"agent": "ada", "session_id": first.session_id}}
    forked = await desk.run({"recall": True}, agent=ben, meta=meta)
    assert "what was said before" not in desk.report.lines
    if forks == "no":
        assert isinstance(forked, Failed)
        assert not forked.retryable
        assert "does not offer session/fork" in forked.reason
    else:
        assert isinstance(forked, Finished)
        assert forked.text == "2"
        assert forked.session_id != first.session_id


@pytest.mark.parametrize("known", [True, False])
async def test_a_session_of_another_directory_is_not_forked(desk: Desk, known: bool) -> None:
    first = await desk.run({"say": "one"})
    assert isinstance(first, Finished)
    record = desk.sandbox.context(desk.agent).state_directory / "acp.agents.fake" / "session.json"
    content = record.read_text() if known else ""
    record.write_text(content.replace(str(desk.sandbox.work), "/another/place"))
    ben = desk.sandbox.agent("ben", cli="fake")
    meta = {"fork": {"agent": "ada", "session_id": first.session_id}}
    forked = await desk.run({"recall": True}, agent=ben, meta=meta)
    assert isinstance(forked, Failed)
    assert not forked.retryable
    assert ("was made in /another/place" if known else "a directory that is not known any more") in forked.reason


async def test_what_the_model_does_is_shown(desk: Desk) -> None:
    outcome = await desk.run(
        {"think": "hm"}, {"plan": ["look", "write"]}, {"tool": "make test"}, {"fail_tool": "make it"}, {"say": "ok"}
    )
    assert isinstance(outcome, Finished), outcome
    assert "make test" in desk.report.lines
    assert "failed: make it" in desk.report.lines
    assert Said(text="hm", thought=True) in desk.report.activities
    assert Plan(entries=(PlanEntry(text="look"), PlanEntry(text="write"))) in desk.report.activities
    called = [each for each in desk.report.activities if isinstance(each, ToolCall) and each.id == "make test"]
    assert [each.status for each in called] == ["pending", "completed"]


async def test_a_change_of_a_file_is_shown_as_a_unified_diff(desk: Desk) -> None:
    await desk.run({"diff": ["a.txt", "one\ntwo\n", "one\nthree\n"]}, {"say": "ok"})
    (diff,) = [each for each in desk.report.activities if isinstance(each, Diff)]
    assert diff == Diff(path="a.txt", diff="--- a/a.txt\n+++ b/a.txt\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n")


async def test_a_large_change_is_shown_as_its_new_text(desk: Desk) -> None:
    await desk.run({"diff": ["a.txt", "x\n" * 15_000, "y\n" * 15_000]}, {"say": "ok"})
    (diff,) = [each for each in desk.report.activities if isinstance(each, Diff)]
    assert diff.diff == "y\n" * 15_000


async def test_usage_that_is_reported_answer_by_answer_is_summed(desk: Desk) -> None:
    used = {"inputTokens": 100, "outputTokens": 7, "cachedReadTokens": 60}
    outcome = await desk.run({"used": used}, {"say": "ok"}, {"used": used})
    assert isinstance(outcome, Finished)
    assert outcome.usage == Usage(input_tokens=200, output_tokens=14, cached_tokens=120)


async def test_what_it_may_do_is_allowed_unless_somebody_is_to_be_asked(desk: Desk) -> None:
    outcome = await desk.run({"ask": "rm -rf build"})
    assert isinstance(outcome, Finished)
    assert outcome.text == "o-allow_once"
    desk.report.answers = ["deny", "allow"]
    assert isinstance(denied := await desk.run({"ask": "rm -rf build"}, ask=True), Finished)
    assert isinstance(allowed := await desk.run({"ask": "rm -rf build"}, ask=True), Finished)
    assert isinstance(unheard := await desk.run({"ask": "rm -rf build"}, ask=True), Finished)
    assert [denied.text, allowed.text, unheard.text] == ["o-reject_once", "o-allow_once", "o-reject_once"]
    assert {options for _, options in desk.report.questions} == {("allow", "deny")}
    assert "not permitted: rm -rf build" in " ".join(desk.report.lines)


async def test_what_the_town_does_not_offer_is_an_error_for_the_agent(desk: Desk) -> None:
    outcome = await desk.run({"call": "fs/read_text_file"})
    assert isinstance(outcome, Finished)
    assert outcome.text == "fs/read_text_file is not offered"


async def test_modes_models_and_options_are_set_before_the_prompt(desk: Desk) -> None:
    await desk.run({"say": "ok"}, mode="plan", model="big", options={"effort": "high"})
    said = {
        name: json.loads((desk.state / f"session.set_{name}").read_text())
        for name in ("mode", "model", "config_option")
    }
    assert (said["mode"]["modeId"], said["model"]["modelId"]) == ("plan", "big")
    assert (said["config_option"]["configId"], said["config_option"]["value"]) == ("effort", "high")


async def test_a_known_agent_works_in_the_mode_that_lets_it(sandbox: Sandbox) -> None:
    install_fake_agent(sandbox, "codex-acp")
    for table, mode in (({}, "full-access"), ({"mode": "auto"}, "auto")):
        config = Config(name="desk", plugins={"acp": {"agents": {"acp-codex": {"permissions": "full", **table}}}})
        agent = sandbox.agent("ada", cli="acp-codex")
        with trio.fail_after(DEADLINE_S):
            async with load_plugins(config, sandbox.root).backends["acp-codex"].open(sandbox.context(agent)) as session:
                await session.run_round(sandbox.round(agent, "word", timeout_s=30.0), ReportRecorder())
        assert json.loads((sandbox.work / ".codex-acp" / "session.set_mode").read_text())["modeId"] == mode


REGISTRY = {
    "version": "1.0.0",
    "agents": [
        {"id": "kit", "name": "Kit", "distribution": {"npx": {"package": "@kit/agent@1.2", "args": ["--acp"]}}},
        {"id": "pie", "name": "Pie", "distribution": {"uvx": {"package": "pie-agent", "env": {"PIE": "1"}}}},
        {
            "id": "bin",
            "name": "Bin",
            "distribution": {"binary": {"linux-x86_64": {"cmd": "./bin-agent", "args": ["acp"]}}},
        },
        {"id": "odd", "name": "Odd", "distribution": {}},
        {"id": "codex", "name": "Codex", "distribution": {"npx": {"package": "other"}}},
    ],
}


async def test_the_agents_of_a_registry_file_are_kinds(sandbox: Sandbox) -> None:
    (sandbox.root / "registry.json").write_text(json.dumps(REGISTRY))
    backends = load_plugins(Config(name="desk", plugins={"acp": {"registry": "registry.json"}}), sandbox.root).backends
    commands = {kind: backend.command for kind, backend in backends.items() if isinstance(backend, CliBackend)}
    assert commands["acp-kit"] == ("npx", "--yes", "@kit/agent@1.2", "--acp")
    assert commands["acp-pie"] == ("uvx", "pie-agent")
    assert commands["acp-bin"] == ("bin-agent", "acp")
    assert commands["acp-codex"] == ("codex-acp",), "what is known here comes first"
    assert "acp-odd" not in commands


async def test_a_file_that_is_no_registry_is_an_error_with_its_key(sandbox: Sandbox) -> None:
    config = Config(name="desk", plugins={"acp": {"registry": "registry.json"}})
    with pytest.raises(ConfigError, match="cannot read"):
        load_plugins(config, sandbox.root)
    (sandbox.root / "registry.json").write_text("[]")
    with pytest.raises(ConfigError) as caught:
        load_plugins(config, sandbox.root)
    assert caught.value.fields["key"] == "plugins.acp.registry"


async def test_the_towns_tools_are_handed_over(desk: Desk) -> None:
    await desk.run({"say": "ok"})
    (server,) = json.loads((desk.state / "servers").read_text())
    assert server["name"] == "town"
    assert server["command"] == sys.executable
    await desk.run({"say": "ok"}, town_tools=False, resume=False)
    assert json.loads((desk.state / "servers").read_text()) == []


@pytest.mark.parametrize(
    ("steps", "kind", "reason"),
    [
        ([{"say": "no"}, {"stop": "refusal"}], Failed, "refused"),
        ([{"stop": "max_turn_requests"}], Failed, "limit of requests"),
        ([{"say": "hm"}, {"exit": 3}], Failed, "status 3"),
        ([], Failed, "without an answer"),
    ],
)
async def test_what_went_wrong_is_told_apart(
    desk: Desk, steps: list[dict[str, Any]], kind: type[Outcome], reason: str
) -> None:
    outcome = await desk.run(*steps)
    assert isinstance(outcome, kind), outcome
    assert reason in getattr(outcome, "reason", "")


async def test_without_a_login_a_person_is_told(desk: Desk) -> None:
    desk.environment["FAKE_LOGIN"] = "no"
    outcome = await desk.run({"say": "ok"})
    assert isinstance(outcome, Unauthorized)
    assert outcome.hint


async def test_another_version_of_the_protocol_is_named(desk: Desk) -> None:
    desk.environment["FAKE_VERSION"] = "2"
    outcome = await desk.run({"say": "ok"})
    assert isinstance(outcome, Failed)
    assert "version 2" in outcome.reason


async def test_a_program_that_is_not_there_is_unavailable(desk: Desk) -> None:
    outcome = await desk.run({"say": "ok"}, command=["no-such-agent"])
    assert isinstance(outcome, Unavailable)


async def test_lines_that_are_no_messages_are_shown_and_harm_nothing(desk: Desk) -> None:
    noise = [
        "hello",
        "{",
        "[1]",
        '{"jsonrpc": "2.0", "id": 99, "result": {}}',
        '{"method": "session/update"}',
        '{"id": 1}',
    ]
    outcome = await desk.run(*({"noise": line} for line in noise), {"say": "ok"})
    assert isinstance(outcome, Finished)
    assert outcome.text == "ok"
    assert "hello" in desk.report.lines


async def test_its_time_limit_ends_it_with_all_its_processes(desk: Desk) -> None:
    outcome = await desk.run({"say": "hm"}, {"sleep": 600}, timeout_s=2.0)
    assert isinstance(outcome, Failed | Lost)
    assert "2 s" in outcome.reason


async def test_cancelled_nothing_is_left(desk: Desk) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def end_once(begun: Callable[[], bool]) -> None:
                while not begun():  # noqa: ASYNC110 - a process of somebody else's rings no bell
                    await trio.sleep(0.02)
                scope.cancel()

            nursery.start_soon(end_once, lambda: (desk.state / "servers").exists())
            await desk.run({"sleep": 600})
    assert scope.cancelled_caught


async def test_a_kind_without_a_command_is_an_error_with_its_key(sandbox: Sandbox) -> None:
    config = Config(name="desk", plugins={"acp": {"agents": {"mine": {}}}})
    with pytest.raises(ConfigError, match=r"plugins\.acp\.agents\.mine\.command"):
        load_plugins(config, sandbox.root)
