"""What plugins fulfil: the Protocols of the objects that hooks return, and the plain values they are handed.

Hooks announce, contracts act, the kernel owns every task: an object's async methods run in tasks that the kernel
started, may be cancelled at any checkpoint, and must leave nothing behind. `tinytown_testing` checks them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import msgspec

from tinytown.config import Config
from tinytown.model.agents import Agent
from tinytown.model.events import Event
from tinytown.model.messages import Message
from tinytown.model.tasks import Task

if TYPE_CHECKING:
    from tinytown.process.supervisor import Keeper
    from tinytown.town import Town

# -- what a round ends with ------------------------------------------------------------------------------


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a round consumed, as far as the backend tells: tokens, and money in US dollars.

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
    """The account is throttled, for `retry_after_s` seconds if the backend said so; else for a time that grows."""

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
    """The backend's process went away under it; `stderr_tail` is what it said last."""

    reason: str
    stderr_tail: str = ""


Outcome: TypeAlias = Finished | Failed | RateLimited | Unauthorized | Unavailable | Interrupted | Lost


# -- agent backends --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AgentContext:
    """What a backend knows of the agent it opens a session for.

    `root` is the town's root, `state_directory` a directory of the agent's own that lasts (made on demand, mode 0700),
    `keeper` starts processes whose whole tree ends with them.
    """

    agent: Agent
    config: Config
    root: Path
    state_directory: Path
    keeper: Keeper


@dataclass(frozen=True, slots=True)
class Round:
    """One piece of work for a session: a prompt and where to work on it. Times in seconds; None means no limit.

    `environment` is the whole environment for a process: the kernel's own, with what `tt` needs to reach the town's
    server, and the TINYTOWN_* variables by which it knows who is calling. Output may be kept in `log_path`.
    """

    run_id: str
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
    """Where a session tells what happens during a round. Calls return at once and never fail; text may be shortened."""

    def line(self, text: str) -> None:
        """A line of output or progress, for people who watch."""
        ...

    def usage(self, usage: Usage) -> None:
        """What has been consumed so far in this round."""
        ...


class AgentSession(Protocol):
    """An opened backend of one agent."""

    async def run_round(self, round: Round, report: Report) -> Outcome:
        """Do one round and return how it ended. Cancellation ends the work, its processes included, before it returns."""
        ...


@runtime_checkable
class AgentBackend(Protocol):
    """A way to run agents of one kind, the word that `--cli` takes.

    Kinds that share an account of their vendor may have an attribute ``account`` with its name; without one the account
    of a backend is its kind. When a round is rate limited, all agents of the account wait.
    """

    kind: str

    def open(self, context: AgentContext) -> AbstractAsyncContextManager[AgentSession]:
        """A session for one agent. Nothing is started before it is entered; leaving it leaves nothing."""
        ...


def offers_town_tools(backend: object) -> bool:
    """Whether the sessions of a backend offer `tt agent-tools` to what they run: it says so by ``offers_town_tools = True``.

    The prompts of its agents then speak of these tools instead of the command `tt`.
    """
    return getattr(backend, "offers_town_tools", False) is True


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
    """A command for the command line: its name, one line of help, and ``module:function`` of a click command."""

    name: str
    help: str
    target: str
