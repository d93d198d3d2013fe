"""Agents of the kind `pipe`: a program that reads its prompt from standard input."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
from tinytown.contracts import (
    AgentBackend,
    AgentContext,
    AgentSession,
    Failed,
    Finished,
    Lost,
    Outcome,
    Report,
    Round,
    Unavailable,
)
from tinytown.errors import ProcessFailed
from tinytown.hookspecs import hookimpl

TINYTOWN_HOOK_API = 2


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    command: tuple[str, ...] = ("cat",)


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    return Settings


@hookimpl
def tinytown_agent_backends(settings: Settings) -> list[AgentBackend]:
    return [Pipe(settings.command)]


class Pipe(AgentBackend):
    kind = "pipe"

    def __init__(self, command: tuple[str, ...]) -> None:
        self.command = command

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncGenerator[AgentSession]:
        yield PipeSession(self.command, context)


class PipeSession(AgentSession):
    def __init__(self, command: tuple[str, ...], context: AgentContext) -> None:
        self.command, self.processes = command, context.processes

    async def run_round(self, work: Round, report: Report) -> Outcome:
        try:
            ended = await self.processes.run(
                self.command,
                stdin=work.prompt.encode(),
                cwd=work.directory,
                env=work.environment,
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
            return Lost(reason=f"signal {ended.signal}", stderr_tail=ended.stderr_tail)
        return Finished(text=ended.stdout_tail) if ended.status == 0 else Failed(reason=f"status {ended.status}")


def scenarios(sandbox: object) -> dict[str, object]:
    from tinytown_testing import BackendScenarios, Scenario

    def script(text: str, marker: str = "") -> Scenario:
        return Scenario(make=lambda: Pipe(("sh", "-c", text)), marker=marker)

    return {
        "backend pipe": BackendScenarios(
            answer=lambda word: Scenario(task=word),
            work=script("exec sleep 60"),
            stubborn=script("trap '' TERM INT; echo ready; while :; do sleep 1; done", "ready"),
            killed=script("echo last words >&2; kill -9 $$", "last words"),
            missing_tool=Scenario(make=lambda: Pipe(("no-such-tool",))),
            output=lambda path: Scenario(make=lambda: Pipe(("cat", str(path)))),
            late_output=script("(sleep 0.3; echo too late) & echo done", "too late"),
            rate_limit="it has no account",
            login_error="it has no account",
            silent=script("exec sleep 60"),
            failing=script("exit 1"),
        )
    }
