"""What every tool for agents promises (T1, T2, ...), and how each promise is checked: in a real town, as one of its agents."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack, cast

import msgspec
from tinytown.config import Config
from tinytown.errors import TinytownError
from tinytown.model.agents import Agent
from tinytown.model.text import shown
from tinytown.protocol import Operation, TownOperations
from tinytown_cli.caller import Caller
from tinytown_cli.client import TownClient
from tinytown_mcp.contracts import AgentTool, ToolResult, ToolSession

from tinytown_testing.contract_checks import CheckOptions, check_town_promises
from tinytown_testing.promises import Broken, CheckReport, Contract, NotApplicable
from tinytown_testing.town_samples import expect_unchanged, fill_town
from tinytown_testing.trial import Trial, expect

R = TypeVar("R")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class SandboxToolSession(ToolSession):
    """The town as an agent reaches it that has no task."""

    town: TownClient
    agent_id: str
    agent_name: str

    @property
    def caller(self) -> Caller:
        return Caller(agent=self.agent_id, agent_name=self.agent_name)

    @property
    def config(self) -> Config:
        return self.town.config

    @property
    def operations(self) -> TownOperations:
        return self.town.operations

    def run(self, operation: Operation[R]) -> R:
        return self.town.run(operation)


@dataclass(slots=True)
class AgentToolTrial(Trial):
    """One attempt at one promise of a tool. `calls` are the arguments of calls that it must answer."""

    make: Callable[[], AgentTool]
    town: TownClient
    calls: Sequence[Mapping[str, Any]]

    def arguments(self) -> list[msgspec.Struct]:
        """The arguments of each call. Raises: NotApplicable if none are known."""
        kind = self.make().arguments
        required = [field.name for field in msgspec.structs.fields(kind) if field.required]
        if not self.calls and required:
            raise NotApplicable(f"no calls were given, and {', '.join(required)} must be")
        return [msgspec.convert(call, kind) for call in self.calls or [{}]]

    def answer_all(self, agent: Agent) -> None:
        """Call it as an agent, with each of the arguments. Broken unless it answers; an error of the town is an answer."""
        for arguments in self.arguments():
            try:
                answer: object = self.make().call(SandboxToolSession(self.town, agent.id, agent.name), arguments)
            except TinytownError:
                continue
            if isinstance(answer, ToolResult):
                expect(answer.text, str, "as text")
                value = msgspec.json.decode(msgspec.json.encode(answer.value))
                expect(value, dict, "as value, encoded as JSON,")
            else:
                expect(answer, str, "from call()")


AGENT_TOOL = Contract[AgentToolTrial]("agent tool")


async def check_agent_tool(
    make: Callable[[], AgentTool],
    *,
    calls: Sequence[Mapping[str, Any]] = (),
    **options: Unpack[CheckOptions],
) -> CheckReport:
    """Check the tools that `make` makes. The options are those of every check, see `CheckOptions`.

    `calls` are arguments to call it with; without them, a tool without required arguments is called with none. Raises:
    ServerUnreachable if no embedded server can be started.
    """
    return await check_town_promises(
        AGENT_TOOL,
        lambda place, slack_s, town: AgentToolTrial(place, slack_s, make, town, calls),
        name=lambda: make().name,
        **options,
    )


@AGENT_TOOL.promise("T1", "Its name has at most 64 letters, digits, '_' and '-', and its description is a text.")
async def _name(trial: AgentToolTrial) -> None:
    tool = trial.make()
    if not _NAME.fullmatch(expect(tool.name, str, "as name")):
        raise Broken(f"expected at most 64 letters, digits, '_' and '-' as name, got {shown(repr(tool.name))}")
    if not expect(tool.description, str, "as description").strip():
        raise Broken("expected a description, got an empty one")
    expect(tool.changes, bool, "as changes")


@AGENT_TOOL.promise("T2", "Its arguments are a Struct that forbids unknown fields and has a JSON schema.")
async def _arguments(trial: AgentToolTrial) -> None:
    kind = cast("object", trial.make().arguments)
    got = shown(repr(kind))
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        raise Broken(f"expected a subclass of msgspec.Struct as arguments, got {got}")
    if not kind.__struct_config__.forbid_unknown_fields:
        raise Broken("expected forbid_unknown_fields=True, or a misspelt argument is ignored")
    try:
        msgspec.json.schema(kind)
    except (TypeError, ValueError) as error:
        raise Broken(f"the arguments have no JSON schema: {error}") from error


@AGENT_TOOL.promise(
    "T3", "It answers with a text, or with a ToolResult whose value is a JSON object.", requires=("T2",)
)
async def _answers(trial: AgentToolTrial) -> None:
    trial.answer_all(fill_town(trial.town))


@AGENT_TOOL.promise("T4", "A tool that says it changes nothing leaves the town as it is.", requires=("T3",))
async def _changes_nothing(trial: AgentToolTrial) -> None:
    if trial.make().changes:
        raise NotApplicable("it says that it changes something")
    agent = fill_town(trial.town)
    expect_unchanged(trial.town, lambda: trial.answer_all(agent))


@AGENT_TOOL.promise("T5", "A call leaves nothing behind.", requires=("T3",))
async def _leaves_nothing(trial: AgentToolTrial) -> None:
    agent = fill_town(trial.town)
    trial.answer_all(agent)
    async with trial.expect_no_leaks("a call"):
        trial.answer_all(agent)
