"""What a trial destroys: a server, two kernels on directories of their own, and the sockets between them.

The server is a process of ours, not the embedded one, so that it can be killed, started again with what its append-only
file holds, and have its disk filled. Each kernel reaches it through a gate that can be shut. Nothing here chooses what
happens when (see `harm`) or judges what came of it (see `findings`).
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Literal, TypeVar

import trio
from tinytown.config import load_config
from tinytown.errors import ServerUnreachable
from tinytown.protocol.operation import Operation
from tinytown.town import Town, connect_town
from tinytown_server.server import find_binary

T = TypeVar("T")

LEASE_S = 1.0

#: An agent's program. It writes down what it was told before it does anything, and that it is done at the very end; each
#: line is one write, so that lines of many processes do not mix. It knows nothing of the town's own records. Reading is
#: done by the shell itself: of a pipeline one half could be killed, and the other would see an empty prompt.
WORKER = """\
say() { printf '%s\\n' "$*" >> "$CHAOS_LOG"; }
work=
while IFS= read -r line; do
  case $line in
    *chaos-note\\ *) set -- ${line##*chaos-note }; say note "$TINYTOWN_AGENT_NAME" "$1" "$2" ;;
    *chaos-task\\ *) [ -n "$work" ] || work=${line##*chaos-task } ;;
  esac
done
[ -n "$work" ] || exit 0
set -- $work
say begun "$TINYTOWN_AGENT_NAME" "$2" "$1"
case $4 in
  straying) setsid sleep 300 & ;;
  shelled) sh -c "sleep $3; :" ;;
esac
sleep "$3"
say done "$TINYTOWN_AGENT_NAME" "$2" "$1"
echo ok
"""

CONFIG = """\
name = "chaos"
default_cli = "worker"
lease_s = {lease_s}
drain_s = 0.2
[redis]
url = "unix://{gate}"
[round]
retry_delay_s = 0.0
grace_s = 0.2
max_attempts = 1000
notes = 5
[limits]
max_deliveries = 1000
finished_tasks = 100000
events = 1000000
[agent_clis.worker]
command = "sh {worker}"
prompt = "stdin"
env = {{ CHAOS_LOG = "{log}" }}
"""


class Server:
    """The server's process, as durable as a town's own is by itself: what it has acknowledged is on the disk."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = home / "s"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with what its append-only file holds, and return when it answers."""
        self.socket.unlink(missing_ok=True)
        settings = ("--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.home), "--save", "")
        durable = ("--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
        with open(self.home / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                [find_binary().path, *settings, *durable],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                restore_signals=False,  # SIGXFSZ stays ignored: a file that may not grow is an error, not a death
            )
        while not self._answers():
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended: {(self.home / 'server.log').read_text()[-500:]}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it where it is."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def fill_disk(self) -> None:
        """From now on no file of the server can grow: what a full disk is to it."""
        assert self._process is not None
        size_bytes = max(path.stat().st_size for path in self.home.glob("appendonlydir/*.aof"))
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))

    def clear_disk(self) -> None:
        """There is room again. A server that syncs every write has ended itself meanwhile, and is started again."""
        assert self._process is not None
        if self._process.poll() is not None:
            self.start()
            return
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(self.socket))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        return False


