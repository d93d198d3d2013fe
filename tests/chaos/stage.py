"""What a trial destroys: a server, two kernels on directories of their own, and the sockets between them.

The server is a process of ours, not the embedded one, so that it can be killed, started again with what its append-only
file holds, have its disk filled and its clock set, and hand over to another one. Each kernel reaches it through a gate that can
be shut, or pass everything but notifications. Nothing here chooses what happens when (see `harm`) or judges what came of it
(see `findings`).
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
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Literal, TypeVar

import trio
from tinytown.config import load_config
from tinytown.errors import Refused, ServerUnreachable
from tinytown.process import descendants_of
from tinytown.protocol.operation import Operation
from tinytown.town import Town, connect_town
from tinytown_server.server import find_binary
from tinytown_testing.sandbox import changed_environment

T = TypeVar("T")

LEASE_S = 1.0
#: Whether the state of the kernels can be on a file system of its own, which can run out of inodes.
CAN_MOUNT = sys.platform == "linux" and os.geteuid() == 0

_INODES = 100_000
_WAIT_S = 20.0

#: An agent's program. It writes down what it was given before it does anything, and that it is done at the very end; each
#: line is one write, so that lines of many processes do not mix. It knows nothing of the town's own records. Reading is
#: done by the shell itself: of a pipeline one half could be killed, and the other would see an empty prompt.
WORKER = """\
say() { printf '%s\\n' "$*" >> "$CHAOS_LOG"; }
alive() { tr '\\0' '\\n' < "/proc/$1/environ" 2>/dev/null | grep -qx "TINYTOWN_TASK_ID=$TINYTOWN_TASK_ID"; }
work=
while IFS= read -r line; do
  case $line in
    *chaos-note\\ *) set -- ${line##*chaos-note }; say note "$TINYTOWN_AGENT_NAME" "$1" "$2" ;;
    *chaos-task\\ *) [ -n "$work" ] || work=${line##*chaos-task } ;;
  esac
done
[ -n "$work" ] || exit 0
set -- $work
read -r other 2>/dev/null < "$CHAOS_LOG.d/$1" && [ "$other" != $$ ] && alive "$other" &&
  say atonce "$TINYTOWN_AGENT_NAME" "$2" "$1"
echo $$ > "$CHAOS_LOG.d/$1"
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
[wake]
senders = {{ supervisor = "always" }}
[limits]
max_deliveries = 1000
finished_tasks = 100000
events = 100000
[agent_clis.worker]
command = "sh {worker}"
prompt = "stdin"
env = {{ CHAOS_LOG = "{log}" }}
"""


class Server:
    """The server's process, as durable as a town's own is by itself: what it has acknowledged is on the disk."""

    def __init__(self, home: Path, clock: Path) -> None:
        self.home = home
        self.socket = home / "s"
        self.port = _free_port()  # for its replicas
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, replica_of: Server | None = None) -> None:
        """Start it, with what its append-only file holds, and return when it answers."""
        self.socket.unlink(missing_ok=True)
        settings = (
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--unixsocket",
            str(self.socket),
            "--dir",
            str(self.home),
        )
        durable = ("--save", "", "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
        primary = ("--replicaof", f"127.0.0.1 {replica_of.port}") if replica_of else ()
        with open(self.home / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                [find_binary().path, *settings, *durable, *primary],
                env=os.environ | _set_clock(self._clock),
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
        """Let it continue."""
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

    def ask(self, command: str) -> bytes:
        """The raw answer to an inline command; empty without one."""
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(self.socket))
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(65536)
        return b""

    def _answers(self) -> bool:
        return self.ask("PING").startswith(b"+PONG")


#: What makes a server's clock one that can be set, if it is installed.
FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


def _set_clock(file: Path) -> dict[str, str]:
    """Variables with which a server reads in `file` how far its clock is off."""
    if FAKETIME is None:
        return {}
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


#: How a notification begins in RESP3: a push of three, the first of which says that it is a message.
_MESSAGE = b">3\r\n$7\r\nmessage\r\n"


def without_messages(data: bytes) -> tuple[bytes, bytes]:
    """Replies of a server without its notifications, and the end that says too little yet to be passed or dropped."""
    passed = b""
    while (begin := data.find(_MESSAGE)) >= 0:
        passed, data = passed + data[:begin], data[begin:]
        end = _message_end(data)
        if end < 0:
            return passed, data
        data = data[end:]
    held = next((size for size in range(len(_MESSAGE) - 1, 0, -1) if data.endswith(_MESSAGE[:size])), 0)
    return passed + data[: len(data) - held], data[len(data) - held :]


def _message_end(data: bytes) -> int:
    """Where the notification at the beginning ends; -1 if not all of it has come."""
    end = len(_MESSAGE)
    for _ in range(2):  # the channel and what was published
        line = data.find(b"\r\n", end)
        if line < 0:
            return -1
        end = line + 2 + int(data[end + 1 : line]) + 2
    return end if end <= len(data) else -1


class Gate:
    """A Unix socket that leads to another one, until it is shut: then connections end and new ones are refused
    (``refused``), nothing passes in either direction any more (``silent``), or notifications are lost (``deaf``)."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target
        self._connections: set[trio.CancelScope] = set()
        self._open = trio.Event()
        self._open.set()
        self._refusing = False
        self._deaf = False

    def shut(self, how: Literal["refused", "silent", "deaf"]) -> None:
        if how == "deaf":
            self._deaf = True
        elif how == "refused":
            self._refusing = True
            for scope in self._connections:
                scope.cancel()
        else:
            self._open = trio.Event()

    def open_again(self) -> None:
        self._refusing = self._deaf = False
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
                        await self._pump_replies(far, near, scope)
            except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the server is gone, or has gone meanwhile
            finally:
                self._connections.discard(scope)

    async def _pump_replies(
        self, source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        held = b""
        while chunk := await source.receive_some():
            # Only a deaf gate looks at what it carries: two kernels' replies are more than one process can read through.
            passed, held = without_messages(held + chunk) if self._deaf else (held + chunk, b"")
            await self._open.wait()
            if passed:
                await target.send_all(passed)
        scope.cancel()

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
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
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

    def signal_group(self) -> int:
        """SIGTERM for the kernel and everything below it at once, as a shutdown sends it; its exit status."""
        for pid in [*sorted(descendants_of(self.pid)), self.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        return self.stop()

    def limit_files(self, more: int | None) -> None:
        """Have the kernel open only so many files more than it has open; None: as many as it could."""
        soft = len(os.listdir(f"/proc/{self.pid}/fd")) + more if more is not None else self._files
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (soft, self._files))

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
        _directory(home / "log.d")
        self._clock = home / "clock"
        self.set_clock(0)
        self._servers = [Server(_directory(home / "server-1"), self._clock)]
        #: Leads to the socket of the server that is the primary.
        self._socket = home / "s"
        self._socket.symlink_to(self.server.socket)
        self.hosts = tuple(
            Host(_directory(home / name), Gate(home / f"{name}.gate", self._socket), self.log)
            for name in ("first", "second")
        )
        self._bystander = _directory(home / "bystander")
        config = (self.hosts[0].root / "tinytown.toml").read_text()
        config = config.replace(str(self.hosts[0].gate.path), str(self._socket))
        (self._bystander / "tinytown.toml").write_text(config)

    @property
    def server(self) -> Server:
        """The server that is the primary."""
        return self._servers[-1]

    def fail_over(self) -> None:
        """Have a replica take over, with all that was acknowledged; the former one lives on, with its connections."""
        old, new = self.server, Server(_directory(self.home / f"server-{len(self._servers) + 1}"), self._clock)
        new.start(replica_of=old)
        self._servers.append(new)
        _wait(lambda: b"master_link_status:up" in new.ask("INFO replication"))
        _wait(
            lambda: b"aof_rewrite_in_progress:0" in new.ask("INFO persistence")
        )  # or its file would lack what it was sent
        _wait(lambda: old.ask(f"FAILOVER TO 127.0.0.1 {new.port}").startswith(b"+OK"))
        _wait(lambda: b"role:master" in new.ask("INFO replication"))
        draft = self.home / "s.new"
        draft.symlink_to(new.socket)
        draft.rename(self._socket)

    def end_replicas(self) -> None:
        """End the servers that were the primary before."""
        for server in self._servers[:-1]:
            server.close()

    def set_clock(self, offset_s: int) -> None:
        """Have the servers' clock so far ahead of the true time."""
        draft = self._clock.with_name("clock.new")
        draft.write_text(f"{offset_s:+d}s\n")
        draft.rename(self._clock)

    def limit_inodes(self, more: int | None) -> None:
        """Have so many inodes more for the state of all kernels; None: plenty."""
        state = self.home / "state"
        if more is None:
            _mount("-o", f"remount,nr_inodes={_INODES}", str(state))
            return
        for slack in range(0, 1000, 10):  # below what is in use by now it is refused
            used = (disk := os.statvfs(state)).f_files - disk.f_ffree
            with suppress(subprocess.CalledProcessError):
                _mount("-o", f"remount,nr_inodes={used + more + slack}", str(state))
                return

    def close_servers(self) -> None:
        for server in self._servers:
            server.close()

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
        async with AsyncExitStack() as stack:
            state = _directory(home / "state")
            if CAN_MOUNT:
                _mount("-t", "tmpfs", "-o", f"nr_inodes={_INODES}", "tinytown-chaos", str(state))
                stack.callback(subprocess.run, ["umount", "--lazy", str(state)], check=False)
            stack.enter_context(changed_environment({"XDG_STATE_HOME": str(state)}))
            stage = Stage(home)
            stack.callback(stage.close_servers)
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


def _mount(*options: str) -> None:
    subprocess.run(["mount", *options], check=True, capture_output=True, timeout=10)


def _wait(check: Callable[[], object]) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not check():
        if time.monotonic() > deadline:
            raise RuntimeError("a server did not do what it was asked for")
        time.sleep(0.02)


async def insist(town: Town, call: Operation[T]) -> T:
    """What the town answers to `call`, which is asked again for as long as the server is away or refuses everything."""
    while True:
        try:
            return await town.run(call)
        except ServerUnreachable:
            await trio.sleep(0.05)
        except Refused as error:  # an agent that somebody has just stopped takes neither mail nor tasks
            if "is stopped" not in error.message:
                raise
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
