"""What plugins implement: the Protocols of the objects that hooks return, and the plain values that they are handed.

Hooks announce, contracts act, the kernel owns every task. Subclass the Protocol: optional members then have their
defaults, and a type checker sees what is missing. Async methods run in a task of the kernel, may be cancelled at any
checkpoint, and must leave nothing behind; whatever they raise is that plugin's fault and costs its own work only. The
test kit checks each contract promise by promise. All of it exists since hook API 2 unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import msgspec

from tinytown.config import Config
from tinytown.model.agents import Agent
from tinytown.model.events import Event
from tinytown.model.messages import Message
from tinytown.model.tasks import Task
from tinytown.redis.locate import (
    ServerProgram as ServerProgram,
    ServerProvider as ServerProvider,
    TownServer as TownServer,
)

if TYPE_CHECKING:
    from tinytown.client import TownClient
    from tinytown.identity import Caller
    from tinytown.process import ProcessSupervisor
    from tinytown.protocol.operation import Operation
    from tinytown.protocol.operations import TownOperations
    from tinytown.town import Town

T = TypeVar("T")

# -- what a round ends with ------------------------------------------------------------------------------


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a round consumed, as far as the backend reports it: tokens, and money in US dollars.

    ``input_tokens`` are all that went in; ``cached_tokens`` are those of them that came from the vendor's cache.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float | None = None


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """The backend came to its end. `text` is its final answer; `session_id` lets a later round go on from here."""

    text: str = ""
    usage: Usage | None = None
    session_id: str | None = None


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The round did not do its work. Unless `retryable`, trying again is known to be useless."""

    reason: str
    retryable: bool = True
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


# -- agent backends --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AgentContext:
    """What a backend knows of the agent it opens a session for.

    `root` is the town's root, `state_directory` a directory of the agent's own that outlives rounds (made on demand, mode
    0700), `processes` runs commands whose whole process tree ends with them.
    """

    agent: Agent
    config: Config
    root: Path
    state_directory: Path
    processes: ProcessSupervisor


@dataclass(frozen=True, slots=True)
class Round:
    """One piece of work for a session: a prompt and where to work on it. Times in seconds; None means no limit.

    `environment` is the whole environment for a process: the kernel's own, with what `tt` needs to reach the town's
    server, and the TINYTOWN_* variables by which it knows who is calling. Output may be kept in `log_path`.
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


class Report(Protocol):
    """How a session reports what happens during a round. Calls return at once and never fail; text may be shortened."""

    def line(self, text: str) -> None:
        """A line of output or progress, for people who watch."""
        ...

    def usage(self, usage: Usage) -> None:
        """What has been consumed so far in this round."""
        ...


class AgentSession(Protocol):
    """An opened backend of one agent."""

    async def run_round(self, work: Round, report: Report) -> Outcome:
        """Do one round and return how it ended.

        Called in a task of the kernel, one round at a time. Cancellation ends the work, its processes included, before it
        returns. Raising counts as `Failed`, and the session is closed.
        """
        ...


@runtime_checkable
class AgentBackend(Protocol):
    """A way to run agents of one kind.

    `kind` is the word that ``--cli`` takes. `account` names what agents share with their vendor: when a round is rate limited,
    all agents of the account wait; empty, the kind is an account of its own. `offers_town_tools` says that its sessions
    offer the town's tools to the model (MCP), so that prompts name these instead of the command ``tt``.
    """

    kind: str
    account: str = ""
    offers_town_tools: bool = False

    def open(self, context: AgentContext) -> AbstractAsyncContextManager[AgentSession]:
        """A session for one agent. Nothing is started before it is entered; leaving it leaves nothing.

        Called when the agent's first round begins, in a task that lives as long as the session. Raises: BackendUnavailable
        with a hint when the tool is missing; anything else counts as a fault of the plugin.
        """
        ...

    def warnings(self) -> Sequence[str]:
        """Sentences to read before an agent of this kind is spawned: a tool that is not installed, a model that may do anything.

        Quick, without IO that could hang. Called by ``tt spawn`` and ``tt plugins``.
        """
        return ()


# -- converters ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Converted:
    """What a converter made of a document: `tasks` as keyword arguments of `Town.add_task`, and what was left out, by line."""

    tasks: tuple[Mapping[str, Any], ...]
    problems: tuple[str, ...] = ()


@runtime_checkable
class Converter(Protocol):
    """A named format to and from tasks. `keeps` and `loses` say in words what survives a round trip."""

    format: str
    keeps: Sequence[str]
    loses: Sequence[str]

    def read(self, document: bytes) -> Converted:
        """The tasks in a document; problems name the line and the reason, never raise for bad content."""
        ...

    def write(self, tasks: Sequence[Task]) -> bytes:
        """The document that holds these tasks."""
        ...


@runtime_checkable
class RewritingConverter(Converter, Protocol):
    """A converter of documents that hold more than tasks: it can put changes of tasks into a document that is there."""

    def rewrite(self, document: bytes, tasks: Sequence[Task]) -> bytes:
        """`document` with what these tasks say by now; what has not changed, or is no task, stays byte for byte."""
        ...


# -- status sinks ----------------------------------------------------------------------------------------


@runtime_checkable
class StatusSink(Protocol):
    """Somewhere events go. Each event reaches it at least once and in order, also after a restart."""

    name: str

    def open(self) -> AbstractAsyncContextManager[None]:
        """What the sink needs while it is in use."""
        ...

    async def put(self, events: Sequence[Event]) -> None:
        """Take a batch of events, oldest first. Raising means that none was taken; the batch comes again later."""
        ...


# -- workspaces and gates --------------------------------------------------------------------------------


@runtime_checkable
class Workspace(Protocol):
    """A provider of places to work in. The first whose `claims` agrees serves the round."""

    name: str

    def claims(self, agent: Agent, task: Task | None) -> bool:
        """Whether this provider is to serve such a round."""
        ...

    def open(self, agent: Agent, task: Task | None) -> AbstractAsyncContextManager[Path]:
        """The directory for a round; leaving it decides what happens to the work in it.

        It is opened again, after the round, for the gates that judge the task.
        """
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate says of a submitted task, with the evidence for it."""

    passed: bool
    evidence: str = ""


