"""An agent that answers with the text of its task, without starting a process. The tutorial's example."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from math import inf
from typing import Annotated

import msgspec
import trio
from tinytown.contracts import AgentBackend, AgentContext, AgentSession, Failed, Finished, Outcome, Report, Round
from tinytown.hookspecs import hookimpl
from tinytown.process import ProcessSupervisor

TINYTOWN_HOOK_API = 2


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.echo]``: what an answer begins with, how long one takes, and how often a new session fails first."""

    prefix: str = "echo: "
    delay_s: Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000_000)] = 0.0
    fail_first: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)] = 0


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    return Settings


@hookimpl
def tinytown_agent_backends(settings: Settings) -> list[AgentBackend]:
    return [EchoBackend(settings)]


class EchoBackend(AgentBackend):
    """Agents of the kind `echo`."""

    kind = "echo"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncGenerator[EchoSession]:
        yield EchoSession(self._settings, context.processes)


class EchoSession(AgentSession):
    """One agent's echo."""

    def __init__(self, settings: Settings, processes: ProcessSupervisor) -> None:
        self._settings = settings
        self._clock = processes.clock  # no time passes while the town is frozen
        self._failures_left = settings.fail_first

    async def run_round(self, work: Round, report: Report) -> Outcome:
        """Answer with the text of the task, or of the questions where there is none."""
        # Until it answers it says nothing, so the shorter of the two limits ends it.
        limit_s = min(inf if each is None else each for each in (work.timeout_s, work.silence_s))
        with self._clock.move_on_after(limit_s) as limit, self._clock.move_on_after(self._settings.delay_s):
            await trio.sleep_forever()
        if limit.cancelled_caught:
            return Failed(reason=f"no answer within {limit_s:g} s, the limit of a round")
        if self._failures_left:
            self._failures_left -= 1
            return Failed(reason=f"fail_first: {self._failures_left} more failures to come")
        questions = [message.text for message in work.messages if message.category in ("task", "query")]
        answer = self._settings.prefix + (work.task.description if work.task else "\n".join(questions))
        report.line(answer)
        return Finished(text=answer)
