"""``tt hosts``: the kernels of the town, on this machine and on others."""

from __future__ import annotations

import click
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_cli.serializers import host_shape

from tinytown_ops.explain.leases import lease_left


@click.command(cls=TownCommand, examples=["tt hosts", "tt hosts --json"])
@pass_cli_context
def hosts(context: CliContext) -> None:
    """List the kernels of the town with their capacity, lease, backends and labels.

    The kernel of this directory is marked with a star. An expired lease belongs to a kernel that crashed or lost its
    connection: the next heartbeat of another kernel releases its agents.
    """
    with context.open_town() as town:
        hosts_ = town.run(town.operations.hosts())
        now_ms, own_pid = town.now_ms(), town.running_kernel()
        own = {host.id for host in hosts_ if host.pid == own_pid and host.root == str(town.root)}
    by_name = sorted(hosts_, key=lambda host: (host.name, host.joined_at or "", host.id))
    left_s = {host.id: lease_left(host, now_ms) for host in by_name}
    rows = [
        (
            f"{host.id[:8]}{'*' if host.id in own else ''}",
            host.name,
            str(host.pid),
            host.version,
            f"{host.agents} of {host.capacity}",
            f"{left_s[host.id]:.1f} s" if left_s[host.id] > 0 else "expired",
            ", ".join(host.backends),
            ", ".join(label for label in host.labels if label != f"host={host.name}"),
        )
        for host in by_name
    ]
    headings = ("host", "name", "process", "version", "agents", "lease", "backends", "labels")
    shapes = [
        {**host_shape(host), "agents": host.agents, "lease_left_s": left_s[host.id], "here": host.id in own}
        for host in by_name
    ]
    lines = table(headings, rows) if rows else ["no kernel is running: tt start"]
    lines += [f"{host.name} begins no rounds: {host.trouble}" for host in by_name if host.trouble]
    context.emit({"hosts": shapes}, lines)
