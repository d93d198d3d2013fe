"""The town that a run destroys: a git repository, a kernel with its embedded server, eight CLIs and their model.

Nothing here chooses what happens when (see `harm`) or judges what came of it (see `findings`).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import tomlkit
import trio
from tinytown.config import RedisConfig, load_config
from tinytown.state import new_town_id, state_directory
from tinytown.town import Town, connect_town
from tinytown_server.server import EmbeddedServer
from tinytown_testing.sandbox import changed_environment
from tinytown_testing.towns import KernelProcess, town_processes

from tests.chaos.findings import Log, read_log
from tests.chaos.stage import environment
from tests.real_clis.clis import DIRECTORIES_VARIABLE, git
from tests.real_clis.processes import started_processes

from .models import Models
from .seats import Seat

LEASE_S = 5.0
_TT_S = 90.0

#: The command of a task, with the task's number, the agent and seconds. It writes down when it began, whether another one was
#: at the same task, and that it is done; and it leaves a file in its directory.
WORK = """\
say() { printf '%s\\n' "$*" >> "$(dirname "$0")/log"; }
exec 9>> "$(dirname "$0")/locks/$1"
flock -n 9 || { say atonce "$2" normal "$1"; flock 9; }
say begun "$2" normal "$1"
echo "task $1" > "task-$1.txt"
sleep "$3" 9>&-
say done "$2" normal "$1"
"""


class Stage:
    """The town, its kernel, its model, and the log of its tasks."""

    def __init__(self, home: Path, seats: Sequence[Seat], *, is_kept: bool = False) -> None:
        self.home = home
        self.is_kept = is_kept
        self.root = home / "town"
        self.seats = seats
        self._log = home / "log"
        self._log.touch()
        (home / "locks").mkdir()
        (home / "work").write_text(WORK)
        self.models = Models(seats, f"sh {home / 'work'}", _Done(self))
        self.kernel: KernelProcess | None = None

    @property
    def log(self) -> Log:
        """What the commands of tasks have written."""
        return read_log(self._log.read_text())

    @property
    def server(self) -> EmbeddedServer:
        return EmbeddedServer(state_directory(self.root))

    def begun_agents(self) -> set[str]:
        """The agents that have begun a command which is not done; it may have been killed."""
        log = self.log
        done = {number for _, _, number in log.done}
        return {agent for agent, _, number in log.begun if number not in done}

    def build(self) -> None:
        """The repository and the settings of the town."""
        plugins: dict[str, Any] = {}
        for seat in self.seats:
            _merge(plugins, seat.tables(self.models.url))
        tables = {
            "name": "endurance",
            "id": new_town_id("e"),
            "lease_s": LEASE_S,
            "drain_s": 5.0,
            "round": {"timeout_s": 150.0, "grace_s": 2.0, "retry_delay_s": 1.0, "max_attempts": 1000, "notes": 5},
            "limits": {"max_deliveries": 1000, "rounds_kept": 5000, "events": 100_000},
            "wake": {"kinds": {seat.kind: "always" for seat in self.seats}},
            "plugins": plugins,
        }
        self.root.mkdir()
        (self.root / "tinytown.toml").write_text(tomlkit.dumps(tables))
        (self.root / ".gitignore").write_text(".aider*\n")
        git(self.root, "init", "-q", "-b", "main")
        git(self.root, "config", "user.name", "Ada")
        git(self.root, "config", "user.email", "ada@example.org")
        git(self.root, "add", "-A")
        git(self.root, "commit", "-qm", "begin")

    def variables(self) -> dict[str, str | None]:
        """The environment of the town: the caller's without what names another, and what leads CLIs to the model."""
        kept = environment()
        changes: dict[str, str | None] = {name: None for name in os.environ if name not in kept}
        changes |= {
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            "XDG_STATE_HOME": str(self.home / "state"),
        }
        changes["TINYTOWN_HOME"] = kept["TINYTOWN_HOME"]
        changes["PATH"] = os.pathsep.join((os.environ.get(DIRECTORIES_VARIABLE, ""), os.environ["PATH"]))
        for seat in self.seats:
            changes |= seat.environment(self.models.url)
        return changes

    def start(self) -> None:
        """Start the kernel and wait until it is ready."""
        if self.kernel is None:
            self.kernel = KernelProcess(self.root)
        else:
            self.kernel.start()

    def kill_kernel(self) -> None:
        assert self.kernel is not None
        self.kernel.kill()

    def kill_server(self) -> None:
        """End the server as a power cut would; whoever needs it starts it again."""
        if (pid := self.server.pid()) is not None:
            os.kill(pid, signal.SIGKILL)

    def kill_everything(self) -> None:
        """End the kernel, the server and all that rounds have started, at once."""
        assert self.kernel is not None
        self.kernel.signal(signal.SIGSTOP)  # or it would see the others go
        self.kill_server()
        for pid in town_processes(self.root):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kernel.kill()

    def stop(self) -> tuple[int, int]:
        """``tt stop``: its exit status and that of the kernel."""
        assert self.kernel is not None
        return self._tt("stop"), self.kernel.wait()

    def tidy(self) -> int:
        """``tt gc``, which removes the worktrees of finished tasks at once; its exit status."""
        return self._tt("gc")

    def _tt(self, *words: str) -> int:
        return subprocess.run(
            [sys.executable, "-m", "tinytown", *words], cwd=self.root, capture_output=True, timeout=_TT_S
        ).returncode

    def commands(self) -> list[int]:
        """The CLIs of the rounds in progress."""
        return list(started_processes(self.root))

    def merged_files(self) -> set[str]:
        """Names of the files on the branch that work is merged into."""
        return set(git(self.root, "ls-tree", "--name-only", "main").split())

    def left(self) -> list[str]:
        """What is still there once the town has stopped: processes, a server, worktrees, git's locks, unmerged changes."""
        found = [f"process {pid} {_command(pid)}" for pid in town_processes(self.root)]
        found += [f"server {pid}" for pid in [self.server.pid()] if pid is not None]
        found += [f"lock {path}" for path in (self.root / ".git").rglob("*.lock")]
        found += [f"change {line}" for line in git(self.root, "status", "--porcelain").splitlines()]
        return found + self.worktrees()

    def worktrees(self) -> list[str]:
        """Worktrees of tasks; not those in which agents read their mail."""
        trees = git(self.root, "worktree", "list", "--porcelain").split("\n\n")[1:]
        return [" ".join(tree.split()) for tree in trees if tree.strip() and "/_mail\n" not in tree]

    @asynccontextmanager
    async def watch(self) -> AsyncGenerator[Town]:
        """The town as somebody sees it who starts no server: that is the kernel's."""
        config = msgspec.structs.replace(load_config(self.root), redis=RedisConfig(url=self.server.url))
        async with connect_town(self.root, config) as town:
            yield town


