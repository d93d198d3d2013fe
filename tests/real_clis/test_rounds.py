"""Rounds of real CLIs, with a model server that follows a script: what each ends with, and what it leaves behind."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from tinytown.contracts import (
    AgentSession,
    Failed,
    Finished,
    Lost,
    Outcome,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.state import state_directory
from tinytown_testing import ReportRecorder, Sandbox, open_sandbox
from tinytown_testing.models import ModelServer, Script

from tests.real_clis.clis import REAL_CLIS, RealCli, git
from tests.real_clis.processes import started_processes, until

DEADLINE_S = 600.0
_COUNTER = itertools.count(1)

pytestmark = pytest.mark.real_clis


@dataclass
class Stage:
    """A bench with a git repository to work in, a model server, and sessions of one real CLI."""

    cli: RealCli
    sandbox: Sandbox
    server: ModelServer
    path: str
    report: ReportRecorder = field(default_factory=ReportRecorder)
    agents: dict[str, Agent] = field(default_factory=dict[str, Agent])

    def rule(self, say: str, replies: Sequence[dict[str, Any]]) -> str:
        """A prompt that the server answers with the last of `replies`; for CLIs that offer no tools, which have one turn.

        (They ask for the words of a commit, too, with the prompt in it.)
        """
        prompt = f"{say} (request {next(_COUNTER)})"
        commits = {"when": {"system": "commit message"}, "text": "hello"}
        kept = [rule for rule in self.server.script.rules if rule != commits]
        self.server.script = Script([commits, *kept, {"when": {"prompt": re.escape(prompt)}, **replies[-1]}])
        return prompt

    @asynccontextmanager
    async def session(self, name: str = "ada", **settings: Any) -> AsyncGenerator[Seat]:
        backend = self.cli.backend(self.sandbox, self.server, **settings)
        agent = self.agents.setdefault(name, self.sandbox.agent(name, cli=self.cli.kind))
        async with backend.open(self.sandbox.context(agent)) as session:
            yield Seat(self, session, agent)


@dataclass
class Seat:
    """An open session of an agent."""

    stage: Stage
    session: AgentSession
    agent: Agent

    async def run(self, *replies: dict[str, Any], say: str = "please", **options: Any) -> Outcome:
        """A round whose model answers with `replies`, one a turn."""
        if not self.stage.cli.has_shell:
            return await self.run_prompt(self.stage.rule(say, replies), **options)
        return await self.run_prompt(f"{say} <stub>{msgspec.json.encode(replies).decode()}</stub>", **options)

    async def run_prompt(
        self, prompt: str, *, report: ReportRecorder | None = None, task: Task | None = None, **options: Any
    ) -> Outcome:
        stage = self.stage
        environment = {"PATH": stage.path, **stage.cli.environment(stage.server.url), **options.pop("environment", {})}
        directory = options.pop("directory", stage.sandbox.work)
        round_ = stage.sandbox.round(self.agent, prompt, environment=environment, timeout_s=60.0, grace_s=2.0)
        round_ = replace(round_, directory=directory, task=task or round_.task)
        return await self.session.run_round(round_, report or stage.report)


@pytest.fixture(params=REAL_CLIS, ids=lambda cli: cli.kind)
def cli(request: pytest.FixtureRequest) -> RealCli:
    found: RealCli = request.param
    return found


@pytest.fixture
async def stage(cli: RealCli) -> AsyncGenerator[Stage]:
    path = cli.path()
    with trio.fail_after(DEADLINE_S), ModelServer() as server:
        async with open_sandbox() as sandbox:
            git(sandbox.work, "init", "-q")
            git(sandbox.work, "config", "user.name", "Ada")
            git(sandbox.work, "config", "user.email", "ada@example.org")
            (sandbox.work / ".git" / "info" / "exclude").write_text(
                ".aider*\n"
            )  # where aider keeps what it has indexed
            yield Stage(cli, sandbox, server, path)


def running(words: str) -> bool:
    """Whether a process is alive whose command line holds these words: its number would not do, it may have another here."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            alive = not (entry / "stat").read_text().rpartition(")")[2].split()[0].startswith("Z")
            if alive and words in (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"):
                return True
        except OSError:
            continue
    return False


def needs_shell(cli: RealCli) -> None:
    """Skips the test for a CLI whose models can run nothing."""
    if not cli.has_shell:
        pytest.skip("its models have no shell")


@pytest.fixture
def tool(cli: RealCli) -> str:
    """A command that takes long, and like which there is no other."""
    needs_shell(cli)
    return f"timeout 300.{os.getpid()}{next(_COUNTER)} tail -f /dev/null"  # some refuse a mere sleep


#: How a model that has no shell changes a file: aider takes this out of its answer.
EDIT = "all done\n\nhello.txt\n```\n<<<<<<< SEARCH\n=======\nhi\n>>>>>>> REPLACE\n```\n"


async def test_a_task_that_changes_and_commits_a_file(stage: Stage) -> None:
    change = {"shell": "echo hi > hello.txt && git add hello.txt && git commit -qm hello"}
    async with stage.session() as agent:
        outcome = await agent.run(change, {"text": "all done" if stage.cli.has_shell else EDIT})
    assert isinstance(outcome, Finished)
    assert outcome.text.startswith("all done")
    assert outcome.session_id
    if stage.cli.tells_usage:
        assert outcome.usage is not None
        assert outcome.usage.input_tokens > 0
        assert stage.report.used[-1] == outcome.usage
    assert (stage.sandbox.work / "hello.txt").read_text() == "hi\n"
    assert git(stage.sandbox.work, "log", "--format=%s").split() == ["hello"]
    assert git(stage.sandbox.work, "status", "--porcelain") == ""
    if stage.cli.tells_progress:
        wanted = "git commit -qm hello" if stage.cli.has_shell else "Commit "
        assert any(wanted in line for line in stage.report.lines)
    log = state_directory(stage.sandbox.root) / "logs" / "ada.log"
    assert "all done" in log.read_text()


async def test_the_next_round_goes_on_with_the_session(stage: Stage) -> None:
    async with stage.session() as agent:
        first = await agent.run({"text": "one"}, say="remember the colour teal")
    async with stage.session() as agent:  # another kernel, perhaps
        second = await agent.run({"text": "two"}, say="and now")
    assert isinstance(first, Finished)
    assert isinstance(second, Finished)
    assert (second.session_id, second.text) == (first.session_id, "two")
    assert "the colour teal" in asked(stage)
    if stage.cli.tells_usage:
        assert first.usage is not None
        assert second.usage is not None
        assert (
            second.usage.output_tokens < first.usage.output_tokens + 100
        )  # it is that of the round, not of the session


@pytest.mark.parametrize("until_s", [0.0, 0.5, 0.8, 1.5])
async def test_a_round_that_its_service_comes_too_late_for_is_not_answered_without_its_prompt(
    stage: Stage, until_s: float
) -> None:
    """Auggie waits for a service that goes away while it starts, and then asks its model without the prompt."""
    async with stage.session() as agent:
        first = await agent.run({"text": "one"})
    assert isinstance(first, Finished)
    port, outcomes = stage.server.port, list[Outcome]()

    async def run() -> None:
        async with stage.session(patience_s=20.0) as agent:
            outcomes.append(await agent.run({"text": "two"}, say="remember the colour teal"))

    with ExitStack() as late:
        async with trio.open_nursery() as nursery:
            if until_s:
                nursery.start_soon(run)
            await trio.sleep(until_s)
            stage.server.__exit__()  # nothing listens there any more
            if not until_s:
                nursery.start_soon(run)
            await trio.sleep(3.0)
            script, heard = stage.server.script, stage.server.requests
            stage.server = late.enter_context(ModelServer(port=port))
            stage.server.script = script
    if isinstance(outcomes[0], Finished):
        assert any("the colour teal" in str(each) for each in (*heard, *stage.server.requests))
    else:
        assert isinstance(outcomes[0], RateLimited)  # no attempt of its task


async def test_mail_reaches_the_model_while_a_tool_is_at_work(stage: Stage) -> None:
    needs_shell(stage.cli)
    begun, go_on = stage.sandbox.work / "begun", stage.sandbox.work / "go-on"
    wait = {"shell": f"touch {begun.name}; until [ -e {go_on.name} ]; do sleep 0.1; done"}
    outcomes: list[Outcome] = []
    taken: list[bool] = []

    async def work(agent: Seat) -> None:
        outcomes.append(await agent.run(wait, {"text": "end"}))

    async def deliver(agent: Seat) -> None:
        taken.append(await agent.session.deliver("Urgent: the port is 8321. </stub>"))

    stage.server.script = Script([{"text": "end"}])  # to some the mail is another turn of the person's
    async with stage.session() as agent, trio.open_nursery() as nursery:
        nursery.start_soon(work, agent)
        await until(begun.exists)
        nursery.start_soon(deliver, agent)
        if stage.cli.takes_mail:
            await trio.sleep(0.5)  # it is written down meanwhile
            assert not taken, "no model was asked since"
        go_on.touch()
    assert taken == [stage.cli.takes_mail]
    assert isinstance(outcomes[0], Finished)
    assert outcomes[0].text == "end"
    assert ("the port is 8321" in asked(stage)) is stage.cli.takes_mail


async def test_mail_that_comes_with_the_answer_opens_another_turn_or_waits(stage: Stage) -> None:
    if not stage.cli.takes_mail:
        pytest.skip("it takes none")
    late = Script([{"when": {"prompt": "8321"}, "text": "noted"}, {"text": "all done", "delay": 1.0}])
    stage.server.script = late
    outcomes: list[Outcome] = []
    taken: list[bool] = []

    async def work(agent: Seat) -> None:
        outcomes.append(await agent.run_prompt("please"))

    async with stage.session() as agent, trio.open_nursery() as nursery:
        nursery.start_soon(work, agent)
        await until(lambda: bool(stage.server.model_requests))  # the answer is on its way
        taken.append(await agent.session.deliver("Urgent: the port is 8321."))
    assert isinstance(outcomes[0], Finished)
    assert taken == [True]
    assert "noted" in outcomes[0].text
    if len(stage.server.model_requests) > 2:  # else its model was asked again, with the mail
        assert "all done" in outcomes[0].text
    assert not await agent.session.deliver("too late")


async def test_a_session_that_is_gone_is_begun_anew_in_the_same_round(stage: Stage) -> None:
    if not stage.cli.has_session_ids:
        pytest.skip("its sessions have no ids")
    async with stage.session() as agent:
        first = await agent.run({"text": "one"}, say="remember the colour teal")
        state = next(state_directory(stage.sandbox.root).glob(f"agents/ada/{stage.cli.place}/state"))
        shutil.rmtree(state)
        second = await agent.run({"text": "two"}, say="and now")
        third = await agent.run({"text": "three"}, say="and then")
    assert isinstance(first, Finished)
    assert isinstance(second, Finished)
    assert isinstance(third, Finished)
    assert second.text == "two"
    assert second.session_id != first.session_id
    assert third.session_id == second.session_id
    assert any("starting a new session" in line for line in stage.report.lines)


async def test_a_session_of_another_directory_is_left_alone_or_resumed_where_the_round_is(stage: Stage) -> None:
    elsewhere = stage.sandbox.base / "elsewhere"
    elsewhere.mkdir()
    git(elsewhere, "init", "-q")
    where = {"shell": "pwd > here.txt"} if stage.cli.has_shell else {"text": "one"}
    async with stage.session() as agent:
        first = await agent.run({"text": "one"})
        second = await agent.run(where, {"text": "two"}, directory=elsewhere)
    assert isinstance(first, Finished)
    assert isinstance(second, Finished)
    assert second.text == "two"
    if stage.cli.has_shell:
        assert (elsewhere / "here.txt").read_text().strip() == str(elsewhere)


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        ({"status": 401}, Unauthorized),
        ({"status": 429}, RateLimited),
        ({"status": 429, "headers": {"retry-after": "3"}}, RateLimited),
        ({"status": 500}, (Failed, RateLimited)),  # some say of both that the model has too much to do
        ({"status": 529}, RateLimited),
        ({"status": 404, "message": "model: no-such-model does not exist"}, Unavailable),
        ({"status": 400, "message": "prompt is too long: 300000 tokens > 200000 maximum"}, Failed),
        ({"drop": "start"}, (Failed, RateLimited)),
    ],
    ids=[
        "unauthorized",
        "throttled",
        "throttled for a time",
        "server error",
        "overloaded",
        "model unknown",
        "too long",
        "cut off",
    ],
)
async def test_trouble_with_the_server_is_told_apart(
    stage: Stage, trouble: dict[str, Any], expected: type[Outcome]
) -> None:
    async with stage.session() as agent:
        outcome = await agent.run(trouble)
    assert isinstance(outcome, expected), outcome
    if isinstance(outcome, Failed):
        assert outcome.retryable is (outcome.cause is None)
        assert outcome.cause == ("context_too_long" if "too long" in outcome.reason else None)
    if isinstance(outcome, Unauthorized | Unavailable):
        assert outcome.hint


