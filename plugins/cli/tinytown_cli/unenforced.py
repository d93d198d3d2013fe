"""Which kinds of agents cannot start on this machine, because nothing here enforces their permissions."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tinytown.model.agents import Agent
from tinytown.model.text import shown
from tinytown.packages import install_hint

if TYPE_CHECKING:
    from tinytown.config import Config
    from tinytown.contracts import AgentBackend, Sandbox
    from tinytown.plugin import Plugins


def unenforced_kinds(plugins: Plugins, config: Config) -> dict[str, str]:
    """Kind of agents -> why its permissions cannot be enforced here, and what to do; only kinds of which that is so."""
    unenforced = {
        kind: permissions
        for kind, backend in sorted(plugins.backends.items())
        if (permissions := _permissions_of(kind, backend, config)) not in ("full", *backend.own_profiles)
    }
    if not unenforced:
        return {}
    problems = [_problem(sandbox) for sandbox in plugins.sandboxes]
    if not all(problems):  # one of them works, and is used
        return {}
    why = "; ".join(problems) or f"no sandbox is installed: {install_hint('parts', 'boxes')}"
    return {
        kind: f'nothing on this machine enforces permissions = "{permissions}": {why}'
        for kind, permissions in unenforced.items()
    }


def _permissions_of(kind: str, backend: AgentBackend, config: Config) -> str:
    with suppress(Exception):  # a plugin's code may raise anything; its agents say so when they start
        return backend.permissions_of(Agent(id="new", name="new", cli=kind), config.permissions)
    return "full"


def _problem(sandbox: Sandbox) -> str:
    try:
        return sandbox.problem()
    except Exception as error:  # as above
        return f"sandbox {sandbox.name} failed: {shown(repr(error), 200)}"
