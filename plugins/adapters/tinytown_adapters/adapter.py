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
    - `session` is the one to go on with, None for a new one.
    - `tools` are the town's own, None when they are not to be offered.
    - `environment` is what the CLI will be started with, before the plan adds to it: for looking, not for changing.
    """

    settings: S_co
    permissions: Permissions
    prompt: str
    directory: Path
    work_dir: Path
    has_own_state: bool
    session: CliSessionRecord | None
    tools: TownTools | None
    environment: Mapping[str, str]

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
    - `stdin` is given and closed; None means `/dev/null`.
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
    """One coding CLI. The class attributes are what a person is told and what the session goes by.

    - `plugin`: the plugin's name, ``[plugins.<plugin>]`` in messages; `kind`: the word after `--cli`; `title`: its name.
    - `command`: what is run unless the settings say otherwise; `install`: a command that installs it; `login`: what to
      do when it is not logged in. All three end up in front of a person.
    - `login_variables`: with one of these in the environment the CLI needs no login on disk; they are let through.
    - `own_variables`: patterns of further variables that are the CLI's own, let through even if they look secret.
    - `default_permissions`: ``write`` where the CLI itself can hold a model to its workspace without asking anybody. Where
      that depends on the machine, `permissions_by_default` says so.
    - `permissions_offered`: the profiles that it can keep; asking for another is an error in the settings.
    - `takes_tools`: whether it takes MCP servers.
    - `tools_need_own_state`: it takes them from its settings files alone, so only where these are the agent's own.
    - `sessions_stay_in_directory`: a session can be gone on with only in the directory that it was made in.
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
    default_permissions: ClassVar[Permissions] = "full"
    permissions_offered: ClassVar[tuple[Permissions, ...]] = ("full",)
    takes_tools: ClassVar[bool] = True
    tools_need_own_state: ClassVar[bool] = False
    sessions_stay_in_directory: ClassVar[bool] = False
    reports_progress: ClassVar[bool] = True
    prompt_limit_chars: ClassVar[int | None] = None
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @abstractmethod
    def command_spec(self, request: RunRequest[S]) -> CommandSpec:
        """How to start it for this. Pure but for looking at files. Called once for each run."""

    @abstractmethod
    def reader(self, state: RunState, request: RunRequest[S]) -> Reader:
        """What reads that run's output."""

    def permissions_by_default(self) -> Permissions:
        """The profile of agents for which the person has chosen none. Quick."""
        return self.default_permissions

    def warnings(self, settings: S, permissions: Permissions, environment: Collection[str]) -> Sequence[str]:
        """What else a person should know before an agent is spawned, one sentence each. `environment` has the names."""
        return ()
