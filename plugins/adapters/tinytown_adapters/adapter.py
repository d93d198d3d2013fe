"""What one coding CLI is to Tinytown: the contract of an adapter, and the values that go in and out of it. Starts nothing.

To write one: subclass `CliAdapter`, fill in the data, and say in `command_spec` how the CLI is called and in `reader` how it is
read. `tinytown_adapters.backend.backends_for` does the rest.
"""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from tinytown_adapters.forks import RunCli, SessionNotForked, SessionSource, TakenSession
from tinytown_adapters.run_state import Reader, RunState
from tinytown_adapters.session_store import CliSessionRecord
from tinytown_adapters.settings import CliSettings, Permissions
from tinytown_adapters.town_tools import TownTools

S = TypeVar("S", bound=CliSettings)
S_co = TypeVar("S_co", bound=CliSettings, covariant=True)


@dataclass(frozen=True, slots=True)
class RunRequest(Generic[S_co]):
    """What a run of the CLI is to be about.

    - `permissions` is decided: never None. `directory` is where the CLI will be started.
    - `work_dir` is a directory of this agent's for this CLI (mode 0700): whatever a `CommandSpec` has to write goes there.
    - `has_own_state`: the CLI is to keep its login, settings and sessions in `state`; else where it always does.
    - `session` is the one to continue with, None for a new one; with `forks`, the CLI has to continue in a copy of it.
    - `tools` are the town's own, None when they are not to be offered.
    - `environment` is what the CLI will be started with, before the plan adds to it: for looking, not for changing.
    - `trusts_project`: what the workspace itself configures (hooks, MCP servers, plugins) may run: its person has chosen
      ``full``, or to trust the project.
    - `asks`: what it wants to do beyond `permissions` is to be asked, by `ask_permission`.
    - `boxed`: it runs in a box that enforces what its person has chosen, so that `permissions` are the widest it offers.
    - `result_schema`: the JSON schema that the final answer has to fit (``meta["results"]["schema"]`` of the task). It is in
      the prompt, too, and checked in any case: give it to a CLI that can hold its model to it.
    """

    settings: S_co
    permissions: Permissions
    prompt: str
    directory: Path
    work_dir: Path
    has_own_state: bool = False
    session: CliSessionRecord | None = None
    forks: bool = False
    tools: TownTools | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    trusts_project: bool = True
    boxed: bool = False
    asks: bool = False
    result_schema: Mapping[str, Any] | None = None

    @property
    def prompt_bytes(self) -> bytes:
        """The prompt in UTF-8. What has no UTF-8, half of a surrogate pair, becomes a question mark."""
        return self.prompt.encode("utf-8", "replace")

    @property
    def temporary_directory(self) -> Path:
        """A directory for temporary files, which is there: for a CLI whose sandbox is to leave the common one alone."""
        return self.work_dir / "tmp"

    @property
    def state_directory(self) -> Path:
        """Where the CLI is to keep its state if it `has_own_state`; it is there then."""
        return self.work_dir / "state"


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """How to start the CLI once.

    - `arguments` come after the command; the settings' `extra_args` are in it, where this CLI wants them. No prompt and
      no secret: anybody on the machine can read arguments.
    - `stdin` is given and closed; None means `/dev/null`. A `Conversation` continues after it.
    - `files` are written before the start, in `RunRequest.work_dir` (names with ``/`` make directories), readable by the owner
      alone.
    - `environment` is added last; None removes a variable.
    - `first_signal` is the one that makes the CLI end its tools too, when it has to end.
    """

    arguments: Sequence[str]
    stdin: bytes | None = None
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    environment: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    first_signal: signal.Signals = signal.SIGTERM


