"""Tasks that start from a copy of the session that another agent has: what they carry, and which agents can do them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tinytown.errors import Refused
from tinytown.model.agents import Agent

if TYPE_CHECKING:
    from tinytown_cli.client import TownClient

TABLE = "fork"


def fork_table(agent: Agent) -> dict[str, Any]:
    """The table beside a task that starts from a copy of the session in which the agent's last round has ended, by its name.

    Raises: Refused if the agent has no session.
    """
    if not agent.session_id:
        raise Refused(
            f"{agent.name} has no session: none of its rounds has ended in one",
            hint=f"wait for its first round with: tt wait {agent.name}",
            code="no_session",
        )
    return {TABLE: {"agent": agent.name, "session_id": agent.session_id}}


def check_forks(town: TownClient, source: Agent, agents: Iterable[Agent]) -> None:
    """Check that these agents can fork the session of another. Of a town on another machine only its kernels know.

    What is not known here fails in its round. Raises: Refused that names the kinds that can.
    """
    if town.is_remote:
        return
    from tinytown_cli.contracts import ForksSessions
    from tinytown_cli.plugin_commands import load_town_plugins  # late: it imports every plugin

    backends = load_town_plugins(town.root, town.config, strict=False).backends
    # Kinds of one account are those of one CLI.
    accounts = {
        kind: backend.account or kind
        for kind, backend in sorted(backends.items())
        if isinstance(backend, ForksSessions) and backend.forks_sessions
    }
    for agent in [source, *agents]:
        if agent.cli in backends and agent.cli not in accounts:
            raise Refused(
                f"{agent.name} is of the kind {agent.cli}, whose sessions cannot be forked",
                hint=f"kinds that can: {', '.join(accounts) or 'none'}",
                code="no_forks",
            )
        if source.cli in accounts and accounts.get(agent.cli) != accounts[source.cli]:
            same = [kind for kind in accounts if accounts[kind] == accounts[source.cli]]
            raise Refused(
                f"{agent.name} is of the kind {agent.cli}: only a {source.cli} can fork a session of {source.name}",
                hint=f"assign it to an agent of the kind {' or '.join(same)}",
                code="no_forks",
            )
