"""Recovery and retention: the sweep at start, the watch over the town's directory, and the removal of old records.

What a failed host held comes back on the server, in its functions. Knows hosts and processes, not rounds.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import trio

from tinytown.config import RUNTIME_DIRECTORY, Config
from tinytown.errors import NotFound, TinytownError
from tinytown.model.results import Host
from tinytown.process.orphans import Orphan, sweep_orphans
from tinytown.process.pids import is_running
from tinytown.redis.locate import town_server
from tinytown.town import Town

_RETENTION_EVERY_S = 60.0
_END_BOUND_S = 5.0


def run_directory(root: Path) -> Path:
    """The directory with the records of running processes."""
    return root / RUNTIME_DIRECTORY / "run"


def machine_id() -> str:
    """Identifies this machine and its pid namespace: the scope of a pid."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        boot = space = ""
    return f"{socket.gethostname()}/{boot}/{space}"


async def sweep(town: Town, *, root: Path) -> list[Orphan]:
    """End what earlier kernels of this directory left behind; requires its lock.

    Hosts of this machine whose process has ended release what they held at once, before their lease ends.
    """
    orphans = await trio.to_thread.run_sync(lambda: sweep_orphans(run_directory(root), town_root=root))
    for host in await town.run(town.operations.hosts()):
        if host.machine == machine_id() and host.root == str(root) and not is_alive(host):
            await town.run(town.operations.deregister_host(host.id, reason="its kernel was killed"))
    return list(orphans)


def is_alive(host: Host) -> bool:
    """Whether the process of a host on this machine runs. This process does not count: its pid was reused."""
    return host.pid != os.getpid() and is_running(host.pid)


async def watch_directory(town: Town, is_ours: Callable[[], bool]) -> None:
    """Watch the directory whose kernel lock `is_ours`: without it nothing could stop this kernel.

    Raises: NotFound with code ``town_gone`` when it is gone, after ending the embedded server that was in it.
    """
    while is_ours():  # noqa: ASYNC110 - nothing announces it
        await trio.sleep(town.config.lease_s / 3)
    if (server := town_server(town.root, town.config)) is not None:
        await trio.to_thread.run_sync(server.end_left_behind, time.monotonic() + _END_BOUND_S)
    where = town.root / RUNTIME_DIRECTORY
    raise NotFound(f"{where} was deleted or moved while a kernel ran there", code="town_gone")


async def apply_retention(town: Town, config: Config) -> None:
    """Remove finished tasks, events and ledger days beyond the configured bounds, once a minute, until cancelled."""
    limits = config.limits
    call = town.operations.apply_retention(
        finished_age_ms=int(limits.finished_days * 86_400_000),
        finished_count=limits.finished_tasks,
        events=limits.events,
    )
    costs = town.operations.apply_cost_retention(days=limits.costs_days)
    while True:
        with suppress(TinytownError):
            for operation in (call, costs):
                while await town.run(operation):
                    pass
        await trio.sleep(_RETENTION_EVERY_S)
