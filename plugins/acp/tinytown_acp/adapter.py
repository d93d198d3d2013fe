"""How an agent of the Agent Client Protocol is started. What is said then is `conversation`'s."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tinytown_adapters import (
    CliAdapter,
    CliSessionRecord,
    CommandSpec,
    RunCli,
    RunRequest,
    RunState,
    SessionNotForked,
    SessionSource,
    TakenSession,
)

from tinytown_acp.conversation import Conversation
from tinytown_acp.known import KnownAgent
from tinytown_acp.settings import AcpSettings


class AcpAdapter(CliAdapter[AcpSettings]):
    """One kind of agent that speaks the protocol on its standard input and output."""

    sessions_stay_in_directory: ClassVar[bool] = True
    #: The agent's own mode in which it works, unless the settings name another.
    mode: ClassVar[str] = ""
    #: Variables that it is started with.
    environment: ClassVar[Mapping[str, str]] = {}

    def command_spec(self, request: RunRequest[AcpSettings]) -> CommandSpec:
        return CommandSpec(arguments=request.settings.extra_args, environment=self.environment)

    async def take_session(self, source: SessionSource, request: RunRequest[AcpSettings], run: RunCli) -> TakenSession:
        # Agents that fork a session continue it where it was made, whatever directory they are given.
        made_in = source.directory
        if made_in != str(request.directory):
            where = f"in {made_in}" if made_in else "in a directory that is not known any more"
            raise SessionNotForked(
                f"the session of {source.agent} was made {where}: {self.title} forks it there only, not in {request.directory}"
            )
        return TakenSession(CliSessionRecord(id=source.session_id, agent_id="", directory=""))

    def reader(self, state: RunState, request: RunRequest[AcpSettings]) -> Conversation:
        return Conversation(state, request, mode=request.settings.mode or self.mode)


def adapter_of(kind: str, known: KnownAgent) -> AcpAdapter:
    """The adapter of one kind: of a class of its own, because an adapter's data are its class's."""
    data = {
        "plugin": f"acp.agents.{kind}",
        "kind": kind,
        "title": known.title,
        "command": known.command,
        "install": known.install,
        "login": known.login,
        "login_variables": known.login_variables,
        "own_variables": known.own_variables,
        "state_paths": known.state_paths,
        "mode": known.mode,
        "environment": known.environment,
        "forks_sessions": known.forks_sessions,
    }
    made: AcpAdapter = type("AcpAdapter", (AcpAdapter,), data)()
    return made