async def test_a_refusal_of_the_model_is_told_from_other_failures(stage: Stage) -> None:
    if stage.cli.refusal is None:
        pytest.skip("it takes the words of a refusal for an answer")
    refusal = {"text": "I can't help with that.", "stop": stage.cli.refusal}
    stage.server.script = Script([refusal])  # however often it asks
    async with stage.session() as agent:
        outcome = await agent.run_prompt("please")
    assert isinstance(outcome, Failed), outcome
    assert (outcome.retryable, outcome.cause) == (False, "refused"), outcome


async def test_when_a_limit_is_over_is_handed_on(stage: Stage) -> None:
    async with stage.session() as agent:
        outcome = await agent.run({"status": 429, "message": "Rate limit reached. Please try again in 90s."})
    assert isinstance(outcome, RateLimited)
    assert outcome.retry_after_s in (90.0, None)


async def test_a_stream_that_is_cut_is_tried_again_or_a_failure(stage: Stage) -> None:
    async with stage.session() as agent:
        outcome = await agent.run({"drop": "stream", "text": "half of it"})
    assert isinstance(outcome, Finished | RateLimited) or (isinstance(outcome, Failed) and outcome.retryable)


@pytest.mark.parametrize("where", ["start", "stream"])
async def test_a_silent_server_is_given_up_by_our_own_clock(stage: Stage, where: str) -> None:
    if not stage.cli.tells_progress or (where == "stream" and not stage.cli.streams):
        pytest.skip("that cannot be seen from outside" if stage.cli.streams else "it does not ask for streams")
    async with stage.session(stall_s=4.0) as agent:
        began = trio.current_time()
        outcome = await agent.run({"hang": where})
    assert isinstance(outcome, Failed)
    assert "nothing from its model for 4 s" in outcome.reason
    assert trio.current_time() - began < 40


