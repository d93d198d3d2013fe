"""What the hooks promise that a kernel asks again and again: prompt sections (P1, ...) and choosers (A1, ...).

They are functions and not objects: the maker gives the function, and it is called with the arguments that it names.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Unpack

from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.model.text import shown

from tinytown_testing.contract_checks import CheckOptions, check_promises
from tinytown_testing.promises import Broken, CheckReport, Contract, raised
from tinytown_testing.samples import sample_tasks, unusual_rounds
from tinytown_testing.trial import Trial, expect_quick, expect_texts


@dataclass(slots=True)
class HookTrial(Trial):
    """One attempt at one promise of a hook."""

    make: Callable[[], Callable[..., object]]
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def ask(self, **arguments: object) -> object:
        """The answer to these arguments, as many of them as the function names."""
        function = self.make()
        named = inspect.signature(function).parameters
        takes_all = any(each.kind is each.VAR_KEYWORD for each in named.values())
        return function(**{name: value for name, value in arguments.items() if takes_all or name in named})

    def sections(self, agent: Agent, task: Task | None, data: Mapping[str, Any] | None = None) -> list[str]:
        """The sections for a prompt, by default with a copy of the data. Broken unless they are texts."""
        answer = self.ask(agent=agent, task=task, data=copy.deepcopy(self.data) if data is None else data)
        return [] if answer is None else expect_texts(answer, "from the hook")

    def choice(self, task: Task, agents: tuple[Agent, ...]) -> str | None:
        """Who is chosen. Broken unless that is one of the agents, or nobody."""
        name = self.ask(task=task, agents=agents)
        if name is not None and name not in [agent.name for agent in agents]:
            among = ", ".join(agent.name for agent in agents) or "nobody"
            raise Broken(f"expected one of {among}, or None, got {shown(repr(name))}")
        return name if name is None else str(name)

    async def at_once(self, ask: Callable[[], object]) -> None:
        """Broken unless asking is quick and leaves nothing: a kernel can do nothing else meanwhile."""
        async with self.expect_no_leaks("asking it"):
            expect_quick("asking it", ask)


PROMPT = Contract[HookTrial]("prompt")
CHOOSER = Contract[HookTrial]("chooser")


async def check_prompt_sections(
    make: Callable[[], Callable[..., object]],
    *,
    data: Mapping[str, Any] | None = None,
    **options: Unpack[CheckOptions],
) -> CheckReport:
    """Check the function of ``tinytown_prompt_sections`` that `make` returns; `data` is the plugin's data in the town.

    The options are those of every check, see `CheckOptions`.
    """
    return await check_promises(
        PROMPT, lambda place, slack_s: HookTrial(place, slack_s, make, data or {}), subject="prompt sections", **options
    )


async def check_chooser(
    make: Callable[[], Callable[..., object]],
    **options: Unpack[CheckOptions],
) -> CheckReport:
    """Check the function of ``tinytown_choose_agent`` that `make` returns. The options are those of every check."""
    return await check_promises(CHOOSER, lambda place, slack_s: HookTrial(place, slack_s, make), **options)


# -- prompt sections -------------------------------------------------------------------------------------


@PROMPT.promise("P1", "It returns texts, none of them blank.")
async def _texts(trial: HookTrial) -> None:
    agent = trial.sandbox.agent()
    for section in trial.sections(agent, trial.sandbox.task("do it", agent=agent)):
        if not section.strip():
            raise Broken(f"expected a section with something in it, got {section!r}")


@PROMPT.promise("P2", "It accepts any agent and any task, and an agent without a task.", requires=("P1",))
async def _any_round(trial: HookTrial) -> None:
    for agent, task in unusual_rounds(trial.sandbox.agent()):
        for data in (trial.data, dict[str, Any]()):
            try:
                trial.sections(agent, task, copy.deepcopy(data))
            except Exception as error:
                raise Broken(f"for {shown(repr(task), 200)}: {raised(error)}") from error


@PROMPT.promise("P3", "Called again, it returns the same, and its arguments are unchanged.", requires=("P1",))
async def _same_again(trial: HookTrial) -> None:
    agent = trial.sandbox.agent()
    task, data = trial.sandbox.task("do it", agent=agent), copy.deepcopy(dict(trial.data))
    first, second = trial.sections(agent, task, data), trial.sections(agent, task, data)
    if first != second:
        raise Broken(f"the same question got {shown(repr(first), 200)} and then {shown(repr(second), 200)}")
    if data != trial.data:
        raise Broken(f"the data {shown(repr(trial.data), 200)} became {shown(repr(data), 200)}")


@PROMPT.promise("P4", "It returns promptly, and leaves nothing behind.", requires=("P1",))
async def _prompt_at_once(trial: HookTrial) -> None:
    agent = trial.sandbox.agent()
    task = trial.sandbox.task("do it", agent=agent)
    await trial.at_once(lambda: trial.sections(agent, task))


# -- choosers --------------------------------------------------------------------------------------------


@CHOOSER.promise("A1", "It returns the name of one of the agents, or None.")
async def _one_of_them(trial: HookTrial) -> None:
    agents = tuple(trial.sandbox.agent(name) for name in ("ada", "ben", "cleo"))
    for task in sample_tasks():
        trial.choice(task, agents)


@CHOOSER.promise("A2", "It accepts any task and any agents, also an empty list.", requires=("A1",))
async def _any_task(trial: HookTrial) -> None:
    for agent, task in unusual_rounds(trial.sandbox.agent()):
        for agents in ((agent,), ()):
            if task is not None:
                try:
                    trial.choice(task, agents)
                except Exception as error:
                    raise Broken(f"for {shown(repr(task), 200)} and {len(agents)} agents: {raised(error)}") from error


@CHOOSER.promise("A3", "It returns promptly, and leaves nothing behind.", requires=("A2",))
async def _choice_at_once(trial: HookTrial) -> None:
    agents = tuple(trial.sandbox.agent(f"agent-{number}") for number in range(100))
    await trial.at_once(lambda: trial.choice(trial.sandbox.task("do it"), agents))
