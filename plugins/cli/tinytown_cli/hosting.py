"""Why no kernel runs an agent, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tinytown.model.agents import Agent
from tinytown.model.results import Host
from tinytown.packages import install_hint


class HostBlocker(NamedTuple):
    """Why no kernel runs an agent: `code` for programs, `text` for people, and what to do about it."""

    code: str
    text: str
    fix: str


def host_blocker(agent: Agent, hosts: Sequence[Host], changed_since_start: str) -> HostBlocker | None:
    """Why none of these kernels can run the agent; None if one can, be it full at the moment.

    `changed_since_start` is what this machine's kernel has not taken up, in words.
    """
    if not hosts:
        return HostBlocker("no_kernel", "no kernel is running", "tt start --background")
    with_kind = [host for host in hosts if agent.cli in host.backends]
    if not with_kind and changed_since_start:
        text = f"the kernel started before the kind {agent.cli} existed: {changed_since_start} since then"
        return HostBlocker("no_backend", text, "tt reload")
    if not with_kind:
        names = ", ".join(sorted({host.name for host in hosts}))
        return HostBlocker(
            "no_backend",
            f"no kernel has a backend of kind {agent.cli} (kernels: {names})",
            f"install its plugin there ({install_hint('kinds', agent.cli, 'see tt plugins')}) and tt reload",
        )
    if not fitting_hosts(agent, with_kind):
        return HostBlocker(
            "no_label",
            f"no kernel with kind {agent.cli} has all of its labels: {', '.join(agent.labels)}",
            "tt hosts lists labels; set [host] labels or TINYTOWN_HOST_LABELS to add some",
        )
    return None


def fitting_hosts(agent: Agent, hosts: Sequence[Host]) -> list[Host]:
    """Those of the kernels that have its kind and all of its labels."""
    return [host for host in hosts if agent.cli in host.backends and set(agent.labels) <= set(host.labels)]
