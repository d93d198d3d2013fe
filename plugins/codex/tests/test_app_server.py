"""A round over Codex's app server, with one that plays what the real one was seen to do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
import trio
from tinytown.contracts import Failed, Finished, RateLimited, Usage
from tinytown.model.agents import Agent
from tinytown_adapters import CliSessionRecord
from tinytown_adapters.backend import CliBackend
from tinytown_adapters.session_store import store_session
from tinytown_codex.adapter import CodexAdapter, Settings
from tinytown_testing import ReportRecorder, Sandbox

FAKE = (sys.executable, str(Path(__file__).parent / "fake_app_server.py"))
DEADLINE_S = 60.0


class Answering(ReportRecorder):
    """A report whose questions are answered."""

    def __init__(self, answer: str | None) -> None:
        super().__init__()
        self.reply = answer
        self.questions: list[str] = []

    async def ask(self, question: str, options: Sequence[str] = (), *, timeout_s: float = 600.0) -> str | None:
        self.questions.append(question)
        return self.reply


async def play(
    sandbox: Sandbox, prompt: str, report: ReportRecorder | None = None, agent: Agent | None = None, **settings: Any
) -> Any:
    backend = CliBackend(CodexAdapter(), "codex", Settings(command=FAKE, permissions="full", **settings), sandbox.root)
    agent = agent or sandbox.agent(cli="codex")
    with trio.fail_after(DEADLINE_S):
        async with backend.open(sandbox.context(agent)) as session:
            return await session.run_round(sandbox.round(agent, prompt), report or ReportRecorder())


async def test_a_turn_ends_with_its_answer_its_thread_and_what_all_threads_consumed(sandbox: Sandbox) -> None:
    agent = sandbox.agent(cli="codex")
    first = await play(sandbox, "do it", agent=agent)
    assert first == Finished(text="word", session_id="thread-1", usage=Usage(input_tokens=130, output_tokens=2))
    again = await play(sandbox, "and that", agent=agent)  # resumed: its counts include the thread's former turns
    assert (again.session_id, again.usage.input_tokens) == ("thread-1", 1000 + 100 - 100 + 30)


async def test_a_resumed_thread_that_fails_at_once_is_not_charged_for_its_former_turns(sandbox: Sandbox) -> None:
    agent = sandbox.agent(cli="codex")
    await play(sandbox, "do it", agent=agent)
    report = ReportRecorder()
    outcome = await play(sandbox, "fail at once", report, agent)
    assert isinstance(outcome, RateLimited)
    assert report.used == []


def rollout(session_id: str, parent: str = "", used: int = 0) -> str:
    """A session's file as Codex writes it, in the middle of its next line."""
    meta = {"type": "session_meta", "payload": {"id": session_id, **({"forked_from_id": parent} if parent else {})}}
    total = {"input_tokens": used, "output_tokens": 1, "cached_input_tokens": 0}
    count = {"type": "event_msg", "payload": {"type": "token_count", "info": {"total_token_usage": total}}}
    records = [meta, *([count] if used else [])]
    return "".join(msgspec.json.encode(each).decode() + "\n" for each in records) + '{"type": "resp'


def rollout_path(home: Path, session_id: str) -> Path:
    path = home / "sessions" / "2026" / "01" / "02" / f"rollout-2026-01-02T03-04-05-{session_id}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize("state", ["agent", "user"])
async def test_a_thread_is_forked_with_all_that_it_builds_on_and_only_what_is_new_is_charged(
    sandbox: Sandbox, state: Literal["agent", "user"]
) -> None:
    ada, ben = sandbox.agent("ada", cli="codex"), sandbox.agent("ben", cli="codex")
    homes = {
        agent.name: sandbox.context(agent).state_directory / "codex" / "state"
        if state == "agent"
        else sandbox.home / ".codex"
        for agent in (ada, ben)
    }
    rollout_path(homes["ada"], "a-2").write_text(rollout("a-2", "a-1"))
    rollout_path(homes["ada"], "a-1").write_text(rollout("a-1", used=1000))
    settings = Settings(command=FAKE, permissions="full", state=state)
    backend = CliBackend(CodexAdapter(), "codex", settings, sandbox.root)
    work = sandbox.round(ben, "do it")
    task = msgspec.structs.replace(sandbox.task("do it"), meta={"fork": {"agent": "ada", "session_id": "a-2"}})
    with trio.fail_after(DEADLINE_S):
        async with backend.open(sandbox.context(ben)) as session:
            forked = await session.run_round(replace(work, task=task), ReportRecorder())
    # The thread's total is 1,100 with the turn, and that of its sub-agent 30.
    assert isinstance(forked, Finished)
    assert (forked.session_id, forked.usage and forked.usage.input_tokens) == ("thread-1", 100 + 30)
    written = rollout("a-2", "a-1")
    whole_lines = written[: written.rfind("\n") + 1]
    assert rollout_path(homes["ben"], "a-2").read_text() == (whole_lines if state == "agent" else written)
    assert rollout_path(homes["ben"], "a-1").exists()


