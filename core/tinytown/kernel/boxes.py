"""Which agents' processes run in a box, and what a box leaves within their reach. Knows no sandbox by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import trio

from tinytown.concurrency import plugin_code
from tinytown.config import CONFIG_FILE
from tinytown.contracts import AgentBackend, AgentContext, Box, Sandbox
from tinytown.errors import BackendUnavailable, ProcessFailed, TinytownError
from tinytown.identity import ROUND_URL_VARIABLE
from tinytown.kernel.context import KernelContext
from tinytown.kernel.outcome_policy import described
from tinytown.model.agents import Agent
from tinytown.packages import install_hint
from tinytown.process.supervisor import WrappedProcesses
from tinytown.redis.url import parse_url
from tinytown.state import state_directory, state_home


async def agent_context(context: KernelContext, backend: AgentBackend, agent: Agent) -> AgentContext:
    """What a session of the agent is opened with. Raises: BackendUnavailable if nothing enforces its permissions."""
    config, root = context.town.config, context.town.root
    opened = AgentContext(
        agent=agent,
        config=config,
        root=root,
        state_directory=agent_directory(root, agent.name),
        processes=context.processes,
        permissions=backend.permissions_of(agent, config.permissions),
    )
    problems: list[str] = []
    for sandbox in context.plugins.sandboxes if opened.permissions != "full" else ():
        what, problem = f"sandbox {sandbox.name}", ""
        try:
            with context.call(sandbox):
                problem = await trio.to_thread.run_sync(sandbox.problem)
        except Exception as error:
            problem = f"{what} failed: {described(error)}"
            await context.report_fault(sandbox, what, error)
        if problem:
            problems.append(problem)
        else:
            return _boxed(opened, context, backend, sandbox)
    if opened.permissions in ("full", *backend.own_profiles):
        return opened
    raise BackendUnavailable(
        f"nothing on this machine enforces the permissions {opened.permissions!r} of {agent.name}: "
        + ("; ".join(problems) or "no sandbox is installed"),
        hint=f'{"" if problems else install_hint("parts", "boxes") + ", or "}set permissions = "full" to run it unconfined',
    )


def _boxed(opened: AgentContext, context: KernelContext, backend: AgentBackend, sandbox: Sandbox) -> AgentContext:
    def wrap(command: Sequence[str], workspace: Path, environment: Mapping[str, str]) -> Sequence[str]:
        others = [path for agent, path in context.workspaces.items() if agent != opened.agent.id]
        url = environment.get(ROUND_URL_VARIABLE)
        server = parse_url(url).path if url else ""  # never the town's own socket, at which everything is allowed
        # Transcripts of its rounds lie in `rounds`, and are not the agent's own.
        hidden = [state_home(), state_directory(opened.root), opened.state_directory / "rounds"]
        box = Box(
            profile="write" if opened.permissions == "write" else "read",
            workspace=workspace,
            writable=(opened.state_directory, *backend.state_paths),
            read_only=(opened.root / CONFIG_FILE,),
            hidden=(*hidden, *(path for path in others if not workspace.is_relative_to(path))),
            sockets=(Path(server),) if server else (),
        )
        try:
            with plugin_code():
                return sandbox.wrap(command, box=box, environment=environment)
        except TinytownError:
            raise
        except Exception as error:
            context.plugins.mark_faulty(context.plugins.owner(sandbox), f"sandbox {sandbox.name}", error)
            raise ProcessFailed(f"sandbox {sandbox.name} failed: {described(error)}") from error

    return replace(opened, processes=WrappedProcesses(context.processes, wrap), boxed=True)


def log_path(root: Path, agent: str) -> Path:
    """The log of an agent's output."""
    return state_directory(root) / "logs" / f"{agent}.log"


def agent_directory(root: Path, agent: str) -> Path:
    """The agent's own directory, created if missing (mode 0700)."""
    directory = state_directory(root) / "agents" / agent
    for path in (directory.parent, directory):  # `parents=True` would give the parent another mode
        path.mkdir(mode=0o700, exist_ok=True)
    return directory
