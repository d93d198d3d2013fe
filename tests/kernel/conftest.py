"""Towns of their own for the kernel's tests: a real server and a real kernel each, in a directory that is gone afterwards."""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.config import load_config
from tinytown.contracts import Outcome
from tinytown.kernel import Kernel, open_kernel
from tinytown.model.events import Event, event_fields
from tinytown.model.tasks import Task
from tinytown.plugin import load_plugins
from tinytown.town import Town, connect_town
from tinytown_server.server import EmbeddedServer

HERE = Path(__file__).parent
DEADLINE_S = 30.0


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "deadline_s(seconds): a deadline of its own for a test")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every async test of this directory has a deadline, without a level of indentation for it."""
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and item.path.parent == HERE
            and inspect.iscoroutinefunction(item.obj)
            and not hasattr(item.obj, "__wrapped__")
        ):
            marker = item.get_closest_marker("deadline_s")
            item.obj = _within(item.obj, marker.args[0] if marker else DEADLINE_S)


def _within(test: Callable[..., Awaitable[None]], seconds: float) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def bounded(*args: Any, **kwargs: Any) -> None:
        with trio.fail_after(seconds):
            await test(*args, **kwargs)

    return bounded


class Place:
    """A town's directory. `open` runs its kernel here, with the plugins that are installed and those on the table."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kernel: Kernel | None = None
        self.events: list[dict[str, Any]] = []
        self.configure()

    def configure(self, text: str = "", *, name: str = "t", **rounds: Any) -> None:
        """Write tinytown.toml: quick leases and retries, a server that does not wait for the disk, then `text`.

        Keyword arguments go into ``[round]``.
        """
        settings = {"retry_delay_s": 0.05, "grace_s": 0.3, **rounds}
        lines = "\n".join(f"{key} = {_toml(value)}" for key, value in settings.items())
        head, _, tables = text.partition("[")
        defaults = {"default_cli": '"scripted"', "lease_s": "1.0", "drain_s": "0.3"}
        given = "\n".join(f"{key} = {value}" for key, value in defaults.items() if f"{key} " not in head)
        (self.root / "tinytown.toml").write_text(
            f'name = "{name}"\n{given}\n{head}\n[round]\n{lines}\n'
            + ("" if "redis]" in tables else '[redis]\ndurability = "fast"\n')
            + (f"[{tables}\n" if tables else "")
        )

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[Town]:
        """The town without a kernel."""
        async with connect_town(self.root, load_config(self.root)) as town:
            yield town

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Town]:
        """The town with a kernel; what happens is in `events` as it happens."""
        config = load_config(self.root)
        plugins = load_plugins(config, self.root)
        async with connect_town(self.root, config) as town:
            with town.hearing(self._remember):
                async with open_kernel(town, plugins) as self.kernel:
                    yield town

    def _remember(self, event: Event) -> None:
        self.events.append(event_fields(event))

    def told(self, type_: str, **members: str) -> list[dict[str, Any]]:
        """The events of a type that have these members."""
        return [
            event
            for event in self.events
            if event["type"] == type_ and all(event.get(name) == value for name, value in members.items())
        ]

    async def hears(self, town: Town, count: int, type_: str, **members: str) -> list[dict[str, Any]]:
        """The same as soon as there are `count` of them: what a call tells may be ahead of the events."""
        await town.wait_until(trio.lowlevel.checkpoint, lambda _: len(self.told(type_, **members)) >= count)
        return self.told(type_, **members)

    @property
    def server(self) -> EmbeddedServer:
        return EmbeddedServer(self.root / ".tt")

    def processes(self) -> list[int]:
        """Processes that belong to the town by their environment or working directory, this one excepted."""
        return [pid for pid in town_processes(self.root) if pid != os.getpid()]

    def close(self) -> None:
        """End the server; whatever else is left is a fault."""
        with suppress(Exception):
            self.server.stop(timeout_s=5)
        deadline = time.monotonic() + 5
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.02)  # processes that were killed a moment ago
        told = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left if Path(f"/proc/{pid}").exists()]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.root, ignore_errors=True)
        assert not told, f"left behind: {told}"


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def town_processes(root: Path) -> list[int]:
    """Living processes that a town's rounds started (TINYTOWN_TOWN), or that have its root as their directory."""
    found: list[int] = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with suppress(OSError):
                state = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
                environment = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
                marked = b"TINYTOWN_TOWN=" + os.fsencode(root) in environment
                within = os.readlink(f"/proc/{entry}/cwd").startswith(str(root))
                if state not in "ZX" and (marked or within):
                    found.append(int(entry))
    return found