@runtime_checkable
class Gate(Protocol):
    """A check that a submitted task has to pass before it counts as completed."""

    name: str

    async def check(self, task: Task, directory: Path) -> Verdict:
        """The verdict on a task whose work lies in `directory`."""
        ...


# -- services and commands -------------------------------------------------------------------------------


@runtime_checkable
class Service(Protocol):
    """Something that runs as long as the kernel does; restarted with growing delays when it ends or raises."""

    name: str

    async def run(self, town: Town) -> None:
        """Work until cancelled."""
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the command line. `target` is ``module:attribute`` of a click command, imported only when it is typed.

    `name` may have two words (``task why``): the command then hangs below another one. `section` is the heading of
    ``tt --help`` that lists it.
    """

    name: str
    help: str
    target: str
    section: str = "More"


@dataclass(frozen=True, slots=True)
class Completer:
    """What a shell completes a word to. `name` is what parameters refer to, `target` ``module:function``.

    The function takes the click context and returns pairs of a word and a remark about it. It may raise: then nothing is offered.
    """

    name: str
    target: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a health check: what was found and, unless all is well, how to fix it."""

    check: str
    level: Literal["ok", "note", "problem"]
    found: str
    fix: str = ""


@runtime_checkable
class HealthCheck(Protocol):
    """Something that ``tt doctor`` looks at."""

    name: str

    def check(self, town: TownClient) -> Sequence[Finding]:
        """What it finds in a town that answers. Called in the process of the command, for at most some seconds.

        Raising is a finding of its own and hides no other.
        """
        ...


@dataclass(frozen=True, slots=True)
class SectionContent:
    """A section as people see it (`lines`) and as ``--json`` has it (`value`, anything that msgspec encodes)."""

    title: str
    lines: Sequence[str]
    value: Any


@runtime_checkable
class StatusSection(Protocol):
    """Something that ``tt status`` shows beside the town itself, with ``--deep`` or, about open tasks, with ``--tasks``.

    `name` is its member of the JSON object.
    """

    name: str
    option: Literal["deep", "tasks"] = "deep"

    def read(self, town: TownClient) -> SectionContent | None:
        """The section as it is now; None leaves it out. Called in the process of the command."""
        ...


class ToolSession(Protocol):
    """The town as the tools of one agent's round reach it."""

    @property
    def caller(self) -> Caller:
        """The agent, and the task and token of its round."""
        ...

    @property
    def config(self) -> Config:
        """The town's configuration. Raises: ConfigError if it is invalid by now; a tool may let that through."""
        ...

    @property
    def operations(self) -> TownOperations:
        """The operations of the town."""
        ...

    def run(self, operation: Operation[T]) -> T:
        """The town's answer. Raises: TinytownError, which a tool may let through: the model then reads its message."""
        ...


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The answer of a tool: `text` for the model, `value` the same for programs (anything that msgspec encodes as an object)."""

    text: str
    value: Mapping[str, Any]


@runtime_checkable
class AgentTool(Protocol):
    """A tool that the town offers to agents, over MCP.

    `arguments` is a msgspec Struct with ``forbid_unknown_fields=True``; its JSON Schema is what the model sees. `changes` says
    whether a call does more than look.
    """

    name: str
    description: str
    arguments: type[msgspec.Struct]
    changes: bool = True

    def call(self, session: ToolSession, arguments: Any) -> str | ToolResult:
        """The answer for the model. Called in the process that serves the tools, one call at a time.

        `arguments` is an instance of the struct. Raises: TinytownError for what the model can act on; anything else is
        answered as an internal error. Neither ends the server.
        """
        ...


@dataclass(frozen=True, slots=True)
class ReportingGuide:
    """How a prompt says where to read more and how to report.

    `task` is formatted with the task's id; `mail` and `agents` name where the rest of a long list is. `reporting` says how
    to settle the task of the round, `acting` what else an agent can do; both are Markdown.
    """

    task: str
    mail: str
    agents: str
    reporting: str
    acting: str
