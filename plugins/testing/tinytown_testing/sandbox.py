"""A place to try a plugin's objects in: a town's directory, real processes and a real configuration, all of it temporary.

While a bench is open, HOME and TMPDIR point into it and nothing of a town or a server is in the environment, so that
whoever writes where it should not is caught and does no harm. That concerns the whole process: one bench at a time.
A server is started only by `Sandbox.open_town`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import tomllib
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trio
from tinytown.config import CONFIG_FILE, URL_VARIABLE, Config, RedisConfig, load_config
from tinytown.contracts import AgentContext, Round, WorkContext
from tinytown.kernel import agent_directory, log_path, round_environment, run_directory
from tinytown.model.agents import Agent
from tinytown.model.ids import SUPERVISOR, new_id
from tinytown.model.messages import Informational, Message, TaskAssign
from tinytown.model.tasks import Task
from tinytown.process import ProcessSupervisor, open_process_supervisor
from tinytown.state import open_state, state_directory
from tinytown.town import Town, connect_town
from tinytown_cli.client import TownClient, connect
from tinytown_server.server import EmbeddedServer

_TOWN = "bench"
_CREATED_AT = "2026-01-31T09:30:00.125Z"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What `open_sandbox` gives. `base` holds everything: the town's `root`, `home`, `temporary` and `work`.

    `work` is an empty directory for rounds, outside of the town.
    """

    base: Path
    config: Config
    processes: ProcessSupervisor

    @property
    def root(self) -> Path:
        return self.base / "town"

    @property
    def home(self) -> Path:
        return self.base / "home"

    @property
    def temporary(self) -> Path:
        return self.base / "tmp"

    @property
    def work(self) -> Path:
        return self.base / "work"

    def agent(self, name: str = "ada", *, cli: str = "bench") -> Agent:
        """An agent that a backend of the kind `cli` would be given."""
        return Agent(id=new_id(), name=name, cli=cli, desired_state="running", state="idle", created_at=_CREATED_AT)

    def task(self, description: str, *, title: str = "", agent: Agent | None = None) -> Task:
        """A task as it is when its round begins."""
        return Task(
            id=new_id(),
            description=description,
            title=title,
            state="running",
            attempts=1,
            assigned_to=agent.name if agent else None,
            agent_id=agent.id if agent else None,
            token=new_id(),
            round_id=new_id(),
            created_at=_CREATED_AT,
        )

    def context(self, agent: Agent) -> AgentContext:
        """What a backend's `open` is given."""
        return AgentContext(
            agent=agent,
            config=self.config,
            root=self.root,
            state_directory=agent_directory(self.root, agent.name),
            processes=self.processes,
        )

    def work_context(self, agent: Agent, task: Task | None, town: Town) -> WorkContext:
        """What a workspace or a gate gets to know of a task, or of a round without one."""
        round_id = new_id() if task is None else task.round_id
        return WorkContext(
            agent=agent,
            task=task,
            town=town,
            root=self.root,
            processes=self.processes,
            environment=round_environment(self.config, self.root, agent, task, round_id or ""),
            round_id=round_id,
        )

    def round(
        self,
        agent: Agent,
        description: str,
        *,
        environment: Mapping[str, str] | None = None,
        mail: str = "",
        timeout_s: float | None = None,
        silence_s: float | None = None,
        grace_s: float = 0.3,
    ) -> Round:
        """A round about one task, whose description is the prompt, too; `environment` is added to a round's usual one.

        With `mail` there is a message of this text beside the task; it is the end of the prompt.
        """
        task = self.task(description, agent=agent)
        bodies: list[TaskAssign | Informational] = [TaskAssign(task_id=task.id)]
        bodies += [Informational(summary=mail)] if mail else []
        messages = tuple(
            Message(id=new_id(), sender=SUPERVISOR, recipient=agent.name, created_at=_CREATED_AT, body=body)
            for body in bodies
        )
        round_id = task.round_id or new_id()
        return Round(
            round_id=round_id,
            prompt=f"{description}\n\n{mail}" if mail else description,
            task=task,
            messages=messages,
            directory=self.work,
            environment={**round_environment(self.config, self.root, agent, task, round_id), **(environment or {})},
            log_path=log_path(self.root, agent.name),
            timeout_s=timeout_s,
            silence_s=silence_s,
            grace_s=grace_s,
        )

    @asynccontextmanager
    async def open_town(self) -> AsyncGenerator[Town]:
        """The town with its embedded server, connected; no kernel runs in it. The server is ended afterwards."""
        server = EmbeddedServer(state_directory(self.root))
        try:
            async with connect_town(self.root, self.config) as town:
                yield town
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 30):
                await trio.to_thread.run_sync(server.stop)

    @contextmanager
    def open_client(self) -> Generator[TownClient]:
        """The town with its embedded server, as commands reach it. The server is ended afterwards."""
        try:
            with connect(self.root, self.config) as town:
                yield town
        finally:
            EmbeddedServer(state_directory(self.root)).stop()


