"""What a tool is made of: a struct of arguments, from which its JSON Schema comes, and a function that asks the town.

A function's name is the tool's, and its docstring what the model is told of it. The arguments that several tools take
are described here once, so that they read alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from tinytown_mcp.mcp import Tool, ToolResult
from tinytown_mcp.office import ToolSession

#: Characters of a text that lists show.
BEGINNING = 300
#: Messages or agents that are looked at, at most.
LOOK_THROUGH = 1_000


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of a tool."""


class NoArguments(Arguments, frozen=True):
    """Those of a tool that takes none."""


A = TypeVar("A", bound=Arguments)

TaskWord = Annotated[str, msgspec.Meta(description="The task's id or an unambiguous beginning of it.")]
OwnTask = Annotated[str, msgspec.Meta(description="The task's id. Left out: the task of this round.")]
AgentWord = Annotated[str, msgspec.Meta(description="The agent's name, as who_is_who lists it.")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=200, description="At most so many.")]
Urgent = Annotated[bool, msgspec.Meta(description="Delivered before everything else. For what cannot wait.")]
Text = Annotated[str, msgspec.Meta(description="What to say, in plain text or Markdown.")]
Title = Annotated[str, msgspec.Meta(description="A line for lists. Left out: the first line of the text.")]
Tags = Annotated[tuple[str, ...], msgspec.Meta(description="Words that agents are matched by.")]
Needs = Annotated[tuple[str, ...], msgspec.Meta(description="Ids of tasks that must be completed first.")]
TaskText = Annotated[
    str, msgspec.Meta(description="The whole task: what is to be done, where, and how one sees that it is done.")
]


@dataclass(frozen=True, slots=True)
class ToolMaker(Generic[A]):
    """A tool that has no town yet."""

    arguments: type[A]
    function: Callable[[ToolSession, A], ToolResult]
    changes: bool

    @property
    def name(self) -> str:
        return self.function.__name__

    def make(self, office: ToolSession) -> Tool:
        """The tool for the agent whose `office` it is."""

        def call(given: Mapping[str, Any]) -> ToolResult:
            return self.function(office, msgspec.convert(given, self.arguments))

        description = " ".join((self.function.__doc__ or "").split())
        return Tool(self.name, description, _schema(self.arguments), self.changes, call)


def tool(arguments: type[A], *, changes: bool) -> Callable[[Callable[[ToolSession, A], ToolResult]], ToolMaker[A]]:
    """Makes a tool of a function. `changes`: it does more than look."""
    return lambda function: ToolMaker(arguments, function, changes)


def _schema(arguments: type[Arguments]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components((arguments,))
    schema = dict(components[arguments.__name__])
    for words_for_us in ("title", "description"):
        schema.pop(words_for_us, None)
    # Some models' interfaces take no enum without its type.
    members: Mapping[str, Any] = schema["properties"]
    return schema | {"properties": {name: _typed(member) for name, member in members.items()}}


def _typed(member: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "string", **member} if "enum" in member else member
