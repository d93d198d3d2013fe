"""Towns in temporary directories, with a real server, and kernels in this process or in processes of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import trio
from tinytown.config import CONFIG_FILE, load_config
from tinytown.kernel import Kernel, open_kernel
from tinytown.model.events import Event, event_fields
from tinytown.plugin import load_plugins
from tinytown.state import new_town_id, state_directory
from tinytown.town import Town, connect_town
from tinytown_server.server import EmbeddedServer

_STOP_S = 5.0
_READY_S = 60.0
_END_S = 30.0
_POLL_S = 0.02


class TownDirectory:
    """The directory of a town. `connect` gives the town without a kernel, `open` with one in this process.

    `events` has what happened in the town while it was open, as mappings, oldest first.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kernel: Kernel | None = None
        self.events: list[dict[str, Any]] = []
        self._id = new_town_id("t")
        self.configure()

    @classmethod
    def make(cls) -> Self:
        """One in a new directory. Its path is short: the path of a Unix socket has at most some hundred bytes."""
        return cls(Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp")).resolve())

    def configure(self, text: str = "", *, name: str = "t", **rounds: Any) -> None:
        """Write ``tinytown.toml``: short leases and retries, a server that does not wait for the disk, then `text`.

        Keyword arguments go into ``[round]``.
        """
        settings = {"retry_delay_s": 0.05, "grace_s": 0.3, **rounds}
        lines = "\n".join(f"{key} = {_toml(value)}" for key, value in settings.items())
        head, _, tables = f"\n{text}".partition("\n[")  # a list is no table
        defaults = {"default_cli": '"scripted"', "lease_s": "1.0", "drain_s": "0.3"}
        unset = "\n".join(f"{key} = {value}" for key, value in defaults.items() if f"{key} " not in head)
        (self.root / CONFIG_FILE).write_text(
            f'name = "{name}"\nid = "{self._id}"\n{unset}\n{head}\n[round]\n{lines}\n'
            + ("" if "redis]" in tables else '[redis]\ndurability = "fast"\n')
            + (f"[{tables}\n" if tables else "")
        )

    @property
    def state(self) -> Path:
        """Its state directory."""
        return state_directory(self.root)

    @property
    def server(self) -> EmbeddedServer:
        return EmbeddedServer(self.state)

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[Town]:
        """The town without a kernel."""
        async with connect_town(self.root, load_config(self.root)) as town:
            yield town

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Town]:
        """The town with a kernel in this process, and with the plugins that are installed."""
        config = load_config(self.root)
        plugins = load_plugins(config, self.root)
        async with connect_town(self.root, config) as town:
            with town.subscribe(self.record_event):
                async with open_kernel(town, plugins) as self.kernel:
                    yield town

    def record_event(self, event: Event) -> None:
        self.events.append(event_fields(event))

    def recorded(self, type_: str, **members: str) -> list[dict[str, Any]]:
        """The events so far of a type that have these members."""
        return [
            event
            for event in self.events
            if event["type"] == type_ and all(event.get(name) == value for name, value in members.items())
        ]

    async def wait_for_events(self, town: Town, count: int, type_: str, **members: str) -> list[dict[str, Any]]:
        """The same, once there are `count` of them: events may arrive after the call that causes them returns."""
        await town.wait_until(trio.lowlevel.checkpoint, lambda _: len(self.recorded(type_, **members)) >= count)
        return self.recorded(type_, **members)

    def processes(self) -> list[int]:
        """Processes, this one excepted, that belong to the town by their environment or working directory."""
        return [pid for pid in town_processes(self.root) if pid != os.getpid()]

    def close(self) -> None:
        """Stop the server and remove the directory. Raises: AssertionError if any other process is left."""
        with suppress(Exception):
            self.server.stop(timeout_s=_STOP_S)
        deadline = time.monotonic() + _STOP_S
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(_POLL_S)  # processes that were killed a moment ago
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left if Path(f"/proc/{pid}").exists()]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for directory in (self.root, self.state):
            shutil.rmtree(directory, ignore_errors=True)
        assert not commands, f"processes are left: {commands}"


class KernelProcess:
    """The kernel of the town at `root` in a process of its own.

    `plugins` is a directory of plugins to install for it, `prefix` a command that replaces itself by the kernel's.
    """

    def __init__(self, root: Path, *, plugins: Path | None = None, prefix: Sequence[str] = ()) -> None:
        self.root = root
        self._prefix = prefix
        self._env = {**os.environ, **({"PYTHONPATH": str(plugins)} if plugins else {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `close`
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start it, again if it has ended, and return once it runs. Raises: AssertionError with what it printed."""
        reading, writing = os.pipe()
        command = [*self._prefix, sys.executable, "-m", "tinytown", "start", "--ready-fd", str(writing)]
        self._process = subprocess.Popen(
            command, cwd=self.root, env=self._env, stdout=self._output, stderr=self._output, pass_fds=[writing]
        )
        os.close(writing)
        with open(reading, "rb") as ready:
            assert ready.read(1) == b"1", self.output

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        """What it has printed, on both streams."""
        self._output.seek(0)
        return self._output.read()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a power cut would, and wait until it has ended."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """End it in good order; its exit status."""
        if self._process is not None and self._process.returncode is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        assert self._process is not None
        return self._process.wait(timeout=_END_S)

    def close(self) -> None:
        try:
            self.stop()
        finally:
            self._output.close()


class KernelStarter:
    """Starts kernels in processes of their own, by default for the town at `root`, and ends them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.started: list[KernelProcess] = []

    def __call__(
        self, root: Path | None = None, *, plugins: Path | None = None, prefix: Sequence[str] = ()
    ) -> KernelProcess:
        self.started.append(KernelProcess(root or self.root, plugins=plugins, prefix=prefix))
        return self.started[-1]

    def close(self) -> None:
        while self.started:
            self.started.pop().close()


def town_processes(root: Path) -> list[int]:
    """Running processes that a town's rounds started (TINYTOWN_TOWN), or that work in its root or state.

    Source: proc_pid_environ(5), proc_pid_cwd(5); elsewhere than on Linux none is found.
    """
    pids: list[int] = []
    places = (str(root), str(state_directory(root)))
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            environment = (entry / "environ").read_bytes().split(b"\0")
            marked = b"TINYTOWN_TOWN=" + os.fsencode(root) in environment
            within = os.readlink(entry / "cwd").startswith(places)
            if state not in "ZX" and (marked or within):
                pids.append(int(entry.name))
    return pids


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