async def test_a_server_that_keeps_failing_is_given_up_by_our_own_clock(stage: Stage) -> None:
    more = {"CLAUDE_CODE_MAX_RETRIES": "50"}
    async with stage.session(patience_s=1.0, extra_args=_many_retries(stage.cli)) as agent:
        outcome = await agent.run({"status": 500}, environment=more)
    assert isinstance(outcome, RateLimited) or (isinstance(outcome, Failed) and outcome.retryable)


def _many_retries(cli: RealCli) -> tuple[str, ...]:
    return ("-c", "model_providers.models.stream_max_retries=50") if cli.kind == "codex" else ()


async def test_without_a_login_it_says_so(stage: Stage) -> None:
    if not stage.cli.keys:
        pytest.skip("an empty key is a key to it")
    async with stage.session() as agent:
        outcome = await agent.run({"text": "never"}, environment=dict.fromkeys(stage.cli.keys, ""))
    assert isinstance(outcome, Unauthorized), outcome
    assert outcome.hint


async def test_interrupted_in_the_middle_of_a_tool_call_nothing_is_left(stage: Stage, tool: str) -> None:
    async with stage.session() as agent:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agent.run, {"shell": tool}, {"text": "never"})
            await until(lambda: running(tool))
            nursery.cancel_scope.cancel()
        assert not running(tool)
        outcome = await agent.run({"text": "two"}, say="go on")
    assert isinstance(outcome, Finished)
    assert outcome.text == "two"


