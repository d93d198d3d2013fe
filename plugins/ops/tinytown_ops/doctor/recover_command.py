"""``tt recover``: what crashed or is stuck in a town, and what happens to it.

Kernels do all of this by themselves: each sweeps when it starts and with every heartbeat. This command shows it, and, with
``--now``, sweeps a town whose last kernel is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from tinytown.kernel import running_kernel
from tinytown.model.agents import Agent
from tinytown.model.results import Host
from tinytown.model.text import counted
from tinytown.process import find_orphans, sweep_orphans
from tinytown_cli import administration
from tinytown_cli.caller import caller_in
from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand

from tinytown_ops.explain.leases import lease_left


@click.command(
    cls=TownCommand,
    examples=["tt recover", "tt recover --now"],
    scope="town.read",
    option_scopes={"now": "agent.manage"},
)
@click.option("--now", is_flag=True, help="Do now what the next sweep of a kernel does.")
@pass_cli_context
def recover(context: CliContext, now: bool) -> None:
    """Show kernels, agents and processes that crashed or are stuck, and what happens to what they hold.

    Rarely needed: recovery is automatic. --now does it without waiting for the next kernel.
    """
    from tinytown.kernel import is_alive, machine_id, run_directory  # late: they come with trio

    with context.open_town() as town:
        hosts, status = town.run_all([town.operations.hosts(), town.operations.status()])
        now_ms, root = town.now_ms(), town.root
        here = [host for host in hosts if host.machine == machine_id() and host.root == str(root)]
        dead = {host.id for host in here if not is_alive(host)}
        is_served = running_kernel(root) is not None
        orphans = [] if is_served else find_orphans(run_directory(root), town_root=root)
        if now:
            caller_in(root).refuse_agents("cannot sweep the town", "send the supervisor a message")
            _sweep(town, set() if is_served else dead, run_directory(root), is_served=is_served)
    shape = {
        "swept": now,
        "hosts": [_host(host, host.id in dead, now_ms) for host in hosts],
        "agents": [_agent(agent) for agent in status.agents if _is_stuck(agent)],
        "processes": [{"pid": orphan.pid, "name": orphan.name, "run": orphan.round_id} for orphan in orphans],
        "dead_letters": status.dead,
    }
    context.emit(shape, _lines(shape, is_served=is_served))


def _sweep(town: TownClient, dead: set[str], run_dir: Path, *, is_served: bool) -> None:
    """Release what lost kernels hold; where no kernel is running, end the processes that earlier ones left behind."""
    if not is_served:
        from tinytown.kernel import kernel_lock  # while it is held, no kernel starts that the sweep could hit

        with kernel_lock(town.root):
            sweep_orphans(run_dir, town_root=town.root)
            for host in dead:
                town.run(town.operations.deregister_host(host, reason="its kernel was killed"))
    town.run(administration.sweep(town.operations.keys))


def _host(host: Host, dead: bool, now_ms: int) -> dict[str, Any]:
    left_s = lease_left(host, now_ms)
    return {
        "id": host.id,
        "name": host.name,
        "pid": host.pid,
        "agents": host.agents,
        "lease_left_s": round(left_s, 1),
        "state": "lost" if left_s <= 0 else "killed" if dead else "alive",
    }


def _is_stuck(agent: Agent) -> bool:
    """Whether it is in error, or should run and is held by no kernel. A suspended agent is not stuck."""
    is_waiting = agent.desired_state != "stopped" and not agent.host and not agent.asleep
    return agent.state == "error" or is_waiting


def _agent(agent: Agent) -> dict[str, Any]:
    return {"agent": agent.name, "state": agent.state, "reason": agent.reason, "since": agent.since, "host": agent.host}


_OUTCOMES = {
    "alive": "running",
    "killed": "crashed; the next kernel started here releases its agents at once, any other one when its lease expires",
    "lost": "lost; the next heartbeat of another kernel releases its agents",
}


def _lines(shape: dict[str, Any], *, is_served: bool) -> Sequence[str]:
    lines = [
        f"kernel on {host['name']}, process {host['pid']}, {counted(host['agents'], 'agent')}, "
        f"lease {host['lease_left_s']:g} s: "
        + ("its agents are released" if shape["swept"] and host["state"] != "alive" else _OUTCOMES[host["state"]])
        for host in shape["hosts"]
    ]
    lines += [f"{agent['agent']} is {agent['state']}: {agent['reason']}" for agent in shape["agents"]]
    outcome = "was ended" if shape["swept"] else "is ended when a kernel starts"
    lines += [
        f"process {orphan['pid']} ({orphan['name']}) of an earlier kernel {outcome}" for orphan in shape["processes"]
    ]
    if shape["dead_letters"]:
        lines.append(f"{counted(shape['dead_letters'], 'dead letter')}: tt dead list")
    if not is_served and not any(host["state"] == "alive" for host in shape["hosts"]):
        lines.append("no kernel is running: tt start --background")
    return lines or ["nothing to recover"]
