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
    Finished,
    Gate,
    Outcome,
    Report,
    Round,
    Service,
    StatusSink,
    Workspace,
)
from tinytown.hookspecs import hookimpl
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task

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


@dataclass
class ScriptedBackend:
    """What the plugin offers. `script` runs each round; `rounds` are those that were begun, oldest first."""

    script: Script = default_script
    rounds: list[Round] = field(default_factory=list[Round])
    backends: list[AgentBackend] = field(default_factory=lambda: [Scripted()])
    sinks: list[StatusSink] = field(default_factory=list[StatusSink])
    workspaces: list[Workspace] = field(default_factory=list[Workspace])
    gates: list[Gate] = field(default_factory=list[Gate])
    services: list[Service] = field(default_factory=list[Service])
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
    metadata = directory / "tinytown_scripted-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tinytown-scripted\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[tinytown]\nscripted = {__name__}\n")
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


@hookimpl
def tinytown_prompt_sections(agent: Agent, task: Task | None, data: Mapping[str, Any]) -> list[str]:
    return [*current.sections(agent, task), *map(str, data.values())]


@hookimpl
def tinytown_choose_agent(task: Task, agents: Sequence[Agent]) -> str | None:
    return current.choose(task, agents)
