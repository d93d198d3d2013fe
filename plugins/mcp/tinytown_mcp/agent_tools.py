"""From a tool of the contract `AgentTool` to one that is served, and what the town's own tools are made of.

A function with a docstring becomes a tool by `tool`; the argument types that several tools share are described here once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from tinytown.errors import UsageError

from tinytown_mcp.contracts import AgentTool, ToolResult, ToolSession
from tinytown_mcp.mcp_server import Tool

#: Characters of a text in a list.
EXCERPT_LENGTH = 300
#: Messages or agents read at most.
READ_LIMIT = 1_000


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of a tool."""


class NoArguments(Arguments, frozen=True):
    """For a tool without arguments."""


A = TypeVar("A", bound=Arguments)

TaskWord = Annotated[str, msgspec.Meta(description="The task's id or an unambiguous prefix of it.")]
OwnTask = Annotated[
    str, msgspec.Meta(description="The task's id. Default: the task of this round, if it has only one.")
]
AgentWord = Annotated[str, msgspec.Meta(description="The agent's name, as listed by who_is_who.")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=200, description="Maximum number of entries.")]
Urgent = Annotated[bool, msgspec.Meta(description="Deliver before all other mail. For what cannot wait.")]
Text = Annotated[str, msgspec.Meta(description="The text, plain or Markdown.")]
Title = Annotated[str, msgspec.Meta(description="One line for lists. Default: the first line of the text.")]
Tags = Annotated[tuple[str, ...], msgspec.Meta(description="Tags that agents are matched by.")]
Needs = Annotated[tuple[str, ...], msgspec.Meta(description="Ids of tasks that must be completed first.")]
TaskText = Annotated[
    str, msgspec.Meta(description="The whole task: what to do, where, and how to check that it is done.")
]


class FunctionTool(AgentTool):
    """A tool made of a function: its name is the tool's, its docstring the description."""

    def __init__(self, function: Callable[[ToolSession, Any], ToolResult], arguments: type[Arguments], changes: bool):
        self.name = function.__name__
        self.description = " ".join((function.__doc__ or "").split())
        self.arguments = arguments
        self.changes = changes
        self._function = function

    def call(self, session: ToolSession, arguments: Any) -> ToolResult:
        return self._function(session, arguments)


def tool(arguments: type[A], *, changes: bool) -> Callable[[Callable[[ToolSession, A], ToolResult]], FunctionTool]:
    """A decorator that makes a tool of a function. `changes`: it does more than read."""
    return lambda function: FunctionTool(function, arguments, changes)


def served_tool(tool: AgentTool, session: ToolSession) -> Tool:
    """`tool` as the server offers it to the agent of `session`.

    Raises: TypeError if its arguments are no struct or have no JSON Schema.
    """

    def call(arguments: Mapping[str, Any]) -> ToolResult:
        try:
            converted = msgspec.convert(arguments, tool.arguments)
        except msgspec.ValidationError as error:
            raise UsageError(f"invalid arguments for {tool.name}: {error}") from error
        result: Any = tool.call(session, converted)
        if isinstance(result, str):
            return ToolResult(result, {"text": result})
        if not isinstance(result, ToolResult):
            raise TypeError(f"expected a text or a ToolResult, got {type(result).__name__}")
        return result

    return Tool(tool.name, tool.description, _schema(tool.arguments), tool.changes, call)


def _schema(arguments: type[msgspec.Struct]) -> dict[str, Any]:
    if not (isinstance(arguments, type) and issubclass(arguments, msgspec.Struct)):  # pyright: ignore
        raise TypeError(f"expected a msgspec Struct as its arguments, got {arguments!r}")
    (reference,), components = msgspec.json.schema_components((arguments,))
    schema = dict(components.pop(reference["$ref"].rpartition("/")[2]))
    for unused in ("title", "description"):
        schema.pop(unused, None)
    # The interfaces of some models refuse an enum without a type.
    members: Mapping[str, Any] = schema.get("properties", {})
    schema["properties"] = {name: _typed(member) for name, member in members.items()}
    return schema | ({"$defs": components} if components else {})


def _typed(member: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "string", **member} if "enum" in member else member
