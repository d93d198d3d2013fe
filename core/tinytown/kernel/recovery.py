"""What a kernel does about those that died: the first sweep, the beat that finds lost hosts, and forgetting old things.

What a lost host held comes back on the server itself, in the functions; here is who asks for it and when. Knows hosts
and processes, not rounds.
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

_TIDY_EVERY_S = 60.0
_END_BOUND_S = 5.0


def run_directory(root: Path) -> Path:
    """Where the records of running processes lie."""
    return root / RUNTIME_DIRECTORY / "run"


def machine_id() -> str:
    """Names this machine and its space of process ids: only there does a pid mean anything."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        boot = space = ""
    return f"{socket.gethostname()}/{boot}/{space}"


async def sweep(town: Town, *, root: Path) -> list[Orphan]:
    """A kernel's first act, while it holds the lock of its directory: end what earlier kernels here left behind.

    Hosts of this machine whose process is gone give back at once what they held, without waiting for their lease.
    """
    orphans = await trio.to_thread.run_sync(lambda: sweep_orphans(run_directory(root), town_root=root))
    for host in await town.run(town.operations.hosts()):
        if host.machine == machine_id() and host.root == str(root) and not is_alive(host):
            await town.run(town.operations.deregister_host(host.id, reason="its kernel was killed"))
    return list(orphans)


def is_alive(host: Host) -> bool:
    """Whether the process of a host of this machine is there. Our own is not: it had an earlier kernel in it."""
    return host.pid != os.getpid() and is_running(host.pid)


async def watch_directory(town: Town, is_ours: Callable[[], bool]) -> None:
    """Watch over the directory whose kernel lock `is_ours`. A kernel without it could be stopped by nobody.

    Raises: NotFound with code ``town_gone`` when it is gone; a server of ours that was in it has been ended.
    """
    while is_ours():  # noqa: ASYNC110 - nobody tells of it
        await trio.sleep(town.config.lease_s / 3)
    if (server := town_server(town.root, town.config)) is not None:
        await trio.to_thread.run_sync(server.end_left_behind, time.monotonic() + _END_BOUND_S)
    where = town.root / RUNTIME_DIRECTORY
    raise NotFound(f"{where} was deleted or moved while a kernel ran there", code="town_gone")


async def tidy(town: Town, config: Config) -> None:
    """Forget finished tasks, events and days of the ledger beyond the configured bounds, now and then, until cancelled."""
    limits = config.limits
    call = town.operations.apply_retention(
        finished_age_ms=int(limits.finished_days * 86_400_000),
        finished_count=limits.finished_tasks,
        events=limits.events,
    )
    costs = town.operations.apply_cost_retention(days=limits.costs_days)
    while True:
        with suppress(TinytownError):
            for each in (call, costs):
                while await town.run(each):
                    pass
        await trio.sleep(_TIDY_EVERY_S)
