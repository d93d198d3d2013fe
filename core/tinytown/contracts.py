"""What plugins implement: Protocols of the objects that hooks return, and the values that they are handed. Since hook API 2.

Subclass the Protocol: optional members then have their defaults, and a type checker sees what is missing. Async methods run
in a task of the kernel, may be cancelled at any checkpoint, and must leave nothing behind; what they raise is that plugin's
fault and costs its own work only. The test kit checks each contract promise by promise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from tinytown.config import Config, Permissions
from tinytown.model.agents import Agent
from tinytown.model.messages import Message
from tinytown.model.round_records import RoundRecord
from tinytown.model.tasks import Task
from tinytown.redis.locate import (
    ServerProgram as ServerProgram,
    ServerProvider as ServerProvider,
    TownServer as TownServer,
)

if TYPE_CHECKING:
    from tinytown.process import ProcessSupervisor
    from tinytown.town import Town


_Tokens: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=10**12)]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens and dollars of a round, as far as reported. ``cached_tokens`` are those ``input_tokens`` that came from a cache.

    Numbers that no round can have used are left out of account, and their plugin is named.
    """

    input_tokens: _Tokens = 0
    output_tokens: _Tokens = 0
    cached_tokens: _Tokens = 0
    cost_usd: Annotated[float, msgspec.Meta(ge=0, le=10**6)] | None = None


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """The backend came to its end. `text` is its final answer; `session_id`, one line, lets a later round continue from here."""

    text: str = ""
    usage: Usage | None = None
    session_id: str | None = None


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The round did not do its work. Unless `retryable`, a retry is useless; with a `cause`, another model may still do it."""

    reason: str
    retryable: bool = True
    cause: Literal["refused", "context_too_long"] | None = None
    usage: Usage | None = None
    session_id: str | None = None


class RateLimited(msgspec.Struct, frozen=True, kw_only=True, tag="rate_limited"):
    """The account is throttled, for `retry_after_s` seconds if the backend reports it; else with a growing delay."""

    reason: str = "rate limited"
    retry_after_s: float | None = None


class Unauthorized(msgspec.Struct, frozen=True, kw_only=True, tag="unauthorized"):
    """No valid login or key; `hint` says what a person has to do."""

    reason: str
    hint: str = ""


class Unavailable(msgspec.Struct, frozen=True, kw_only=True, tag="unavailable"):
    """The tool is missing or cannot start; `hint` says how to install it."""

    reason: str
    hint: str = ""


class Interrupted(msgspec.Struct, frozen=True, kw_only=True, tag="interrupted"):
    """The round was ended from outside, by a person, an urgent message or a shutdown."""

    reason: str = "interrupted"


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag="lost"):
    """The backend's process ended unexpectedly; `stderr_tail` is the end of its error output."""

    reason: str
    stderr_tail: str = ""


Outcome: TypeAlias = Finished | Failed | RateLimited | Unauthorized | Unavailable | Interrupted | Lost


@dataclass(frozen=True, slots=True)
class AgentContext:
    """What a backend knows of the agent it opens a session for.

    `state_directory` (mode 0700) is the agent's own and outlives rounds; what `processes` runs ends with its whole tree.
    `boxed` says that a sandbox holds it to `permissions`; else, below ``full``, the backend does, as its `own_profiles` say.
    """

    agent: Agent
    config: Config
    root: Path
    state_directory: Path
    processes: ProcessSupervisor
    permissions: Permissions = "full"
    boxed: bool = False