async def test_killed_in_the_middle_of_a_tool_call_it_is_lost_with_all_its_processes(stage: Stage, tool: str) -> None:
    outcomes: list[Outcome] = []

    async def work(agent: Seat) -> None:
        outcomes.append(await agent.run({"shell": tool}, {"text": "never"}))

    async with stage.session() as agent, trio.open_nursery() as nursery:
        nursery.start_soon(work, agent)
        await until(lambda: running(tool))
        for pid in started_processes(stage.sandbox.root):
            os.kill(pid, signal.SIGKILL)
    assert not running(tool)
    assert isinstance(outcomes[0], Lost)
    assert not list(started_processes(stage.sandbox.root))


async def test_its_time_limit_ends_it(stage: Stage, tool: str) -> None:
    async with stage.session(timeout_s=8.0) as agent:
        outcome = await agent.run({"shell": tool}, {"text": "never"})
    assert isinstance(outcome, Failed)
    assert "time limit" in outcome.reason
    assert not running(tool)


async def test_two_agents_at_once_do_not_mix(stage: Stage) -> None:
    outcomes: dict[str, Outcome] = {}

    async def work(name: str) -> None:
        async with stage.session(name) as agent:
            outcomes[name] = await agent.run(
                {"shell": f"echo {name} > {name}.txt"}, {"text": f"I am {name}"}, say=name, report=ReportRecorder()
            )

    async with trio.open_nursery() as nursery:
        for name in ("ada", "ben"):
            nursery.start_soon(work, name)
    for name, outcome in outcomes.items():
        assert isinstance(outcome, Finished)
        assert outcome.text == f"I am {name}"
        if stage.cli.has_shell:
            assert (stage.sandbox.work / f"{name}.txt").read_text().strip() == name


