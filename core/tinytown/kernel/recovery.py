"""Recovery: the sweep at start, and the watch over the town's directory."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import trio

from tinytown.errors import NotFound
from tinytown.model.results import Host
from tinytown.process.orphans import Orphan, sweep_orphans
from tinytown.process.pids import is_running
from tinytown.redis.locate import town_server
from tinytown.state import state_directory
from tinytown.town import Town

_END_BOUND_S = 5.0


def run_directory(root: Path) -> Path:
    """The directory with the records of running processes."""
    return state_directory(root) / "run"


def machine_id() -> str:
    """Identifies this machine and its pid namespace: the scope of a pid."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        boot = space = ""
    return f"{socket.gethostname()}/{boot}/{space}"


async def sweep(town: Town, *, root: Path) -> list[Orphan]:
    """End what earlier kernels of this directory left behind, and deregister them before their leases end. Needs its lock."""
    orphans = await trio.to_thread.run_sync(lambda: sweep_orphans(run_directory(root), town_root=root))
    for host in await town.run(town.operations.hosts()):
        if host.machine == machine_id() and host.root == str(root) and not is_alive(host):
            await town.run(town.operations.deregister_host(host.id, reason="its kernel was killed"))
    return list(orphans)


def is_alive(host: Host) -> bool:
    """Whether the process of a host on this machine runs. This process does not count: its pid was reused."""
    return host.pid != os.getpid() and is_running(host.pid)


async def watch_directory(town: Town, is_ours: Callable[[], bool]) -> None:
    """Watch the town's state, whose kernel lock `is_ours`, and its project. Raises: NotFound with code ``town_gone`` once one is
    gone, because then nothing could stop this kernel; the embedded server of a deleted state is ended before.
    """
    while is_ours() and town.root.is_dir():  # noqa: ASYNC110 - nothing announces it
        await trio.sleep(town.config.lease_s / 3)
    if (server := town_server(town.root, town.config)) is not None:
        await trio.to_thread.run_sync(server.end_left_behind, time.monotonic() + _END_BOUND_S)
    where = state_directory(town.root) if town.root.is_dir() else town.root
    raise NotFound(f"{where} was deleted or moved while a kernel ran there", code="town_gone")
