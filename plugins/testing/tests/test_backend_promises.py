"""A backend that keeps every promise, and for each promise one that breaks it: the kit has to name that one and no other."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
import trio
from tinytown.contracts import (
    AgentBackend,
    AgentContext,
    AgentSession,
    Failed,
    Finished,
    Lost,
    Outcome,
    RateLimited,
    Report,
    Round,
    Unauthorized,
    Unavailable,
    Usage,
)
from tinytown.errors import ProcessFailed
from tinytown_testing import PROMISES, BackendScenarios, CheckReport, Scenario, check_agent_backend, trial

DEADLINE_S = 60.0
SLACK_S = 1.5

#: Every situation there is.
ALL = BackendScenarios(
    answer=lambda word: Scenario(task=f"say {word}"),
    work=Scenario(task="sh exec sleep 60"),
    stubborn=Scenario(task="sh trap '' TERM INT; echo ready; while :; do sleep 1; done", marker="ready"),
    killed=Scenario(task="sh echo last words >&2; kill -9 $$", marker="last words"),
    missing_tool=Scenario(task="tool"),
    output=lambda path: Scenario(task=f"sh cat {path}"),
    late_output=Scenario(task="sh (sleep 0.3; echo afterthought) & echo done", marker="afterthought"),
    rate_limit=Scenario(task="throttled"),
    login_error=Scenario(task="locked out"),
    silent=Scenario(task="sh exec sleep 60"),
    failing=Scenario(task="sh echo no good >&2; exit 1"),
)


class Session:
    """Does what its prompt says: ``say WORD``, ``sh SCRIPT``, ``tool``, ``throttled``, ``locked out``."""

    def __init__(self, context: AgentContext) -> None:
        self.context = context

    async def run_round(self, work: Round, report: Report) -> Outcome:
        text = self.text(work)
        verb, _, rest = text.partition(" ")
        match verb:
            case "say":
                return await self.say(rest, work, report)
            case "sh":
                return await self.run(["sh"], work, report, rest)
            case "tool":
                return await self.run(["no-such-tool-anywhere"], work, report)
            case "throttled":
                return RateLimited(retry_after_s=60)
            case "locked":
                return Unauthorized(reason="no login", hint="log in")
            case _:
                return Finished(text="what?")

    def text(self, work: Round) -> str:
        return work.prompt.removeprefix("Handle your mail.\n\n")

    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        await trio.lowlevel.checkpoint()
        report.line(word)
        return Finished(text=word)

    def directory(self, work: Round) -> Path:
        return work.directory

    def environment(self, work: Round) -> Mapping[str, str]:
        return work.environment

    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        try:
            ended = await self.context.processes.run(
                command,
                cwd=self.directory(work),
                env=self.environment(work),
                stdin=script.encode(errors="replace"),
                on_line=lambda line: report.line(line.text),
                timeout_s=work.timeout_s,
                silence_s=work.silence_s,
                grace_s=work.grace_s,
                log_path=work.log_path,
            )
        except ProcessFailed as error:
            return Unavailable(reason=error.message, hint=error.hint)
        if ended.reason != "exited":
            return Failed(reason=ended.reason)
        if ended.status is None:
            return Lost(reason="killed", stderr_tail=ended.stderr_tail)
        if ended.status:
            return Failed(reason=f"status {ended.status}")
        return Finished(text=ended.stdout_tail)


class Good(AgentBackend):
    """Keeps every promise."""

    kind: str = "good"
    session: ClassVar[Any] = Session

    def open(self, context: AgentContext) -> AbstractAsyncContextManager[AgentSession]:
        return self.opened(context)

    @asynccontextmanager
    async def opened(self, context: AgentContext) -> AsyncGenerator[AgentSession]:
        await trio.lowlevel.checkpoint()
        yield self.session(context)


# -- how each promise can be broken ------------------------------------------------------------------------

LEAKED_FDS: list[int] = []
LEAKED_PROCESSES: list[subprocess.Popen[bytes]] = []


def leak_fd() -> int:
    LEAKED_FDS.append(os.open(os.devnull, os.O_RDONLY))
    return LEAKED_FDS[-1]


def close_fd(fd: int) -> None:
    LEAKED_FDS.remove(fd)
    os.close(fd)


class KindOfTwoWords(Good):
    kind = "no good"


class StartsTooEarly(Good):
    def open(self, context: AgentContext) -> AbstractAsyncContextManager[AgentSession]:
        return self.opened_with(context, leak_fd())

    @asynccontextmanager
    async def opened_with(self, context: AgentContext, fd: int) -> AsyncGenerator[AgentSession]:
        try:
            async with self.opened(context) as session:
                yield session
        finally:
            close_fd(fd)


class IsNoContextManager(Good):
    async def open(self, context: AgentContext) -> AgentSession:  # type: ignore[override]
        raise AssertionError("nobody awaits it")


class LeavesFdInOpen(Good):
    @asynccontextmanager
    async def opened(self, context: AgentContext) -> AsyncGenerator[AgentSession]:
        leak_fd()
        yield Session(context)


class LeavesTaskInOpen(Good):
    @asynccontextmanager
    async def opened(self, context: AgentContext) -> AsyncGenerator[AgentSession]:
        trio.lowlevel.spawn_system_task(trio.sleep_forever)
        yield Session(context)


class LeavesFileInOpen(Good):
    @asynccontextmanager
    async def opened(self, context: AgentContext) -> AsyncGenerator[AgentSession]:
        (Path(os.environ["TMPDIR"]) / os.urandom(4).hex()).touch()
        yield Session(context)


class GivesNone(Session):
    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        return None  # type: ignore[return-value]


class RaisesInRound(Session):
    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        raise RuntimeError("oops")


class GivesWrongType(Session):
    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        return Finished(text=word.encode())  # type: ignore[arg-type]


class SaysAnything(Session):
    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        return Finished(text="something else")


class ReportsBytes(Session):
    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        report.line(word.encode())  # type: ignore[arg-type]
        return Finished(text=word)


class ReportsNonsense(Session):
    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        report.usage(Usage(input_tokens=-1))
        return Finished(text=word)


class CostsNothingThatIsANumber(Session):
    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        return Finished(text=word, usage=Usage(cost_usd=float("nan")))


class OwesTokens(Session):
    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        return Finished(text=word, usage=Usage(output_tokens=-5))


class ReportsAfterTheEnd(Good):
    @asynccontextmanager
    async def opened(self, context: AgentContext) -> AsyncGenerator[AgentSession]:
        async with trio.open_nursery() as nursery:

            class Afterwards(Session):
                async def say(self, word: str, work: Round, report: Report) -> Outcome:
                    nursery.start_soon(self.report, report, word)
                    return Finished(text=word)

                async def report(self, report: Report, word: str) -> None:
                    await trio.sleep(0.01)
                    report.line(word)

            yield Afterwards(context)
            nursery.cancel_scope.cancel()


class RepeatsItself(Session):
    first: str | None = None

    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        self.first = self.first or word
        return Finished(text=self.first)


class RemembersTooMuch(Session):
    said = ""

    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        self.said += word
        return Finished(text=self.said)


class LeavesFdInRound(Session):
    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        leak_fd()
        return Finished(text=word)


class HidesInOpen(Good):
    @asynccontextmanager
    async def opened(self, context: AgentContext) -> AsyncGenerator[AgentSession]:
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
        yield Session(context)


class LeavesFdWhenCancelledInOpen(Good):
    @asynccontextmanager
    async def opened(self, context: AgentContext) -> AsyncGenerator[AgentSession]:
        fd = leak_fd()
        await trio.lowlevel.checkpoint()
        try:
            yield Session(context)
        finally:
            close_fd(fd)


class HidesInRound(Session):
    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
        return Finished(text=word)


class CannotGoOn(Session):
    cancelled = False

    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        if self.cancelled:
            return Failed(reason="in the middle of something")
        self.cancelled = True
        await trio.lowlevel.checkpoint()
        self.cancelled = False
        return Finished(text=word)


class LeavesProcess(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        process = subprocess.Popen([*command, "-c", script], cwd=work.directory, env=dict(work.environment))  # noqa: ASYNC220
        LEAKED_PROCESSES.append(process)
        while process.poll() is None:  # noqa: ASYNC110
            await trio.sleep(0.01)
        return Finished()


class OnlyAsks(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        process = subprocess.Popen(  # noqa: ASYNC220
            [*command, "-c", script], cwd=work.directory, env=dict(work.environment), stdout=subprocess.PIPE
        )
        LEAKED_PROCESSES.append(process)
        assert process.stdout is not None
        with process.stdout, trio.move_on_after(work.timeout_s or 60):
            os.set_blocking(process.stdout.fileno(), False)
            try:
                while process.poll() is None:
                    await trio.sleep(0.01)
                    if line := process.stdout.readline():
                        report.line(line.decode())
            finally:
                process.terminate()
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 0.2):
                    while process.poll() is None:  # noqa: ASYNC110
                        await trio.sleep(0.01)
        return Failed(reason="ended")


class KnowsNoTime(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        return await super().run(command, replace(work, timeout_s=None), report, script)


class TakesTimeoutForSuccess(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        outcome = await super().run(command, work, report, script)
        return Finished() if isinstance(outcome, Failed) else outcome


class GivesNoHint(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        outcome = await super().run(command, work, report, script)
        return msgspec.structs.replace(outcome, hint="") if isinstance(outcome, Unavailable) else outcome


class TakesMissingForFailed(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        outcome = await super().run(command, work, report, script)
        return Failed(reason="no tool") if isinstance(outcome, Unavailable) else outcome


class TakesKilledForFailed(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        outcome = await super().run(command, work, report, script)
        return Failed(reason=outcome.stderr_tail) if isinstance(outcome, Lost) else outcome


class DropsStderr(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        outcome = await super().run(command, work, report, script)
        return Lost(reason="killed") if isinstance(outcome, Lost) else outcome


class ReadsAsciiOnly(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        outcome = await super().run(command, work, report, script)
        if isinstance(outcome, Finished):
            outcome.text.encode("ascii")
        return outcome


class GivesSurrogates(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        outcome = await super().run(command, work, report, script)
        return Finished(text=outcome.text.replace("\ufffd", "\udcff")) if isinstance(outcome, Finished) else outcome


class HandsLateOutputOn(Session):
    late = ""

    async def run_round(self, work: Round, report: Report) -> Outcome:
        if self.late:
            report.line(self.late)
        self.late = "afterthought" if work.task and "afterthought" in work.task.description else ""
        return await super().run_round(work, report)


class SharesItsWord(Good):
    word = ""

    @asynccontextmanager
    async def opened(self, context: AgentContext) -> AsyncGenerator[AgentSession]:
        shared = self

        class Sharing(Session):
            async def say(self, word: str, work: Round, report: Report) -> Outcome:
                shared.word = word
                await trio.sleep(0.01)
                return Finished(text=shared.word)

        yield Sharing(context)


class WritesHome(Session):
    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        (Path.home() / ".good").write_text(word)
        return Finished(text=word)


class WritesIntoTheTown(Session):
    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        (self.context.root / "notes.txt").write_text(word)
        return Finished(text=word)


class WritesWhereItStands(Session):
    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        Path("notes.txt").write_text(word)
        return Finished(text=word)


class WantsAPrompt(Session):
    async def run_round(self, work: Round, report: Report) -> Outcome:
        if not work.prompt.strip():
            raise ValueError("no prompt")
        return await super().run_round(work, report)


class SpeaksLatin(Session):
    async def run_round(self, work: Round, report: Report) -> Outcome:
        work.prompt.encode("latin-1")
        return await super().run_round(work, report)


class TakesThrottledForFailed(Session):
    async def run_round(self, work: Round, report: Report) -> Outcome:
        outcome = await super().run_round(work, report)
        return Failed(reason="throttled") if isinstance(outcome, RateLimited) else outcome


class LocksOutWithoutAHint(Session):
    async def run_round(self, work: Round, report: Report) -> Outcome:
        outcome = await super().run_round(work, report)
        return Unauthorized(reason="no") if isinstance(outcome, Unauthorized) else outcome


class IsImpatient(Session):
    async def say(self, word: str, work: Round, report: Report) -> Outcome:
        began = time.perf_counter()
        report.line(word)
        if time.perf_counter() - began > 0.045:
            return Failed(reason="nobody listens")
        return Finished(text=word)


class Ponders(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        outcome = await super().run(command, work, report, script)
        if isinstance(outcome, Finished) and "many" in outcome.text:
            time.sleep(0.15)  # noqa: ASYNC251 - the very mistake
        return outcome


class HasANumberedAccount(Good):
    account = 7


class HasATokenForTools(Good):
    offers_town_tools = "no place for a name"


class WarnsInOneText(Good):
    def warnings(self) -> str:
        return "it bites"


class WarnsLater(Good):
    async def warnings(self) -> list[str]:
        return ["it bites"]


class ThinksBeforeItWarns(Good):
    def warnings(self) -> list[str]:
        time.sleep(0.15)
        return ["it bites"]


class KnowsNoSilence(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        return await super().run(command, replace(work, silence_s=None), report, script)


class TakesSilenceForSuccess(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        outcome = await super().run(command, work, report, script)
        return Finished() if outcome == Failed(reason="silence") else outcome


class SwallowsCancelled(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        try:
            return await super().run(command, work, report, script)
        except BaseException:
            return Finished(text="as far as I came")


class WorksElsewhere(Session):
    def directory(self, work: Round) -> Path:
        return self.context.state_directory


class PassesTheKernelsEnvironment(Session):
    def environment(self, work: Round) -> Mapping[str, str]:
        return os.environ


class AddsTheKernelsEnvironment(Session):
    def environment(self, work: Round) -> Mapping[str, str]:
        return {**os.environ, **work.environment}


class PutsThePromptIntoArguments(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        return await super().run(["sh", "-c", script.replace("exec ", "") + "\n:"] if script else command, work, report)


class PutsTheTaskIntoArguments(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        task = [work.task.description] if work.task else []
        words = ["sh", "-s", "--", *task] if script else command
        return await super().run(words, work, report, script.replace("exec ", ""))


class DropsMail(Session):
    def text(self, work: Round) -> str:
        return work.task.description if work.task else ""


class TakesAnyEndForSuccess(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        outcome = await super().run(command, work, report, script)
        return Finished() if isinstance(outcome, Failed) and "status" in outcome.reason else outcome


class InventsSessionIds(Session):
    async def run(self, command: list[str], work: Round, report: Report, script: str = "") -> Outcome:
        outcome = await super().run(command, work, report, script)
        if isinstance(outcome, Finished):
            return msgspec.structs.replace(outcome, session_id=str(uuid.uuid4()))
        return outcome


#: Promise -> what breaks it -> the scenarios that it takes beside `answer`.
BREAKERS: list[tuple[str, Any, str]] = [
    ("B1", KindOfTwoWords, ""),
    ("B2", StartsTooEarly, ""),
    ("B2", IsNoContextManager, ""),
    ("B3", LeavesFdInOpen, ""),
    ("B3", LeavesTaskInOpen, ""),
    ("B3", LeavesFileInOpen, ""),
    ("B4", GivesNone, ""),
    ("B4", RaisesInRound, ""),
    ("B4", GivesWrongType, ""),
    ("B4", SaysAnything, ""),
    ("B4", CostsNothingThatIsANumber, ""),
    ("B4", OwesTokens, ""),
    ("B5", ReportsBytes, ""),
    ("B5", ReportsNonsense, ""),
    ("B5", ReportsAfterTheEnd, ""),
    ("B6", RepeatsItself, ""),
    ("B6", RemembersTooMuch, ""),
    ("B7", LeavesFdInRound, ""),
    ("B8", HidesInOpen, ""),
    ("B8", LeavesFdWhenCancelledInOpen, ""),
    ("B9", HidesInRound, ""),
    ("B9", CannotGoOn, ""),
    ("B9", LeavesProcess, "work"),
    ("B9", SwallowsCancelled, "work"),
    ("B10", OnlyAsks, "work stubborn"),
    ("B11", KnowsNoTime, "work"),
    ("B11", TakesTimeoutForSuccess, "work"),
    ("B12", GivesNoHint, "missing_tool"),
    ("B12", TakesMissingForFailed, "missing_tool"),
    ("B13", TakesKilledForFailed, "killed"),
    ("B13", DropsStderr, "killed"),
    ("B14", ReadsAsciiOnly, "output"),
    ("B14", GivesSurrogates, "output"),
    ("B15", HandsLateOutputOn, "late_output"),
    ("B16", SharesItsWord, ""),
    ("B17", WritesHome, ""),
    ("B17", WritesIntoTheTown, ""),
    ("B17", WritesWhereItStands, ""),
    ("B18", WantsAPrompt, ""),
    ("B18", SpeaksLatin, ""),
    ("B19", TakesThrottledForFailed, "rate_limit login_error"),
    ("B20", LocksOutWithoutAHint, "rate_limit login_error"),
    ("B21", IsImpatient, ""),
    ("B22", Ponders, "output"),
    ("B23", HasANumberedAccount, ""),
    ("B23", HasATokenForTools, ""),
    ("B23", WarnsInOneText, ""),
    ("B23", WarnsLater, ""),
    ("B23", ThinksBeforeItWarns, ""),
    ("B24", KnowsNoSilence, "silent"),
    ("B24", TakesSilenceForSuccess, "silent"),
    ("B25", WorksElsewhere, "work"),
    ("B26", PassesTheKernelsEnvironment, "work"),
    ("B26", AddsTheKernelsEnvironment, "work"),
    ("B27", PutsThePromptIntoArguments, "work"),
    ("B27", PutsTheTaskIntoArguments, "work"),
    ("B28", DropsMail, ""),
    ("B29", TakesAnyEndForSuccess, "failing"),
    ("B30", InventsSessionIds, "output"),
]


@pytest.fixture(autouse=True)
def _nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    while LEAKED_FDS:
        close_fd(LEAKED_FDS[-1])
    while LEAKED_PROCESSES:
        process = LEAKED_PROCESSES.pop()
        process.kill()
        process.wait()


async def check(make: Any, scenarios: BackendScenarios, **options: Any) -> CheckReport:
    with trio.fail_after(DEADLINE_S):
        return await check_agent_backend(make, scenarios=scenarios, slack_s=SLACK_S, **options)


async def test_a_good_backend_keeps_every_promise() -> None:
    report = await check(Good, ALL)
    assert [result.status for result in report.results] == ["ok"] * len(PROMISES["backend"]), str(report)


@pytest.mark.parametrize(
    ("promise", "breaker", "names"), BREAKERS, ids=[f"{id}-{each.__name__}" for id, each, _ in BREAKERS]
)
async def test_a_broken_backend_breaks_exactly_this_promise(
    monkeypatch: pytest.MonkeyPatch, promise: str, breaker: Any, names: str
) -> None:
    if promise in ("B22", "B23"):
        monkeypatch.setattr(trial, "LONGEST_GAP_S", 0.1)  # so that the mistake need not take long

    def make() -> Any:
        made = breaker() if issubclass(breaker, Good) else Good()
        if issubclass(breaker, Session):
            vars(made)["session"] = breaker
        return made

    scenarios = BackendScenarios(**{name: getattr(ALL, name) for name in ["answer", *names.split()]})
    report = await check(make, scenarios)
    assert [result.promise.id for result in report.broken] == [promise], str(report)
    (result,) = report.broken
    assert result.detail


def test_every_promise_of_a_backend_has_something_that_breaks_it() -> None:
    assert [promise.id for promise in PROMISES["backend"]] == list(dict.fromkeys(id for id, _, _ in BREAKERS))