class _Done(Collection[int]):
    """Numbers of the tasks whose command is done, as the log has them now."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __iter__(self) -> Iterator[int]:
        return iter({number for _, _, number in self._stage.log.done})

    def __contains__(self, number: object) -> bool:
        return number in set(self)

    def __len__(self) -> int:
        return len(set(self))


def _merge(into: dict[str, Any], table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


@asynccontextmanager
async def open_stage(seats: Sequence[Seat], *, keep: bool = False) -> AsyncGenerator[Stage]:
    """A running town of these agents; all of it is gone afterwards, and so is its directory unless it is to be kept."""
    home = Path(tempfile.mkdtemp(prefix="tt-end-", dir="/tmp")).resolve()  # sockets want short paths
    try:
        async with AsyncExitStack() as stack:
            for name in ("tmp", "state"):
                (home / name).mkdir()
            stage = Stage(home, seats, is_kept=keep)
            stage.models.listen()
            stack.callback(stage.models.refuse)
            stack.enter_context(changed_environment(stage.variables()))
            stage.build()
            stack.callback(_end, stage)
            await trio.to_thread.run_sync(stage.start)
            yield stage
    finally:
        if not keep:
            shutil.rmtree(home, ignore_errors=True)


def _end(stage: Stage) -> None:
    if stage.kernel is not None:
        with suppress(Exception):
            stage.kernel.signal(signal.SIGKILL)
        stage.kernel.close()
    with suppress(Exception):
        stage.server.stop()
    for pid in town_processes(stage.root):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:100]
    except OSError:
        return "gone"