#: What a workspace is opened for, and how a task that it has opened may finish.
Purpose: TypeAlias = Literal["round", "gate"]
Disposition: TypeAlias = Literal["completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class WorkContext:
    """What workspaces and gates get to know of the work at hand: a round, or a task whose round is over.

    `town` is the kernel's connection. Processes run by `processes` with `environment`, which is a round's without access to
    the town; the directory is theirs to choose. `round_id` is the round that is meant, or the task's last one, if it had one.
    """

    agent: Agent
    task: Task | None
    town: Town
    root: Path
    processes: ProcessSupervisor
    environment: Mapping[str, str]
    round_id: str | None


@dataclass(frozen=True, slots=True)
class Round:
    """One piece of work for a session: a prompt and where to work on it. Times in seconds; None means no limit.

    `tasks` are all that it has; of several, which its agent settles one by one, none is its `task`. `environment` is the whole
    environment for a process: the kernel's own, with what `tt` needs to reach the town's server, and the TINYTOWN_* variables
    by which it knows who is calling. Output may be kept in `log_path`.
    """

    round_id: str
    prompt: str
    task: Task | None
    messages: tuple[Message, ...]
    directory: Path
    environment: Mapping[str, str]
    log_path: Path
    timeout_s: float | None = None
    silence_s: float | None = None
    grace_s: float = 3.0
    session_id: str | None = None
    tasks: tuple[Task, ...] = ()


class Said(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    """What the model has said so far in this step, or thought."""

    text: str
    thought: bool = False


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, tag="tool_call"):
    """A tool that the model uses. `kind` is what it does: ``read``, ``edit``, ``execute``, ``search``, ``fetch``, ``other``."""

    id: str
    title: str
    kind: str = "other"
    status: Literal["pending", "running", "completed", "failed"] = "running"
    paths: tuple[str, ...] = ()


class PlanEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a plan."""

    text: str
    status: Literal["pending", "running", "completed"] = "pending"


class Plan(msgspec.Struct, frozen=True, kw_only=True, tag="plan"):
    """What the model plans to do, in whole."""

    entries: tuple[PlanEntry, ...]


class Diff(msgspec.Struct, frozen=True, kw_only=True, tag="diff"):
    """A change of a file, as a unified diff."""

    path: str
    diff: str


Activity: TypeAlias = Said | ToolCall | Plan | Diff


class Report(Protocol):
    """How a session reports what happens during a round. Calls but `ask` return at once; none fails; text may be shortened."""

    def line(self, text: str) -> None:
        """A line of output or progress, for people who watch."""

    def usage(self, usage: Usage) -> None:
        """What has been consumed so far in this round."""

    def activity(self, activity: Activity) -> None:
        """What the model does, as a value that screens can show. Of two about the same tool call or file the later one counts."""

    async def ask(self, question: str, options: Sequence[str] = (), *, timeout_s: float = 600.0) -> str | None:
        """The answer of a policy or a person: one of `options` if there are any; None if there is none in time.

        The limits of the round continue meanwhile. Since API 2.
        """
        ...


class AgentSession(Protocol):
    """An opened backend of one agent."""

    async def run_round(self, work: Round, report: Report) -> Outcome:
        """Do one round and return how it ended.

        Called in a task of the kernel, one round at a time. Cancellation ends the work, its processes included, before it
        returns. Raising counts as `Failed`, and the session is closed.
        """
        ...

    async def deliver(self, text: str) -> bool:
        """Show the model urgent mail in the round in progress; False leaves it to the next, as does the end of the round."""
        return False


@runtime_checkable
class AgentBackend(Protocol):
    """A way to run agents of one kind.

    `kind` is the word that ``--cli`` takes. `account` names what agents share with their vendor: when a round is rate limited,
    all agents of the account wait; empty, the kind is an account of its own. `offers_town_tools`: whether its sessions offer the
    town's tools (MCP), so that prompts name these, in a text like ``town_{}``, and not ``tt``; None: its models run nothing.
    `own_profiles` it enforces itself where no sandbox is installed; `state_paths` it writes outside of the workspace. A task with
    one of `single_tables` beside it shares no round with others.
    """

    kind: str
    account: str = ""
    offers_town_tools: bool | str | None = False
    own_profiles: Sequence[Permissions] = ()
    state_paths: Sequence[Path] = ()
    single_tables: Sequence[str] = ()

    def open(self, context: AgentContext) -> AbstractAsyncContextManager[AgentSession]:
        """A session for one agent. Nothing is started before it is entered; leaving it leaves nothing.

        Called when the agent's first round begins, in a task that lives as long as the session. Raises: BackendUnavailable
        with a hint when the tool is missing; anything else counts as a fault of the plugin.
        """
        ...

    def warnings(self) -> Sequence[str]:
        """What to read before an agent of this kind is spawned, such as a missing tool. Quick, without IO that could hang."""
        return ()

    def permissions_of(self, agent: Agent, default: Permissions | None) -> Permissions:
        """What the agent may do; `default` is what the town's settings say for all agents, if they do."""
        return default or "full"


@runtime_checkable
class Workspace(Protocol):
    """A provider of places to work in. The first whose `claims` agrees serves the round."""

    name: str

    def claims(self, agent: Agent, task: Task | None) -> bool:
        """Whether this provider is to serve such a round. Quick."""
        ...

    def open(self, work: WorkContext, purpose: Purpose) -> AbstractAsyncContextManager[Path]:
        """The directory for a round, or for the gates on its task, which have to find the work there.

        Leaving it decides what happens to the files.
        """
        ...

    async def settle(self, work: WorkContext, disposition: Disposition, directory: Path | None) -> None:
        """Merge or clean up: a task that was opened here has finished, and nothing has it open any more.

        Called once each time that a task finishes, and again only if this raised or the kernel ended before it was done; one
        call at a time on each host. A deleted task counts as cancelled, and is as it was when it was opened. `directory` is
        what `open` gave last; None if the last round of the task was on another host. Raises: Refused if it cannot be now.
        """


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate says of a submitted task, with the evidence for it.

    With `passed` None the task stays submitted, and the gate's plugin records the verdict later (`record_verdict`).
    """

    passed: bool | None
    evidence: str = ""


@runtime_checkable
class Gate(Protocol):
    """A check that a submitted task has to pass before it counts as completed."""

    name: str

    def wants(self, task: Task) -> bool:
        """Whether this gate is to judge the task, which may have no result yet. Quick. Raising counts as True. Since API 2."""
        return True

    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        """The verdict on the task of `work`, which is in `directory`. Raising refuses it."""
        ...


@runtime_checkable
class Service(Protocol):
    """Something that runs as long as the kernel does; restarted with growing delays when it ends or raises.

    With the `scope` ``town`` one kernel of the town runs it at a time, under a lease: when that is lost, `run` is cancelled, and
    within `lease_s` another kernel takes over.
    """

    name: str
    scope: Literal["host", "town"] = "host"

    async def run(self, town: Town) -> None:
        """Work until cancelled."""


@runtime_checkable
class QuestionHandler(Protocol):
    """Answers what sessions ask: a policy, or the way to a person. They are asked in turn until one answers. Since API 2."""

    name: str

    async def ask(self, work: WorkContext, question: str, options: Sequence[str]) -> str | None:
        """An answer, one of `options` if there are any; None to leave it to the next. Cancelled when the time is over."""
        ...


@runtime_checkable
class FailureHandler(Protocol):
    """Is asked before a round fails its task, and may give the task to another agent. Since API 2."""

    name: str

    async def before_failing(self, work: WorkContext, outcome: Outcome) -> str | None:
        """The reason of the failure, None to leave it to the next. The round settles nothing that it no longer has."""
        ...


@runtime_checkable
class RoundAccess(Protocol):
    """How the processes of rounds reach the town: with the rights of their round and no more. Since API 2."""

    name: str

    def open(
        self, town: Town, agent: Agent, tasks: Sequence[Task], permissions_of: Callable[[Agent], Permissions]
    ) -> AbstractAsyncContextManager[str]:
        """A URL for ``TINYTOWN_ROUND_URL``, under which the processes of one round find the town until the block is left.

        `town` is the kernel's connection, `tasks` the round's, with their token; `permissions_of` an agent are what holds here.
        Raises: anything; the round then fails.
        """
        ...


@runtime_checkable
class RoundObserver(Protocol):
    """Watches the rounds of this host's agents, such as to keep files of them. Since API 2.

    Its methods are called in the task of the agent and hold it up: quick. What they raise costs the round nothing.
    """

    name: str

    def began(self, agent: Agent, work: Round) -> None:
        """A session is about to get `work`."""

    def ended(self, agent: Agent, work: Round, record: RoundRecord, tail: bytes) -> None:
        """A round that began has ended (its kernel lives); `tail` is the end of the lines that its session reported."""


@dataclass(frozen=True, slots=True)
class Box:
    """What the processes of one run may reach, by absolute paths; the longest path that holds a file decides.

    With the profile ``read`` the `workspace` is read-only. `writable` are further files and directories, `read_only` those
    that stay as they are, `hidden` those out of sight. The town's server is behind one of the `sockets`.
    """

    profile: Literal["read", "write"]
    workspace: Path
    writable: tuple[Path, ...] = ()
    read_only: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    sockets: tuple[Path, ...] = ()


@runtime_checkable
class Sandbox(Protocol):
    """A way to hold processes to what they may do. The first one without a `problem` is used. Since API 2."""

    name: str

    def problem(self) -> str:
        """Why there can be no box on this machine, with what to install; empty if there can. Called in a thread."""
        ...

    def wrap(self, command: Sequence[str], *, box: Box, environment: Mapping[str, str]) -> Sequence[str]:
        """The command that runs `command` in a `box`, with the same descriptors, group, and exit status. Quick.

        It is started in the workspace with `environment`; killing it ends all that is in the box. Raises: ProcessFailed,
        as `ProcessSupervisor.run`.
        """
        ...


#: How many dependencies of a task are looked up for its prompt.
NEEDED_SHOWN = 10


@dataclass(frozen=True, slots=True)
class PromptParts:
    """What the kernel collects for the prompt of a round.

    `needed` are the first `NEEDED_SHOWN` tasks that `task` depends on, as far as they still exist; `sections` is what plugins
    add. `in_round`: mail for a round in progress. Without a `task`, the round may have several `tasks`.
    """

    agent: Agent
    task: Task | None
    messages: Sequence[Message]
    needed: Sequence[Task] = ()
    colleagues: Sequence[Agent] = ()
    sections: Sequence[str] = ()
    in_round: bool = False
    tasks: Sequence[Task] = ()
