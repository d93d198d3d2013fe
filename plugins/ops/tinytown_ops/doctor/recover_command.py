"""``tt recover``: what is dead or stuck in a town, and what becomes of it.

Kernels do all of this by themselves: each sweeps when it starts and whenever it renews its lease. This is for people who want
to look, and, with ``--now``, for towns whose last kernel is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from tinytown.client import TownClient
from tinytown.identity import caller_in
from tinytown.kernel import running_kernel
from tinytown.model.agents import Agent
from tinytown.model.results import Host
from tinytown.model.text import counted
from tinytown.model.time import parse_rfc3339
from tinytown.process import find_orphans, sweep_orphans
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand


@click.command(cls=TownCommand, examples=["tt recover", "tt recover --now"])
@click.option("--now", is_flag=True, help="Do now what the next sweep of a kernel would do.")
@pass_cli_context
def recover(context: CliContext, now: bool) -> None:
    """Show kernels, agents and processes that are dead or stuck, and what becomes of what they hold.

    No town needs this: whatever starts or goes on does it by itself. --now does it without waiting for that.
    """
    from tinytown.kernel import is_alive, machine_id, run_directory  # late: they come with trio

    with context.open_town() as town:
        hosts = town.run(town.operations.hosts())
        seen = town.run(town.operations.status())
        now_ms, root = town.now_ms(), town.root
        here = [each for each in hosts if each.machine == machine_id() and each.root == str(root)]
        dead = {each.id for each in here if not is_alive(each)}
        served = running_kernel(root) is not None
        orphans = [] if served else find_orphans(run_directory(root), town_root=root)
        if now:
            caller_in(root).refuse_agents("cannot sweep the town", "send the supervisor a message")
            _sweep(town, dead if not served else set(), run_directory(root), served=served)
    shape = {
        "swept": now,
        "hosts": [_host(each, each.id in dead, now_ms) for each in hosts],
        "agents": [_agent(each) for each in seen.agents if _is_stuck(each)],
        "processes": [{"pid": each.pid, "name": each.name, "run": each.round_id} for each in orphans],
        "dead_letters": seen.dead,
    }
    context.emit(shape, _lines(shape, seen.dead, served=served))


def _sweep(town: TownClient, dead: set[str], run_dir: Path, *, served: bool) -> None:
    """Give back what lost kernels held; where no kernel holds the directory, end what earlier ones left running here."""
    if not served:
        from tinytown.kernel import kernel_lock  # while it is held, no kernel starts that the sweep could hit

        with kernel_lock(town.root):
            sweep_orphans(run_dir, town_root=town.root)
            for host in dead:
                town.run(town.operations.deregister_host(host, reason="its kernel was killed"))
    town.run(town.operations.sweep())


def _host(host: Host, dead: bool, now_ms: int) -> dict[str, Any]:
    left_s = (parse_rfc3339(host.lease_until) - now_ms) / 1000 if host.lease_until else 0.0
    return {
        "id": host.id,
        "name": host.name,
        "pid": host.pid,
        "agents": host.agents,
        "lease_left_s": round(left_s, 1),
        "state": "lost" if left_s <= 0 else "killed" if dead else "alive",
    }


def _is_stuck(agent: Agent) -> bool:
    """In error, or wanted by people and held by no kernel. Whoever sleeps is well."""
    waits = agent.desired_state != "stopped" and not agent.host and not agent.asleep
    return agent.state == "error" or waits


def _agent(agent: Agent) -> dict[str, Any]:
    return {"agent": agent.name, "state": agent.state, "reason": agent.reason, "since": agent.since, "host": agent.host}


_FATES = {
    "alive": "lives",
    "killed": "was killed; the next kernel started here frees its agents at once, another one when its lease ends",
    "lost": "is lost; the next beat of another kernel frees its agents",
}


def _lines(shape: dict[str, Any], dead_letters: int, *, served: bool) -> Sequence[str]:
    lines = [
        f"kernel on {each['name']}, process {each['pid']}, {counted(each['agents'], 'agent')}, lease {each['lease_left_s']:g} s: "
        + ("its agents are free" if shape["swept"] and each["state"] != "alive" else _FATES[each["state"]])
        for each in shape["hosts"]
    ]
    lines += [f"{each['agent']} is {each['state']}: {each['reason']}" for each in shape["agents"]]
    fate = "was ended" if shape["swept"] else "is ended when a kernel starts"
    lines += [f"process {each['pid']} ({each['name']}) of an earlier kernel {fate}" for each in shape["processes"]]
    if dead_letters:
        lines.append(f"{counted(dead_letters, 'dead letter')}: tt dead list")
    if not served and not any(each["state"] == "alive" for each in shape["hosts"]):
        lines.append("no kernel runs: tt start --background")
    return lines or ["all is well"]