class Gate:
    """A Unix socket that leads to another one, until it is shut: then connections end and new ones are refused
    (``refused``), or nothing passes in either direction any more (``silent``)."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target
        self._connections: set[trio.CancelScope] = set()
        self._open = trio.Event()
        self._open.set()
        self._refusing = False

    def shut(self, how: Literal["refused", "silent"]) -> None:
        if how == "refused":
            self._refusing = True
            for scope in self._connections:
                scope.cancel()
        else:
            self._open = trio.Event()

    def open_again(self) -> None:
        self._refusing = False
        self._open.set()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.socket.socket(socket.AF_UNIX) as listener:
            await listener.bind(str(self.path))
            listener.listen(64)
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    connection, _ = await listener.accept()
                    nursery.start_soon(self._carry, trio.SocketStream(connection))

    async def _carry(self, near: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                async with near:
                    if self._refusing:
                        return
                    async with await trio.open_unix_socket(str(self._target)) as far, trio.open_nursery() as nursery:
                        nursery.start_soon(self._pump, near, far, scope)
                        await self._pump(far, near, scope)
            except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the server is gone, or has gone meanwhile
            finally:
                self._connections.discard(scope)

    async def _pump(self, source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope) -> None:
        while chunk := await source.receive_some():
            await self._open.wait()
            await target.send_all(chunk)
        scope.cancel()


class Host:
    """One machine, as far as the town can tell: a directory, a kernel in a process of its own, and its gate."""

    def __init__(self, root: Path, gate: Gate, log: Path) -> None:
        self.root = root
        self.gate = gate
        self._said = root / "kernel.log"
        self._process: subprocess.Popen[bytes] | None = None
        worker = root / "worker.sh"
        worker.write_text(WORKER)
        config = CONFIG.format(lease_s=LEASE_S, gate=gate.path, worker=worker, log=log)
        (root / "tinytown.toml").write_text(config)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the kernel; it need not be ready, nor come up at all while its gate is shut."""
        with open(self._said, "ab") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tinytown", "start"],
                cwd=self.root,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def keep_running(self) -> None:
        """Start the kernel again if it has ended, as a service manager would."""
        if self._process is None or self._process.poll() is not None:
            self.start()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> int:
        """End the kernel in good order; its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=60)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self.stop()
            self._process.kill()
            self._process.wait()

    def processes(self) -> list[int]:
        """What rounds of this host have started and is alive, the kernel's reaper excepted."""
        mark = b"TINYTOWN_TOWN=" + os.fsencode(self.root)
        return [pid for pid in _pids() if mark in _environment_of(pid) and _alive(pid)]


class Stage:
    """The server, the hosts, the log that agents write, and a way to look at the town past all gates."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.log = home / "log"
        self.log.touch()
        self.server = Server(_directory(home / "server"))
        self.hosts = tuple(
            Host(_directory(home / name), Gate(home / f"{name}.gate", self.server.socket), self.log)
            for name in ("first", "second")
        )
        self._bystander = _directory(home / "bystander")
        config = (self.hosts[0].root / "tinytown.toml").read_text()
        config = config.replace(str(self.hosts[0].gate.path), str(self.server.socket))
        (self._bystander / "tinytown.toml").write_text(config)

    @asynccontextmanager
    async def watch(self) -> AsyncGenerator[Town]:
        """The town as somebody sees it who is not cut off."""
        async with connect_town(self._bystander, load_config(self._bystander)) as town:
            yield town


@asynccontextmanager
async def open_stage() -> AsyncGenerator[Stage]:
    """A running server and two running kernels; all of it is gone afterwards, and so is its directory."""
    home = Path(tempfile.mkdtemp(prefix="tt-chaos-", dir="/tmp")).resolve()  # sockets want short paths
    try:
        stage = Stage(home)
        async with AsyncExitStack() as stack:
            stack.callback(stage.server.close)
            await trio.to_thread.run_sync(stage.server.start)
            nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(nursery.cancel_scope.cancel)
            for host in stage.hosts:
                await nursery.start(host.gate.serve)
                host.start()
                stack.callback(host.close)
            yield stage
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def insist(town: Town, call: Operation[T]) -> T:
    """What the town answers to `call`, which is asked again for as long as the server is away or refuses everything."""
    while True:
        try:
            return await town.run(call)
        except ServerUnreachable:
            await trio.sleep(0.05)


def environment() -> dict[str, str]:
    """The caller's environment without what names a town, and with no list of towns to add to."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TINYTOWN_", "REDIS_"))}
    return kept | {"TINYTOWN_HOME": "/nonexistent"}


def _directory(path: Path) -> Path:
    path.mkdir()
    return path


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _environment_of(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
