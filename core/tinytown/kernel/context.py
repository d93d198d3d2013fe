"""What all rounds of a kernel share: the town, the plugins, the keeper, and where work is done.

Also where a plugin's failing is written down. Knows nothing of rounds and agents' lives.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from tinytown.config import Config
from tinytown.contracts import Workspace
from tinytown.errors import NotFound, PluginFaulty, ProtocolViolation, TinytownError
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown.plugin import Plugins
from tinytown.process.supervisor import ProcessSupervisor
from tinytown.town import Town

_KEPT_S = 3.0
#: Hooks that are asked for each round or task; what is wrong with the others is known before a town starts.
_ASKED_AT_WORK = ("tinytown_prompt_sections", "tinytown_choose_agent")
_log = logging.getLogger("tinytown.kernel")


@dataclass(slots=True)
class KernelContext:
    """What every round of a kernel needs."""

    town: Town
    plugins: Plugins
    keeper: ProcessSupervisor
    #: Agents that may go on when somebody else's round has ended, or a budget is raised.
    held: set[str] = field(default_factory=set[str])
    _colleagues: tuple[Agent, ...] = ()
    _colleagues_until: float = float("-inf")
    _plugin_data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    _plugin_data_until: float = float("-inf")
    _told: list[TinytownError] = field(default_factory=list[TinytownError])

    async def colleagues(self) -> tuple[Agent, ...]:
        """The town's agents as they were a moment ago: with a thousand of them, asking for each prompt would be dear."""
        if trio.current_time() >= self._colleagues_until:
            self._colleagues_until = trio.current_time() + _KEPT_S
            try:
                self._colleagues = await self.town.agents()
            except ProtocolViolation as error:  # one record that cannot be read must not cost the others their work
                _log.warning("the agents cannot be listed: %s", error)
        return self._colleagues

    async def prompt_sections(self, agent: Agent, task: Task | None) -> tuple[str, ...]:
        """What the plugins add to an agent's prompt; that one of them failed at it is told, and costs its own words only."""
        sections = self.plugins.prompt_sections(agent, task, await self._plugins_data())
        await self.tell_faults()
        return sections

    async def tell_faults(self) -> None:
        """Tell the town of hooks that have failed at work: once for each plugin, as they are asked again and again."""
        for problem in self.plugins.problems:
            if problem.fields.get("stage") in _ASKED_AT_WORK and problem not in self._told:
                self._told.append(problem)
                _log.warning(problem.message, exc_info=problem.__cause__)
                await _tell(self.town, problem.fields["plugin"], problem.message)

    async def _plugins_data(self) -> Mapping[str, Mapping[str, Any]]:
        """What the plugins that want it for prompts keep in the town, as it was a moment ago."""
        if trio.current_time() >= self._plugin_data_until:
            self._plugin_data_until = trio.current_time() + _KEPT_S
            run, calls = self.town.run, self.town.operations
            try:
                names = self.plugins.plugins_wanting_data
                self._plugin_data = {name: await run(calls.plugin_data(name)) for name in names}
            except ProtocolViolation as error:
                _log.warning("the data of a plugin cannot be read: %s", error)
        return self._plugin_data

    async def report_fault(self, offered: object, what: str, error: Exception, *, so: str = "") -> None:
        """Note that an object of a plugin failed; see the function of this name."""
        await report_fault(self.town, self.plugins, offered, what, error, so=so)

    @asynccontextmanager
    async def open_place(self, agent: Agent, task: Task | None) -> AsyncGenerator[Path]:
        """The directory to work in, and to judge work in: that of the first workspace that claims it, or the town's root.

        Raises: PluginFaulty when the workspace fails; what the block raises comes out as it is.
        """
        asked: Workspace | None = None
        raised: BaseException | None = None
        try:
            async with AsyncExitStack() as stack:
                directory = self.town.root
                for asked in self.plugins.workspaces:
                    if asked.claims(agent, task):
                        directory = await stack.enter_async_context(asked.open(agent, task))
                        break
                try:
                    yield directory
                except BaseException as error:
                    raised = error
                    raise
        except Exception as error:
            if error is raised or asked is None:
                raise
            what = f"workspace {asked.name}"
            await self.report_fault(asked, what, error)
            raise PluginFaulty(f"{what} failed: {shown(repr(error), 500)}") from error


def accounts_by_kind(config: Config, plugins: Plugins) -> dict[str, str]:
    """Kind of backend -> the account it uses: what the settings say, else what the backend says, else its kind."""
    configured = {kind: cli.account for kind, cli in config.agent_clis.items()}
    return {kind: configured.get(kind) or backend.account or kind for kind, backend in plugins.backends.items()}


async def report_fault(
    town: Town, plugins: Plugins, offered: object, what: str, error: Exception, *, so: str = ""
) -> None:
    """Note that an object that a plugin `offered` has failed, and tell the town.

    `what` it is, in a word and its name (``sink journal``); `so` says what follows.
    """
    try:
        plugin = plugins.owner(offered)
    except NotFound:
        plugin = what
    plugins.mark_faulty(plugin, what, error)
    _log.warning("%s of plugin %s failed", what, plugin, exc_info=error)
    await _tell(town, plugin, f"{what} failed: {shown(repr(error), 500)}{so and f'; {so}'}")


async def _tell(town: Town, plugin: str, text: str) -> None:
    with suppress(TinytownError):  # it is in the log
        await town.run(town.operations.emit("plugin_reported", {"plugin": plugin, "text": text}))
