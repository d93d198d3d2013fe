"""Rounds of real commands under a real processes."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import tinytown_shell
import trio
from tinytown.config import AgentCli, Config, convert_settings
from tinytown.contracts import (
    AgentBackend,
    AgentContext,
    AgentSession,
    Failed,
    Finished,
    Lost,
    Outcome,
    Round,
    Unavailable,
    Usage,
)
from tinytown.errors import ConfigError
from tinytown.model.agents import Agent
from tinytown.model.messages import Body, Custom, Informational, Message, Query, TaskAssign, TaskOrder
from tinytown.model.tasks import Task
from tinytown.process import open_process_supervisor
from tinytown_shell.ends import ANSWER_BYTES, Answer

DEADLINE_S = 30.0


@dataclass
class Lines:
    """A `Report` that keeps the lines, and lets a test wait for one."""

    lines: list[str] = field(default_factory=list)
    news: trio.Event = field(default_factory=trio.Event)

    def line(self, text: str) -> None:
        self.lines.append(text)
        self.news.set()
        self.news = trio.Event()

    def usage(self, usage: Usage) -> None:
        raise AssertionError("a command tells nothing of usage")

    async def wait_for(self, text: str) -> None:
        while text not in self.lines:
            await self.news.wait()


@dataclass
class Town:
    """The directory of a town and what makes rounds in it."""

    root: Path
    context: AgentContext
    report: Lines = field(default_factory=Lines)

    def round(self, *bodies: Body, task: str | None = None, **changes: Any) -> Round:
        work = Round(
            round_id="r1",
            prompt="# What to do\n\n" + (task or "nothing"),
            task=Task(id="t1", description=task) if task is not None else None,
            messages=tuple(Message(id=str(n), sender="ann", recipient="w", body=body) for n, body in enumerate(bodies)),
            directory=self.root,
            environment={"PATH": os.environ["PATH"], "TINYTOWN_AGENT_NAME": "worker"},
            log_path=self.root / "worker.log",
        )
        return replace(work, **changes)

    @asynccontextmanager
    async def session(self, kind: str = "shell", settings: Mapping[str, Any] = {}) -> AsyncGenerator[AgentSession]:
        backends = {each.kind: each for each in offered(self.context.config, settings, self.root)}
        async with backends[kind].open(self.context) as session:
            yield session

    async def run(self, script: str, **changes: Any) -> Outcome:
        """A round of the kind `shell`."""
        async with self.session() as session:
            return await session.run_round(self.round(TaskAssign(task_id="t1"), task=script, **changes), self.report)

    async def run_cli(self, command: str | tuple[str, ...], changes: Mapping[str, Any] = {}, **options: Any) -> Outcome:
        """A round of a configured kind."""
        cli = AgentCli(command=command, **options)
        self.context = replace(self.context, config=Config(name="town", agent_clis={"mine": cli}))
        async with self.session("mine") as session:
            return await session.run_round(self.round(task="sweep the floor", **changes), self.report)


def offered(config: Config, settings: Mapping[str, Any], root: Path) -> list[AgentBackend]:
    kind = tinytown_shell.tinytown_settings_type()
    made = convert_settings(kind, settings, root / "tinytown.toml", "plugins.shell")
    return tinytown_shell.tinytown_agent_backends(made, config, root)


@pytest.fixture
async def town(tmp_path: Path) -> AsyncGenerator[Town]:
    with trio.fail_after(DEADLINE_S):
        async with open_process_supervisor(run_dir=tmp_path / "run") as processes:
            yield Town(
                tmp_path,
                AgentContext(
                    agent=Agent(id="a1", name="worker", cli="shell"),
                    config=Config(name="town"),
                    root=tmp_path,
                    state_directory=tmp_path / "state",
                    processes=processes,
                ),
            )


# -- the kind shell ----------------------------------------------------------------------------------------


async def test_what_was_printed_is_kept_when_the_time_is_over(town: Town) -> None:
    outcome = await town.run("echo half of it; sleep 100", timeout_s=0.5)
    assert outcome == Failed(reason="ended after 0.5 s, the time limit of a round; its last output: half of it")


async def test_a_failure_that_is_told_on_standard_output_alone_is_its_reason(town: Town) -> None:
    outcome = await town.run("echo '2 failed, 1 passed'; exit 1")
    assert outcome == Failed(reason="exit status 1: 2 failed, 1 passed", retryable=False)


async def test_the_text_of_a_task_is_run_in_the_directory_of_the_round(town: Town) -> None:
    outcome = await town.run('echo "I am $TINYTOWN_AGENT_NAME" | tee hello.txt\nprintf "%s" "$(pwd)"')
    assert outcome == Finished(text=f"I am worker\n{town.root.resolve()}")
    assert (town.root / "hello.txt").read_text() == "I am worker\n"
    assert town.report.lines == ["I am worker", str(town.root.resolve())]
    assert (town.root / "worker.log").read_text().startswith("I am worker")


async def test_an_order_in_free_text_is_run_too(town: Town) -> None:
    async with town.session() as session:
        outcome = await session.run_round(town.round(TaskOrder(description="echo free")), town.report)
    assert outcome == Finished(text="free")


async def test_questions_and_notes_are_never_run(town: Town) -> None:
    words = "touch harmed"
    mail = (Query(question=words), Informational(summary=words), Custom(kind="x", payload=words))
    async with town.session() as session:
        assert await session.run_round(town.round(*mail), town.report) == Finished()
    assert not (town.root / "harmed").exists()


async def test_a_script_may_begin_with_a_dash_and_has_nothing_on_standard_input(town: Town) -> None:
    assert await town.run("-x 2>/dev/null; cat; echo done") == Finished(text="done")


async def test_both_streams_are_reported_as_they_come(town: Town) -> None:
    # The script continues only when its first line has been seen.
    async with trio.open_nursery() as nursery:

        async def answer() -> None:
            await town.report.wait_for("ready")
            (town.root / "go").touch()

        nursery.start_soon(answer)
        outcome = await town.run("echo ready >&2; until test -e go; do sleep 0.01; done; echo gone")
    assert outcome == Finished(text="gone")
    assert town.report.lines == ["ready", "gone"]


async def test_a_failing_script_fails_its_task_for_good_and_says_why(town: Town) -> None:
    outcome = await town.run("echo so far; echo first >&2; echo second >&2; exit 3")
    assert outcome == Failed(reason="exit status 3: first\nsecond", retryable=False)
    assert await town.run("exit 4") == Failed(reason="exit status 4", retryable=False)


@pytest.mark.parametrize("status", [0, 3])
async def test_no_path_out_of_a_script_shows_a_secret(town: Town, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("SOME_TOKEN", "known-value-42")
    log = town.root / "worker.log"
    log.write_text("an earlier round said known-value-42\n")
    outcome = await town.run(f"echo it is known-value-42; echo known-value-42 >&2; exit {status}")
    assert "known-value-42" not in repr(outcome)
    assert "it is ***" in town.report.lines
    assert log.read_text().count("known-value-42") == 1
    assert "it is ***\n" in log.read_text()


async def test_no_secret_is_in_a_log_for_as_long_as_a_script_runs(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "known-value-42")
    monkeypatch.setenv("DEPLOY_KEY", "-----BEGIN KEY-----\nMIIEvQIBADAN0\n-----END KEY-----")
    until_written = "until grep -q seen worker.log; do :; done; cp worker.log copy; cat copy"
    script = f"echo known-value-42; printf 'x\\nMIIEvQIBADAN0\\ny\\n'; echo seen; {until_written}"
    assert await town.run(script) == Finished(text="\n".join(["***", "x", "***", "y", "seen"] * 2))


async def test_a_line_without_end_is_cut_in_the_log_and_says_so(town: Town) -> None:
    await town.run("head -c 300000 /dev/zero | tr '\\0' x; echo; echo end")
    long, last = (town.root / "worker.log").read_text().splitlines()
    assert (long.lstrip("x"), last) == (" [the rest of this line is left out]", "end")


async def test_a_task_that_is_no_script_gets_a_hint(town: Town) -> None:
    outcome = await town.run("Please-write a poem")
    assert isinstance(outcome, Failed)
    assert "Please-write" in outcome.reason
    assert "runs the text of a task as a shell script" in outcome.reason
    assert "[agent_clis.NAME]" in outcome.reason


async def test_a_configured_command_gets_the_prompt_instead(town: Town) -> None:
    async with town.session(settings={"command": "cat"}) as session:
        outcome = await session.run_round(town.round(Query(question="well?"), prompt="the prompt\n"), town.report)
    assert outcome == Finished(text="the prompt")


async def test_no_process_outlives_a_cancelled_round(town: Town) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(town.run, "sleep 1000 & echo $!; wait")
        while not town.report.lines:
            await town.report.news.wait()
        nursery.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(int(town.report.lines[0]), 0)


# -- kinds of a person's own -------------------------------------------------------------------------------


async def test_a_command_gets_the_prompt_on_standard_input(town: Town) -> None:
    outcome = await town.run_cli("""sh -c 'tr a-z A-Z'""")
    assert outcome == Finished(text="# WHAT TO DO\n\nSWEEP THE FLOOR")


async def test_a_text_is_split_into_words_and_no_shell_looks_at_them(town: Town) -> None:
    assert await town.run_cli("printf '%s.' 'a b' '$HOME' \\$HOME *") == Finished(text="a b.$HOME.$HOME.*.")
    assert await town.run_cli(("printf", "%s.", "a b", "")) == Finished(text="a b..")


async def test_its_variables_come_on_top_of_those_of_the_round(town: Town) -> None:
    outcome = await town.run_cli(
        ("sh", "-c", 'echo "$TINYTOWN_AGENT_NAME $LEVEL"'), env={"LEVEL": "${strict}", "UNUSED": ""}
    )
    assert outcome == Finished(text="worker ${strict}")


async def test_a_prompt_file_is_the_last_argument_and_is_gone_afterwards(town: Town) -> None:
    outcome = await town.run_cli(("sh", "-c", 'ls -l "$1"; cat "$1"; cat', "sh"), prompt="file")
    assert isinstance(outcome, Finished)
    listed, _, rest = outcome.text.partition("\n")
    assert listed.startswith("-rw-------")
    assert "/state/prompt-" in listed
    assert rest == "# What to do\n\nsweep the floor"
    assert list((town.root / "state").iterdir()) == []


@pytest.mark.parametrize("prompt", ["stdin", "file"])
async def test_a_prompt_file_stands_where_the_command_wants_it(town: Town, prompt: str) -> None:
    outcome = await town.run_cli("sh -c 'head -n 1 ${0#--file=}; cat; echo $#' --file={prompt_file}", prompt=prompt)
    assert outcome == Finished(text="# What to do\n0")


async def test_a_prompt_file_that_a_killed_kernel_left_is_removed(town: Town) -> None:
    (town.root / "state").mkdir()
    left = town.root / "state" / "prompt-old.md"
    left.touch()
    await town.run_cli("true")
    assert not left.exists()


async def test_a_prompt_file_that_cannot_be_written_fails_the_round(town: Town) -> None:
    (town.root / "state").touch()
    outcome = await town.run_cli("cat", prompt="file")
    assert isinstance(outcome, Failed)
    assert "cannot write the prompt" in outcome.reason


async def test_it_runs_in_its_own_directory_and_says_when_there_is_none(town: Town) -> None:
    (town.root / "src").mkdir()
    assert await town.run_cli("pwd", workdir="src") == Finished(text=str((town.root / "src").resolve()))
    outcome = await town.run_cli("pwd", workdir="source")
    assert outcome == Unavailable(
        reason=f"no such directory: {town.root / 'source'}", hint="make it, or change agent_clis.mine.workdir"
    )


async def test_a_failing_command_may_be_tried_again(town: Town) -> None:
    outcome = await town.run_cli(("sh", "-c", "echo one >&2; echo two >&2; exit 7"))
    assert outcome == Failed(reason="exit status 7: two")


async def test_a_command_that_is_not_there_makes_the_agent_unavailable(town: Town) -> None:
    outcome = await town.run_cli("no-such-command-anywhere --now")
    assert isinstance(outcome, Unavailable)
    assert "no-such-command-anywhere" in outcome.reason
    assert outcome.hint


async def test_its_time_limit_goes_before_the_rounds(town: Town) -> None:
    outcome = await town.run_cli("sleep 1000", {"timeout_s": 900.0}, timeout_s=0.2)
    assert outcome == Failed(reason="ended after 0.2 s, the time limit of a round")
    outcome = await town.run_cli("sleep 1000", {"timeout_s": 0.3})
    assert outcome == Failed(reason="ended after 0.3 s, the time limit of a round")


async def test_a_silent_command_is_ended(town: Town) -> None:
    outcome = await town.run_cli("sleep 1000", {"silence_s": 0.2})
    assert outcome == Failed(reason="ended after 0.2 s without any output")


async def test_a_command_that_somebody_kills_is_lost(town: Town) -> None:
    outcome = await town.run_cli(("sh", "-c", "echo last words >&2; kill -9 $$"))
    assert isinstance(outcome, Lost)
    assert f"killed by signal {int(signal.SIGKILL)}" in outcome.reason
    assert outcome.stderr_tail == "last words\n"


async def test_a_text_that_no_shell_runs_fails_for_good(town: Town) -> None:
    outcome = await town.run("echo a\0b")
    assert isinstance(outcome, Failed)
    assert not outcome.retryable


async def test_a_text_may_be_longer_than_an_argument(town: Town) -> None:
    outcome = await town.run("#" * 200_000 + "\ncat; echo ok")
    assert outcome == Finished(text="ok")


# -- what the hook offers ----------------------------------------------------------------------------------


def test_each_table_is_a_kind_and_may_take_the_place_of_shell(tmp_path: Path) -> None:
    clis = {name: AgentCli(command="cat") for name in ("linter", "shell")}
    backends = offered(Config(name="town", agent_clis=clis), {}, tmp_path)
    assert sorted(each.kind for each in backends) == ["linter", "shell"]
    assert all(isinstance(each, tinytown_shell.CommandBackend) for each in backends)
    assert all(isinstance(each, AgentBackend) for each in backends)


def test_it_is_asked_before_other_plugins_because_a_person_wrote_those_tables() -> None:
    options: dict[str, bool] = vars(tinytown_shell.tinytown_agent_backends)["tinytown_impl"]
    assert options["tryfirst"]


@pytest.mark.parametrize("command", ["say 'hello", "", " ", "''", ()])
def test_a_command_that_is_none_is_named(tmp_path: Path, command: str | tuple[str, ...]) -> None:
    config = Config(name="town", agent_clis={"linter": AgentCli(command=command)})
    with pytest.raises(ConfigError, match=r"agent_clis\.linter\.command"):
        offered(config, {}, tmp_path)


def test_the_plugins_own_command_is_checked_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"plugins\.shell\.command"):
        offered(Config(name="town"), {"command": "'"}, tmp_path)
    with pytest.raises(ConfigError, match=r"plugins\.shell\.commander"):
        offered(Config(name="town"), {"commander": "cat"}, tmp_path)


def test_of_a_long_answer_the_end_is_kept() -> None:
    answer = Answer()
    lines = [f"line {number} {'é' * 50}" for number in range(2000)]
    for line in lines:
        answer.add(line)
    first, *rest = str(answer).split("\n")
    assert first == "[the beginning is left out]"
    assert rest == lines[-len(rest) :]
    assert ANSWER_BYTES - 200 < len("\n".join(rest).encode()) < ANSWER_BYTES