@asynccontextmanager
async def open_sandbox(*, toml: str = "") -> AsyncGenerator[Sandbox]:
    """A bench whose town has `toml` as its ``tinytown.toml``; what it says of a server is left out, the name it may omit.

    Raises: ConfigError for settings that a town could not have.
    """
    # Short, and not below a TMPDIR of the caller's: a socket's path has at most some hundred bytes.
    base = Path(tempfile.mkdtemp(prefix="tt-bench-", dir="/tmp" if os.access("/tmp", os.W_OK) else None)).resolve()
    try:
        for name in ("town", "home", "tmp", "work"):
            (base / name).mkdir(mode=0o700)
        root = base / "town"
        (root / CONFIG_FILE).write_text(_with_name(toml))
        with _redirected(base):
            (open_state(root) / "logs").mkdir(mode=0o700)
            # What a plugin promises does not hang on the disk, and syncing takes time.
            config = msgspec.structs.replace(load_config(root), redis=RedisConfig(durability="fast"))
            async with open_process_supervisor(run_dir=run_directory(root)) as processes:
                yield Sandbox(base, config, processes)
    finally:
        shutil.rmtree(base, ignore_errors=True)


@asynccontextmanager
async def use_sandbox(sandbox: Sandbox | None) -> AsyncGenerator[Sandbox]:
    """The bench itself, or one for as long as the block lasts."""
    if sandbox is not None:
        yield sandbox
    else:
        async with open_sandbox() as own:
            yield own


@contextmanager
def changed_environment(changes: Mapping[str, str | None]) -> Generator[None]:
    """This process with other environment variables; None means absent."""
    before = {name: os.environ.get(name) for name in changes}
    try:
        _set(changes)
        yield
    finally:
        _set(before)


def put_on_path(directory: Path) -> None:
    """Make a directory the first one of this process's PATH. The end of a sandbox gives back what was there before it."""
    places = os.environ.get("PATH", os.defpath)
    if str(directory) not in places.split(os.pathsep):
        os.environ["PATH"] = f"{directory}{os.pathsep}{places}"


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _redirected(base: Path) -> Generator[None]:
    away = [name for name in os.environ if name.startswith(("TINYTOWN_", "XDG_"))]
    changes: dict[str, str | None] = dict.fromkeys([*away, URL_VARIABLE, "TMP", "TEMP"])
    changes |= {"HOME": str(base / "home"), "TMPDIR": str(base / "tmp"), "XDG_STATE_HOME": str(base / "state")}
    changes["PATH"] = os.environ.get("PATH")  # a scenario may add to it
    temporary = tempfile.tempdir
    with changed_environment(changes):
        tempfile.tempdir = None  # it is looked up again
        try:
            yield
        finally:
            tempfile.tempdir = temporary


def _with_name(toml: str) -> str:
    with contextlib.suppress(tomllib.TOMLDecodeError):  # what is wrong with it is said by whoever reads it as a config
        if "name" in tomllib.loads(toml):
            return toml
    return f'name = "{_TOWN}"\n{toml}'
