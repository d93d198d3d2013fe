"""``tt hosts``: the kernels that take part in the town, on this machine and on others."""

from __future__ import annotations

import click
from tinytown.kernel import running_kernel
from tinytown.model.results import Host
from tinytown.model.time import parse_rfc3339
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_cli.serializers import host_shape


@click.command(cls=TownCommand, examples=["tt hosts", "tt hosts --json"])
@pass_cli_context
def hosts(context: CliContext) -> None:
    """List the kernels that take part in the town, with what they have and how much of it is taken.

    The one that runs in this directory is marked with a star. A lease that is over is that of a kernel that died or was cut
    off: the next beat of another gives back what it had.
    """
    with context.open_town() as town:
        answer = town.run(town.operations.hosts())
        now_ms, own_pid = town.now_ms(), running_kernel(town.root)
        own = {host.id for host in answer if host.pid == own_pid and host.root == str(town.root)}
    found = sorted(answer, key=lambda host: (host.name, host.joined_at or "", host.id))
    left_s = {host.id: _left_s(host, now_ms) for host in found}
    rows = [
        (
            f"{host.id[:8]}{'*' if host.id in own else ''}",
            host.name,
            str(host.pid),
            host.version,
            f"{host.agents} of {host.capacity}",
            f"{left_s[host.id]:.1f} s" if left_s[host.id] > 0 else "over",
            ", ".join(host.backends),
            ", ".join(label for label in host.labels if label != f"host={host.name}"),
        )
        for host in found
    ]
    headings = ("host", "name", "process", "version", "agents", "lease", "backends", "labels")
    shapes = [
        {**host_shape(host), "agents": host.agents, "lease_left_s": left_s[host.id], "here": host.id in own}
        for host in found
    ]
    context.emit({"hosts": shapes}, table(headings, rows) if rows else ["no kernel runs this town: tt start"])


def _left_s(host: Host, now_ms: int) -> float:
    return (parse_rfc3339(host.lease_until) - now_ms) / 1000 if host.lease_until else 0.0