async def test_what_may_only_read_changes_nothing(stage: Stage) -> None:
    async with stage.session(permissions="read") as agent:
        outcome = await agent.run({"shell": "echo hi > hello.txt"}, {"text": "end"})
    assert isinstance(outcome, Finished)
    assert not (stage.sandbox.work / "hello.txt").exists()


async def test_what_may_write_keeps_to_its_workspace(stage: Stage) -> None:
    needs_shell(stage.cli)
    outside = Path(f"/var/tmp/tinytown-outside-{os.getpid()}")  # /tmp may be written to
    async with stage.session(permissions="write") as agent:
        outcome = await agent.run(
            {"shell": f"echo hi > hello.txt && git add hello.txt && git commit -qm hello; echo hi > {outside}"},
            {"text": "end"},
        )
    assert isinstance(outcome, Finished)
    assert not outside.exists()
    if stage.cli.commits_under_write:
        assert git(stage.sandbox.work, "log", "--format=%s").split() == ["hello"]


async def test_what_may_write_commits_in_a_linked_worktree_too(stage: Stage) -> None:
    if not stage.cli.commits_under_write:
        pytest.skip("it commits nothing with permissions of this kind, or not on this machine")
    git(stage.sandbox.work, "commit", "-q", "--allow-empty", "-m", "first")
    linked = stage.sandbox.base / "linked"
    git(stage.sandbox.work, "worktree", "add", "-q", str(linked))
    async with stage.session(permissions="write") as agent:
        outcome = await agent.run(
            {"shell": "echo hi > hello.txt && git add hello.txt && git commit -qm hello"},
            {"text": "end"},
            directory=linked,
        )
    assert isinstance(outcome, Finished)
    assert git(linked, "log", "--format=%s").split() == ["hello", "first"]