async def test_a_session_of_its_own_that_a_fork_builds_on_is_left_as_it_is(sandbox: Sandbox) -> None:
    ada, ben = sandbox.agent("ada", cli="codex"), sandbox.agent("ben", cli="codex")
    theirs, own = (sandbox.context(agent).state_directory / "codex" / "state" for agent in (ada, ben))
    rollout_path(theirs, "a-2").write_text(rollout("a-2", "b-1"))
    rollout_path(theirs, "b-1").write_text(rollout("b-1"))
    longer = rollout("b-1", used=5) * 2
    rollout_path(own, "b-1").write_text(longer)
    task = msgspec.structs.replace(sandbox.task("do it"), meta={"fork": {"agent": "ada", "session_id": "a-2"}})
    settings = Settings(command=FAKE, permissions="full", state="agent")
    backend = CliBackend(CodexAdapter(), "codex", settings, sandbox.root)
    with trio.fail_after(DEADLINE_S):
        async with backend.open(sandbox.context(ben)) as session:
            await session.run_round(replace(sandbox.round(ben, "do it"), task=task), ReportRecorder())
    assert rollout_path(own, "b-1").read_text() == longer
    assert rollout_path(own, "a-2").exists()


async def test_a_thread_that_is_gone_is_begun_anew(sandbox: Sandbox) -> None:
    agent = sandbox.agent(cli="codex")
    place = sandbox.context(agent).state_directory / "codex"
    place.mkdir(parents=True)
    store_session(place, CliSessionRecord(id="gone", agent_id=agent.id, directory=str(sandbox.work)))
    backend = CliBackend(CodexAdapter(), "codex", Settings(command=FAKE, permissions="full"), sandbox.root)
    report = ReportRecorder()
    with trio.fail_after(DEADLINE_S):
        async with backend.open(sandbox.context(agent)) as session:
            outcome = await session.run_round(sandbox.round(agent, "do it"), report)
    assert isinstance(outcome, Finished)
    assert any("starting a new session" in line for line in report.lines)


async def test_mail_steers_the_turn(sandbox: Sandbox) -> None:
    backend = CliBackend(CodexAdapter(), "codex", Settings(command=FAKE, permissions="full"), sandbox.root)
    agent, outcomes, report = sandbox.agent(cli="codex"), [], ReportRecorder()
    with trio.fail_after(DEADLINE_S):
        async with backend.open(sandbox.context(agent)) as session, trio.open_nursery() as nursery:
            assert not await session.deliver("too early")

            async def work() -> None:
                outcomes.append(await session.run_round(sandbox.round(agent, "wait"), report))

            nursery.start_soon(work)
            while "shell: make" not in report.lines:  # noqa: ASYNC110 - it rings no bell
                await trio.sleep(0.02)
            assert await session.deliver("the port is 80")
    assert outcomes[0].text == "got the port is 80"


@pytest.mark.parametrize(
    ("answer", "settings", "decision", "questions"),
    [
        ("allow", {}, "accept", 1),
        ("deny", {}, "decline", 1),
        (None, {}, "decline", 1),
        (None, {"ask_default": "allow"}, "accept", 1),
        (None, {"ask_allow": ("run: git *",)}, "accept", 0),
        ("allow", {"ask_deny": ("*push*",)}, "decline", 0),
    ],
)
async def test_what_it_asks_is_answered_by_a_rule_or_by_somebody(
    sandbox: Sandbox, answer: str | None, settings: dict[str, Any], decision: str, questions: int
) -> None:
    report = Answering(answer)
    outcome = await play(sandbox, "ask", report, ask=True, **settings)
    assert (outcome.text, len(report.questions)) == (decision, questions)
    verdict = "permitted" if decision == "accept" else "not permitted"
    assert any(line.startswith(verdict) and "git push" in line for line in report.lines)


async def test_a_turn_that_failed_says_why(sandbox: Sandbox) -> None:
    outcome = await play(sandbox, "fail")
    assert isinstance(outcome, RateLimited)
    assert "we are down" in outcome.reason


async def test_a_turn_that_its_policies_stop_is_refused(sandbox: Sandbox) -> None:
    outcome = await play(sandbox, "fail: refuse")
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.retryable, outcome.cause) == ("we are down", False, "refused")


async def test_asking_keeps_it_in_its_sandbox(sandbox: Sandbox) -> None:
    context = sandbox.context(sandbox.agent(cli="codex"))
    for ask, profile in ((True, "write"), (False, "full")):
        backend = CliBackend(CodexAdapter(), "codex", Settings(permissions="full", ask=ask), sandbox.root)
        assert backend.permissions_in(context) == profile


async def test_a_result_fits_the_schema_of_its_task(sandbox: Sandbox) -> None:
    schema = {"type": "object", "properties": {"n": {}}, "required": ["n"], "additionalProperties": False}
    backend = CliBackend(CodexAdapter(), "codex", Settings(command=FAKE, permissions="full"), sandbox.root)
    agent = sandbox.agent(cli="codex")
    task = msgspec.structs.replace(sandbox.task("count", agent=agent), meta={"results": {"schema": schema}})
    with trio.fail_after(DEADLINE_S):
        async with backend.open(sandbox.context(agent)) as session:
            work = replace(sandbox.round(agent, "count"), task=task)
            ended = await session.run_round(work, ReportRecorder())
    assert isinstance(ended, Finished)
    assert ended.text == '{"n": 3}'
