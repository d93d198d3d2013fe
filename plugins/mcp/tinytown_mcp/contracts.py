"""What plugins contribute to the tools of agents. The hook that returns them is in `hookspecs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from tinytown.config import Config
    from tinytown.protocol import Operation, TownOperations
    from tinytown_cli.caller import Caller

T = TypeVar("T")


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
