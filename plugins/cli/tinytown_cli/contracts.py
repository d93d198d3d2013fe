"""What plugins contribute to the command line: commands, completers, health checks and sections of the status.

Subclass a Protocol: optional members then have their defaults. The hooks that return these objects are in `hookspecs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from tinytown.model.tasks import Task

    from tinytown_cli.client import TownClient


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the command line. `target` is ``module:attribute`` of a click command, imported only when it is typed.

    `name` may have two words (``task why``): the command then hangs below another one. `section` is the heading of
    ``tt --help`` that lists it, one of `tinytown_cli.command_table.SECTIONS` or another one.
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
class ForksSessions(Protocol):
    """A backend whose rounds may start from a copy of another agent's session. Optional for backends.

    It reads the table ``meta["fork"]`` of the round's task: ``agent``, the name of the agent that has the session, and
    ``session_id``, as a round of that agent has reported it. Where `forks_sessions` is false, such tasks are refused.
    """

    forks_sessions: bool


@runtime_checkable
class NeedsProgram(Protocol):
    """A backend that runs a program which may be missing. Optional for backends: ``tt doctor`` lists those kinds together."""

    def missing_program(self) -> tuple[str, str] | None:
        """What is missing on this machine, and how to install it; None where it is there. Quick, as `AgentBackend.warnings`."""
        ...


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
