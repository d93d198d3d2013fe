"""The plugin `scripted`, for tests with a kernel: agents whose rounds a test scripts, and whatever else it offers.

Installed for one test by the fixture `scripted_backend`; `current` is what the hooks offer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import trio
from tinytown.contracts import (
    AgentBackend,
    AgentContext,
    AgentSession,
    FailureHandler,
    Finished,
    Gate,
    Outcome,
    QuestionHandler,
    Report,
    Round,
    RoundAccess,
    RoundObserver,
    Sandbox,
    Service,
    Workspace,
)
from tinytown.hookspecs import hookimpl
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown_sinks import StatusSink

from tinytown_testing.installed import install_distribution

TINYTOWN_HOOK_API = 2

Script = Callable[[Round, Report], Awaitable[Any]]


async def default_script(work: Round, report: Report) -> Outcome:
    """Finishes at once; the text names the task."""
    return Finished(text=f"did {work.task.description}" if work.task else "read the mail")


def answers(*outcomes: Any) -> Script:
    """A script that gives one outcome after the other, the last one again and again.

    An exception is raised, a callable is called with the round and the report and awaited.
    """
    left = list(outcomes)

    async def script(work: Round, report: Report) -> Outcome:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, BaseException):
            raise outcome
        result: Outcome = await cast("Script", outcome)(work, report) if callable(outcome) else outcome
        return result

    return script


class Scripted(AgentBackend):
    """Agents of the kind `scripted` do what `ScriptedBackend.script` does at that moment."""

    def __init__(self, kind: str = "scripted") -> None:
        self.kind = kind
        self.opened: list[str] = []
        self.closed: list[str] = []

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncGenerator[ScriptedSession]:
        self.opened.append(context.agent.name)
        try:
            yield ScriptedSession()
        finally:
            self.closed.append(context.agent.name)


class ScriptedSession(AgentSession):
    async def run_round(self, work: Round, report: Report) -> Outcome:
        offered = current
        offered.rounds.append(work)
        offered.round_begun()
        outcome: Outcome = await offered.script(work, report)
        return outcome

    async def deliver(self, text: str) -> bool:
        return await current.deliver(text)


async def deliver_nothing(text: str) -> bool:
    """What sessions do with mail in the middle of a round that take none."""
    return False


@dataclass
class ScriptedBackend:
    """What the plugin offers. `script` runs each round, `deliver` takes mail in the middle of one; `rounds` are those that
    were begun, oldest first."""

    script: Script = default_script
    deliver: Callable[[str], Awaitable[bool]] = deliver_nothing
    rounds: list[Round] = field(default_factory=list[Round])
    backends: list[AgentBackend] = field(default_factory=lambda: [Scripted()])
    sinks: list[StatusSink] = field(default_factory=list[StatusSink])
    workspaces: list[Workspace] = field(default_factory=list[Workspace])
    gates: list[Gate] = field(default_factory=list[Gate])
    services: list[Service] = field(default_factory=list[Service])
    sandboxes: list[Sandbox] = field(default_factory=list[Sandbox])
    round_access: list[RoundAccess] = field(default_factory=list[RoundAccess])
    round_observers: list[RoundObserver] = field(default_factory=list[RoundObserver])
    question_handlers: list[QuestionHandler] = field(default_factory=list[QuestionHandler])
    failure_handlers: list[FailureHandler] = field(default_factory=list[FailureHandler])
    environment: Callable[[Agent, Task | None], Mapping[str, str]] = lambda agent, task: {}
    sections: Callable[[Agent, Task | None], Sequence[str]] = lambda agent, task: ()
    choose: Callable[[Task, Sequence[Agent]], str | None] = lambda task, agents: None
    _begun: list[tuple[int, trio.Event]] = field(default_factory=list[tuple[int, trio.Event]])

    async def wait_for_rounds(self, count: int) -> None:
        """Return once `count` rounds have begun."""
        if len(self.rounds) < count:
            self._begun.append((count, trio.Event()))
            await self._begun[-1][1].wait()

    def round_begun(self) -> None:
        for count, event in self._begun:
            if len(self.rounds) >= count:
                event.set()


#: What the hooks offer: that of the test in progress.
current = ScriptedBackend()


def install(directory: Path) -> ScriptedBackend:
    """Write what makes `directory`, once it is on the path, have the plugin installed. What it offers is empty again."""
    global current
    install_distribution(directory, "tinytown-scripted", f"[tinytown]\nscripted = {__name__}\n")
    current = ScriptedBackend()
    return current


@hookimpl
def tinytown_agent_backends() -> list[AgentBackend]:
    return current.backends


@hookimpl
def tinytown_status_sinks() -> list[StatusSink]:
    return current.sinks


@hookimpl
def tinytown_workspaces() -> list[Workspace]:
    return current.workspaces


@hookimpl
def tinytown_gates() -> list[Gate]:
    return current.gates


@hookimpl
def tinytown_services() -> list[Service]:
    return current.services


@hookimpl(tryfirst=True)
def tinytown_sandboxes() -> list[Sandbox]:
    return current.sandboxes


@hookimpl
def tinytown_question_handlers() -> list[QuestionHandler]:
    return current.question_handlers


@hookimpl
def tinytown_failure_handlers() -> list[FailureHandler]:
    return current.failure_handlers


@hookimpl
def tinytown_round_observers() -> list[RoundObserver]:
    return current.round_observers


@hookimpl(tryfirst=True)
def tinytown_round_access() -> list[RoundAccess]:
    return current.round_access


@hookimpl
def tinytown_prompt_sections(agent: Agent, task: Task | None, data: Mapping[str, Any]) -> list[str]:
    return [*current.sections(agent, task), *map(str, data.values())]


@hookimpl
def tinytown_round_environment(agent: Agent, task: Task | None) -> Mapping[str, str]:
    return current.environment(agent, task)


@hookimpl
def tinytown_choose_agent(task: Task, agents: Sequence[Agent]) -> str | None:
    return current.choose(task, agents)
