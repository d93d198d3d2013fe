"""A plugin for the kernel's tests: it offers whatever the test in progress has put on the table."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tinytown.contracts import AgentBackend, AgentContext, Finished, Outcome, Report, Round
from tinytown.hookspecs import hookimpl
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from trio_util import AsyncValue

TINYTOWN_HOOK_API = 2

Script = Callable[[Round, Report], Awaitable[Any]]


async def answer(work: Round, report: Report) -> Outcome:
    """What a scripted agent does unless told otherwise."""
    return Finished(text=f"did {work.task.description}" if work.task else "read the mail")


class Scripted(AgentBackend):
    """Agents of the kind `scripted` do what `table.script` says at that moment."""

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


class ScriptedSession:
    async def run_round(self, work: Round, report: Report) -> Outcome:
        table.rounds.append(work)
        table.count.value = len(table.rounds)
        outcome: Outcome = await table.script(work, report)
        return outcome


@dataclass
class Table:
    """What is offered. `rounds` are those that scripted agents were given."""

    script: Script = answer
    rounds: list[Round] = field(default_factory=list[Round])
    count: AsyncValue[int] = field(default_factory=lambda: AsyncValue(0))
    backends: list[Any] = field(default_factory=lambda: [Scripted()])
    sinks: list[Any] = field(default_factory=list[Any])
    workspaces: list[Any] = field(default_factory=list[Any])
    gates: list[Any] = field(default_factory=list[Any])
    services: list[Any] = field(default_factory=list[Any])
    sections: Callable[[Agent, Task | None], Sequence[str]] = lambda agent, task: ()
    choose: Callable[[Task, Sequence[Agent]], str | None] = lambda task, agents: None

    async def begun(self, rounds: int) -> None:
        """Wait until so many rounds have begun."""
        await self.count.wait_value(lambda count: count >= rounds)


table = Table()


def lay_table() -> Table:
    """A fresh table, for the next test."""
    global table
    table = Table()
    return table


@hookimpl
def tinytown_agent_backends() -> list[Any]:
    return table.backends


@hookimpl
def tinytown_status_sinks() -> list[Any]:
    return table.sinks


@hookimpl
def tinytown_workspaces() -> list[Any]:
    return table.workspaces


@hookimpl
def tinytown_gates() -> list[Any]:
    return table.gates


@hookimpl
def tinytown_services() -> list[Any]:
    return table.services


@hookimpl
def tinytown_prompt_sections(agent: Agent, task: Task | None, data: Mapping[str, Any]) -> list[str]:
    return [*table.sections(agent, task), *map(str, data.values())]


@hookimpl
def tinytown_choose_agent(task: Task, agents: Sequence[Agent]) -> str | None:
    return table.choose(task, agents)