def make_root() -> Path:
    """A short path: a Unix socket's may have about 100 bytes."""
    return Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp")).resolve()


@pytest.fixture(autouse=True)
def _nobodys_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TINYTOWN_")] + ["REDIS_URL"]:
        if not name.startswith("TINYTOWN_FAULT"):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TINYTOWN_HOME", "/nonexistent")


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place(make_root())
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the plugin `scripted` offers; to be laid before a kernel is opened."""
    monkeypatch.syspath_prepend(str(HERE / "installed"))
    import tinytown_scripted

    return tinytown_scripted.lay_table()


@pytest.fixture
def answering() -> Callable[..., Any]:
    """A script that gives one answer after the other, the last one for ever; callables are awaited, errors raised."""

    def make(*answers: Any) -> Any:
        left = list(answers)

        async def script(work: Any, report: Any) -> Outcome:
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, BaseException):
                raise answer
            outcome: Outcome = await answer(work, report) if callable(answer) else answer
            return outcome

        return script

    return make


async def task_in(town: Town, task: Task | str, *states: str) -> Task:
    """The task once it is in one of the states."""
    task_id = task if isinstance(task, str) else task.id
    found: Task = await town.wait_until(lambda: town.task(task_id), lambda now: now.state in states)
    return found


async def appears(path: Path, text: str = "") -> None:
    """Wait until another process has made a file, and written `text` into it."""
    while not path.exists() or text not in path.read_text():  # noqa: ASYNC110 - nobody could set an event
        await trio.sleep(0.01)


async def rounds_gone(place: Place) -> None:
    """Wait until nothing of the town's rounds runs."""
    while any(pid != place.server.pid() for pid in place.processes()):  # noqa: ASYNC110 - nobody could set an event
        await trio.sleep(0.01)


@pytest.fixture
def file_appears() -> Callable[..., Awaitable[None]]:
    return appears


@pytest.fixture
def rounds_end() -> Callable[[Place], Awaitable[None]]:
    return rounds_gone


@pytest.fixture
def until() -> Callable[..., Awaitable[Task]]:
    return task_in


class KernelProcess:
    """A kernel in a process of its own; what it says on stderr is in `said` after its end.

    `within` are words that lead its command: a program that replaces itself by it.
    """

    def __init__(self, root: Path, *, plugins: Path | None = None, within: Sequence[str] = ()) -> None:
        self.root = root
        self._within = within
        self._env = {**os.environ, **({"PYTHONPATH": str(plugins)} if plugins else {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `close`
        self.start()

    def start(self) -> None:
        """Start it (again) and return when it runs."""
        reading, writing = os.pipe()
        command = [*self._within, sys.executable, "-m", "tinytown", "start", "--ready-fd", str(writing)]
        self._process = subprocess.Popen(
            command, cwd=self.root, env=self._env, stdout=self._stderr, stderr=self._stderr, pass_fds=[writing]
        )
        os.close(writing)
        with open(reading, "rb") as ready:
            assert ready.read(1) == b"1", self.said

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def said(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a power cut would, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """End it in good order; its exit status."""
        if self._process is not None and self._process.returncode is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait(timeout=30)

    def close(self) -> None:
        try:
            self.stop()
        finally:
            self._stderr.close()


class Kernels:
    """Starts kernels as processes, by default for the town at `root`, and ends them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.started: list[KernelProcess] = []

    def __call__(self, root: Path | None = None, **options: Any) -> KernelProcess:
        self.started.append(KernelProcess(root or self.root, **options))
        return self.started[-1]

    def close(self) -> None:
        while self.started:
            self.started.pop().close()


@pytest.fixture
def start_kernel(place: Place) -> Iterator[Kernels]:
    kernels = Kernels(place.root)
    try:
        yield kernels
    finally:
        kernels.close()
