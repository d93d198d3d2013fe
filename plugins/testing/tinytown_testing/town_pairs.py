"""One town on two machines, as far as its kernels can tell: two directories with state of their own, and one server for both."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio
from tinytown.town import Town
from tinytown_server.server import find_binary

from tinytown_testing.towns import KernelProcess, KernelStarter, TownDirectory

_LEASE_S = 0.8
_TOWN = 'default_cli = "shell"\nlease_s = {lease_s}\ncapacity = {capacity}\n[redis]\nurl = "unix://{server}"\n'


class TownPair:
    """The directories `first` and `second` of one town, whose leases last `lease_s`."""

    lease_s = _LEASE_S

    def __init__(self, first: TownDirectory, second: TownDirectory, server: Path, start: KernelStarter) -> None:
        self.first, self.second = first, second
        self._server = server
        self._start = start

    def configure(self, tables: str = "", *, capacity: int = 1000) -> None:
        """Write both files ``tinytown.toml``; ``{name}`` in `tables` becomes the name of the directory."""
        head = _TOWN.format(lease_s=self.lease_s, capacity=capacity, server=self._server)
        for town_dir in (self.first, self.second):
            town_dir.configure(head + tables.replace("{name}", town_dir.root.name), grace_s=0.1)

    async def start(self, town_dir: TownDirectory) -> KernelProcess:
        """A kernel for one of the directories, in a process of its own."""
        return await trio.to_thread.run_sync(self._start, town_dir.root)

    @asynccontextmanager
    async def watch(self) -> AsyncGenerator[Town]:
        """The town as a bystander sees it."""
        async with self.first.connect() as town:
            yield town


@contextmanager
def open_town_pair(first: TownDirectory, start: KernelStarter) -> Generator[TownPair]:
    """A second directory for the town of `first`, and their server. At the end all kernels of `start` are stopped."""
    home = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp"))
    second = TownDirectory.make()
    socket = home / "s"
    command = [find_binary().path, "--port", "0", "--unixsocket", str(socket), "--dir", str(home), "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        next(line for line in server.stdout if "Ready to accept" in line)
        server.stdout.close()
        pair = TownPair(first, second, socket, start)
        pair.configure()
        yield pair
    finally:
        start.close()  # while there is a server to deregister at
        server.kill()
        server.wait()
        second.close()
        shutil.rmtree(home)