class CliAdapter(ABC, Generic[S]):
    """One coding CLI. The class attributes are what people read about it and what the session depends on.

    - `plugin`: the plugin's name, ``[plugins.<plugin>]`` in messages; `kind`: the word after `--cli`; `title`: its name.
    - `command`: what is run unless the settings say otherwise; `install`: a command that installs it; `login`: what to
      do when it is not logged in. All three end up in front of a person.
    - `login_variables`: with one of these in the environment the CLI needs no login on disk; they are let through.
    - `own_variables`: patterns of further variables that are the CLI's own, let through even if they look secret.
    - `session_variables`: patterns of those variables that a session of the CLI sets for its own commands. A kernel that was
      started by such a session does not pass them on: they would tie its agents to that session.
    - `default_permissions`: ``write`` where the CLI itself can hold a model to its workspace without asking anybody. Where
      that depends on the machine, `permissions_by_default` says so.
    - `permissions_offered`: the profiles that it knows. Where one of them is chosen that it does not enforce by a sandbox
      of its own (`has_own_sandbox`), or one that it does not know, its agents need a sandbox plugin.
    - `sandbox_trial`: arguments with which it runs a command that does nothing in that sandbox. Before the first round of a
      session it has to end with status 0; 2, the status of arguments that a version does not know, says nothing.
    - `state_paths`: where it keeps login, settings and sessions, unless these are the agent's own; ``~`` is the home.
    - `project_code`: paths in a workspace by which it would run what a repository brings along, and which no option makes
      it ignore: while one is there it is not started for a project that its person does not trust.
    - `can_ask`: whether it can ask for permission in the middle of a round, with the profile ``write``.
    - `takes_tools`: whether it takes MCP servers; `tool_names`: what its model sees a tool of the town's server under, such
      as ``mcp__town__{}``. `runs_commands`: whether its models can run any.
    - `tools_need_own_state`: it takes them from its settings files alone, so only where these are the agent's own.
    - `sessions_stay_in_directory`: a session can be gone on with only in the directory that it was made in.
    - `forks_sessions`: a round can start from a copy of another agent's session; `take_session` gets it.
    - `reports_progress`: whether it prints something while it works; where not, nobody can tell a model that stalls.
    - `prompt_limit_chars`: the longest prompt that it takes.
    - `presets`: further kinds that come with it, each with the settings in which it differs.
    """

    plugin: ClassVar[str]
    kind: ClassVar[str]
    title: ClassVar[str]
    command: ClassVar[tuple[str, ...]]
    install: ClassVar[str]
    login: ClassVar[str]
    login_variables: ClassVar[tuple[str, ...]] = ()
    own_variables: ClassVar[tuple[str, ...]] = ()
    session_variables: ClassVar[tuple[str, ...]] = ()
    default_permissions: ClassVar[Permissions] = "full"
    permissions_offered: ClassVar[tuple[Permissions, ...]] = ("full",)
    sandbox_trial: ClassVar[tuple[str, ...]] = ()
    state_paths: ClassVar[tuple[str, ...]] = ()
    project_code: ClassVar[tuple[str, ...]] = ()
    can_ask: ClassVar[bool] = False
    takes_tools: ClassVar[bool] = True
    tool_names: ClassVar[str] = "{}"
    runs_commands: ClassVar[bool] = True
    tools_need_own_state: ClassVar[bool] = False
    sessions_stay_in_directory: ClassVar[bool] = False
    forks_sessions: ClassVar[bool] = False
    reports_progress: ClassVar[bool] = True
    prompt_limit_chars: ClassVar[int | None] = None
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @abstractmethod
    def command_spec(self, request: RunRequest[S]) -> CommandSpec:
        """How to start it for this. Pure but for looking at files. Called once for each run."""

    @abstractmethod
    def reader(self, state: RunState, request: RunRequest[S]) -> Reader:
        """What reads that run's output."""

    async def take_session(self, source: SessionSource, request: RunRequest[S], run: RunCli) -> TakenSession:
        """Get the session that a round starts from a copy of, or a copy of it, to where the CLI finds it.

        `request` has no session yet. The agent itself cannot read the other's files: look below `source.work_dir` by
        `SessionSource.read`. The session stays as it is. Raises: SessionNotForked, which fails the task.
        """
        raise SessionNotForked(f"{self.title} cannot fork sessions")

    def permissions_by_default(self) -> Permissions:
        """The profile of agents for which the person has chosen none. Quick."""
        return self.default_permissions

    def has_own_sandbox(self) -> bool:
        """Whether its own sandbox enforces the profiles that it offers, on this machine. Quick."""
        return False

    def warnings(self, settings: S, permissions: Permissions, environment: Collection[str]) -> Sequence[str]:
        """What else a person should know before an agent is spawned, one sentence each. `environment` has the names."""
        return ()