class Asked(ReportRecorder):
    """A report of a round whose questions are answered in one way."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self.reply = answer
        self.questions: list[str] = []

    async def ask(self, question: str, options: Sequence[str] = (), *, timeout_s: float = 600.0) -> str | None:
        self.questions.append(question)
        return self.reply


@pytest.mark.parametrize("answer", ["allow", "deny"])
async def test_what_goes_beyond_writing_is_asked(stage: Stage, answer: str) -> None:
    if not stage.cli.can_ask:
        pytest.skip("it cannot ask")
    outside = stage.sandbox.base / "outside"
    outside.mkdir()
    change = {"tool": {"name": "Write", "input": {"file_path": str(outside / "f.txt"), "content": "hi"}}}
    if stage.cli.kind == "codex":
        command = {
            "cmd": f"echo hi > {outside}/f.txt",
            "sandbox_permissions": "require_escalated",
            "justification": "?",
        }
        change = {"tool": {"name": "exec_command", "input": command}}
    report = Asked(answer)
    async with stage.session(permissions="full", ask=True) as agent:
        outcome = await agent.run(change, {"text": "end"}, report=report)
    assert isinstance(outcome, Finished)
    assert len(report.questions) == 1
    assert str(outside / "f.txt") in report.questions[0]
    assert (outside / "f.txt").exists() is (answer == "allow")


async def test_a_secret_that_is_not_its_own_stays_out_of_its_environment(stage: Stage) -> None:
    needs_shell(stage.cli)
    secrets = {"GITHUB_TOKEN": "a-secret", "MY_API_KEY": "a-secret", "OTHER_KEY": "shown"}
    async with stage.session(env_allow=["OTHER_*"]) as agent:
        outcome = await agent.run({"shell": "env"}, {"text": "{tool_result}"}, environment=secrets)
    assert isinstance(outcome, Finished)
    assert "a-secret" not in outcome.text
    assert "OTHER_KEY=shown" in outcome.text
    assert "TINYTOWN_ROUND_ID=" in outcome.text


@pytest.fixture
def no_trusted_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IS_SANDBOX", raising=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="this is about root")
@pytest.mark.usefixtures("no_trusted_place")
async def test_root_may_work_too(stage: Stage) -> None:
    needs_shell(stage.cli)
    async with stage.session(permissions="full") as agent:
        outcome = await agent.run({"shell": "echo 42 > f.txt && git add . && git commit -qm f"}, {"text": "end"})
    assert isinstance(outcome, Finished)
    assert (stage.sandbox.work / "f.txt").read_text() == "42\n"


async def test_prompts_call_the_towns_tools_what_its_models_do(stage: Stage) -> None:
    needs_shell(stage.cli)
    keys = {name: stage.cli.environment(stage.server.url).get(name, "") for name in stage.cli.keys}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in keys.items():
            patch.setenv(name, value)
        backend = stage.cli.backend(stage.sandbox, stage.server)
    assert isinstance(backend.offers_town_tools, str)
    async with stage.sandbox.open_town(), stage.session() as agent:
        outcome = await agent.run({"text": "end"})
    assert isinstance(outcome, Finished)
    offered = [tool for request in stage.server.model_requests for tool in request["tools"]]
    assert backend.offers_town_tools.format("task_complete") in offered


async def test_tools_of_the_town_that_do_not_start_are_not_kept_quiet(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinytown_adapters import TownTools, backend

    def broken(place: Path, environment: object) -> TownTools:
        return TownTools("sh", ("-c", "exit 3"))

    needs_shell(stage.cli)
    if not stage.cli.warns_of_tools:
        pytest.skip("it keeps it to itself")
    monkeypatch.setattr(backend, "prepare_town_tools", broken)
    async with stage.session() as agent:
        outcome = await agent.run({"text": "end"})
    reported = [*stage.report.lines, str(outcome)]
    assert any("the town's tools" in line for line in reported), reported


def asked(stage: Stage) -> str:
    """The last request that a model answered, as text."""
    return str(next(each for each in reversed(stage.server.requests) if "model" in each)["body"])
