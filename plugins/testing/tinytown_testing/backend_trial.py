"""One attempt at a promise of a backend: sessions on a bench, rounds in them, and an ear for what is reported.

Gives rounds as a kernel gives them. What it finds wrong in any round, of whatever promise, it raises as `Broken`.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import UnionType
from typing import Any

import msgspec
import trio
from tinytown.contracts import (
    Activity,
    AgentBackend,
    AgentSession,
    Diff,
    Finished,
    Outcome,
    Plan,
    Round,
    Said,
    ToolCall,
    Usage,
)
from tinytown.model.text import shown

from tinytown_testing.leaks import has_process, leftover_processes
from tinytown_testing.promises import Broken, NotApplicable
from tinytown_testing.sandbox import changed_environment
from tinytown_testing.scenarios import BackendScenarios, Scenario
from tinytown_testing.trial import Trial

GRACE_S = 0.3
LONG_S = 30.0  # for what nothing ends early
POLL_S = 0.01


def usage_problem(usage: Usage) -> str:
    """Why no round can have used that; empty if one can."""
    for name, value in msgspec.structs.asdict(usage).items():
        limit = 10**6 if name == "cost_usd" else 10**12
        is_number = isinstance(value, (int, float)) if name == "cost_usd" else type(value) is int
        if value is not None and not (is_number and 0 <= value <= limit):
            return f"{name} = {value!r}, expected a number from 0 to {limit:,}"
    return ""


class ReportRecorder:
    """A `Report` that keeps what was reported, and the problems of it; `answers` are given to questions, in turn."""

    def __init__(self, line_delay_s: float = 0.0) -> None:
        self.lines: list[str] = []
        self.used: list[Usage] = []
        self.activities: list[Activity] = []
        self.questions: list[tuple[str, tuple[str, ...]]] = []
        self.answers: list[str] = []
        self.problems: list[str] = []
        self.over = False
        self._line_delay_s = line_delay_s

    def line(self, text: str) -> None:
        self._expect("line", text, str)
        self.lines.append(str(text))
        if self._line_delay_s:
            time.sleep(self._line_delay_s)

    def usage(self, usage: Usage) -> None:
        self._expect("usage", usage, Usage)
        if isinstance(usage, Usage) and (  # pyright: ignore[reportUnnecessaryIsInstance] - of a stranger's plugin
            problem := usage_problem(usage)
        ):
            self.problems.append(f"report.usage() got {problem}")
        self.used.append(usage)

    def activity(self, activity: Activity) -> None:
        self._expect("activity", activity, Said | ToolCall | Plan | Diff)
        self.activities.append(activity)

    async def ask(self, question: str, options: Sequence[str] = (), *, timeout_s: float = 600.0) -> str | None:
        """The next of `answers`; None when there is none left."""
        self._expect("ask", question, str)
        self.questions.append((question, tuple(options)))
        await trio.lowlevel.checkpoint()
        return self.answers.pop(0) if self.answers else None

    def _expect(self, method: str, value: object, kind: type | UnionType) -> None:
        if not isinstance(value, kind):
            self.problems.append(f"report.{method}() got {type(value).__name__} {shown(repr(value))}")
        if self.over:
            self.problems.append(f"report.{method}({shown(repr(value))}) came after the round had ended")


@dataclass(slots=True)
class SessionTrial:
    """An open session and what is needed to give it rounds."""

    trial: BackendTrial
    session: AgentSession
    scenario: Scenario
    new_round: Callable[[Scenario, float | None, float | None, str], Round]

    async def run(
        self,
        scenario: Scenario | None = None,
        *,
        timeout_s: float | None = None,
        silence_s: float | None = None,
        line_delay_s: float = 0.0,
        mail: str = "",
    ) -> tuple[Outcome, ReportRecorder]:
        """A round in the situation (default: the session's); its outcome and what was reported of it."""
        scenario = scenario or self.scenario
        round_ = self.new_round(scenario, timeout_s, silence_s, mail)
        recorder = ReportRecorder(line_delay_s)
        limits_s = [limit_s + GRACE_S for limit_s in (timeout_s, silence_s) if limit_s is not None]
        bound_s = min(limits_s, default=LONG_S)
        outcome = await self.trial.within("the round", bound_s, lambda: _run_round(self.session, round_, recorder))
        return checked_outcome(outcome), recorder

    async def answer(self) -> tuple[str, Outcome, ReportRecorder]:
        """A round that is about a word of its own; Broken if it ends with another."""
        word, scenario = self.trial.new_answer()
        outcome, recorder = await self.run(scenario)
        if self.trial.scenarios.answer is not None and not (isinstance(outcome, Finished) and word in outcome.text):
            raise Broken(f"the task was to answer {word!r}, the outcome is {outcome_text(outcome)}")
        return word, outcome, recorder

    async def cancel(
        self,
        scenario: Scenario,
        *,
        at_step: int | None = None,
        under_way: Callable[[Round, ReportRecorder], bool] | None = None,
        mail: str = "",
    ) -> bool:
        """A round that is cancelled at a step, or once it is under way; whether it ended by that.

        Broken if it or a process of it continues.
        """
        round_, recorder = self.new_round(scenario, None, None, mail), ReportRecorder()

        async def until_under_way() -> None:
            assert under_way is not None
            while not under_way(round_, recorder):  # noqa: ASYNC110 - a process of somebody else's rings no bell
                await trio.sleep(POLL_S)

        cancelled = await self.trial.cancel_and_wait(
            "the round",
            lambda: _run_round(self.session, round_, recorder),
            grace_s=GRACE_S,
            at_step=at_step,
            when=until_under_way if under_way else None,
        )
        left = await leftover_processes("TINYTOWN_ROUND_ID", round_.round_id)
        if left:
            raise Broken(f"a cancelled round left {', '.join(left)}")
        return cancelled


@dataclass(slots=True)
class BackendTrial(Trial):
    """One attempt at one promise of a backend."""

    make: Callable[[], AgentBackend]
    scenarios: BackendScenarios
    work_seen: object = None  # what `backend_surroundings` has seen of a round at work

    @asynccontextmanager
    async def session(
        self, scenario: Scenario | None = None, *, name: str = "ada", backend: AgentBackend | None = None
    ) -> AsyncGenerator[SessionTrial]:
        """A session of a fresh backend (or of `backend`) for the agent `name`, in the situation."""
        scenario = scenario or Scenario()
        made = backend or (scenario.make or self.make)()
        agent = self.sandbox.agent(name, cli=str(made.kind))

        def new_round(scenario: Scenario, timeout_s: float | None, silence_s: float | None, mail: str) -> Round:
            limits: dict[str, Any] = {"timeout_s": timeout_s, "silence_s": silence_s, "grace_s": GRACE_S}
            return self.sandbox.round(agent, scenario.task, environment=scenario.environment, mail=mail, **limits)

        with changed_environment(scenario.environment):
            async with made.open(self.sandbox.context(agent)) as session:
                yield SessionTrial(self, session, scenario, new_round)

    def new_answer(self) -> tuple[str, Scenario]:
        """A fresh word, and the round that is answered with it."""
        word = f"w{os.urandom(4).hex()}"
        return word, (self.scenarios.answer or _plain)(word)

    def given(self, name: str) -> Scenario:
        """A scenario of the maker's. Raises: NotApplicable when there is none."""
        scenario = getattr(self.scenarios, name)
        if isinstance(scenario, Scenario):
            return scenario
        raise NotApplicable(scenario or f"no scenario {name!r} was given")


def checked_outcome(outcome: object) -> Outcome:
    """The outcome itself. Broken unless it is one, of the right types and storable as UTF-8."""
    if not isinstance(outcome, Outcome):
        raise Broken(f"expected an outcome, got {type(outcome).__name__} {shown(repr(outcome))}")
    try:
        msgspec.json.decode(msgspec.json.encode(outcome), type=Outcome)
    except (msgspec.ValidationError, UnicodeError, TypeError, OverflowError) as error:
        raise Broken(f"the outcome {shown(repr(outcome))} cannot be stored: {error}") from error
    usage = getattr(outcome, "usage", None)
    if usage is not None and (problem := usage_problem(usage)):
        raise Broken(f"the usage of the outcome has {problem}")
    return outcome


def outcome_text(outcome: Outcome) -> str:
    """An outcome as it is in what was seen."""
    return shown(repr(outcome), 400)


def started_or_after(seconds: float) -> Callable[[Round, ReportRecorder], bool]:
    """Whether a round has a process or has reported something; at the latest after some time."""
    due = trio.current_time() + seconds

    def under_way(round_: Round, recorder: ReportRecorder) -> bool:
        detail = bool(recorder.lines) or has_process("TINYTOWN_ROUND_ID", round_.round_id)
        return detail or trio.current_time() > due

    return under_way


async def _run_round(session: AgentSession, round_: Round, recorder: ReportRecorder) -> object:
    try:
        return await session.run_round(round_, recorder)
    finally:
        recorder.over = True


def _plain(word: str) -> Scenario:
    return Scenario(task=f"echo {word}")
