"""What all parts of a kernel share: town, plugins, processes, workspaces, and the reporting of faults.

Knows nothing of rounds and workers.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import trio

from tinytown.config import Config
from tinytown.contracts import ReportingGuide, Workspace
from tinytown.errors import NotFound, PluginFaulty, ProtocolViolation, ServerUnreachable, TinytownError
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown.plugin import Plugins
from tinytown.process import ProcessSupervisor
from tinytown.town import Town

T = TypeVar("T")

_CACHED_S = 3.0
_LOG_EVERY_S = 60.0
#: Hooks that are called while the town works; faults of the others are known before it starts.
_HOOKS_AT_WORK = ("tinytown_prompt_sections", "tinytown_reporting_guide", "tinytown_choose_agent")
_log = logging.getLogger("tinytown.kernel")


@dataclass(slots=True)
class KernelContext:
    """What every part of a kernel needs.

    `host_id` changes when the kernel registers again; `held` are the agents that may be able to begin a round once some
    other round has ended or a budget is raised.
    """

    town: Town
    plugins: Plugins
    processes: ProcessSupervisor
    host_id: str
    held: set[str] = field(default_factory=set[str])
    _recent: dict[str, tuple[float, Any]] = field(default_factory=dict[str, tuple[float, Any]])
    _reported: list[TinytownError] = field(default_factory=list[TinytownError])
    _logged: dict[str, float] = field(default_factory=dict[str, float])

    def log_error(self, error: TinytownError) -> None:
        """Log an error that recurs, once a minute."""
        now = trio.current_time()
        self._logged = {text: at for text, at in self._logged.items() if now - at < _LOG_EVERY_S}
        if error.message not in self._logged:
            self._logged[error.message] = now
            _log.error("%s", error)

    async def wait_after(self, error: TinytownError) -> None:
        """Log an error of the server and wait before the next attempt."""
        self.log_error(error)
        await trio.sleep(self.town.config.lease_s / 3)

    async def persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` returns, repeated after a pause for as long as the server fails."""
        while True:
            try:
                return await attempt()
            except (ServerUnreachable, ProtocolViolation) as error:
                await self.wait_after(error)

    async def colleagues(self) -> tuple[Agent, ...]:
        """The town's agents. Cached for 3 s: listing 1,000 agents per prompt is expensive."""
        return await self._cached("the agents", self.town.agents, ())

    async def prompt_sections(self, agent: Agent, task: Task | None) -> tuple[str, ...]:
        """What the plugins add to an agent's prompt. A plugin that fails loses its own sections only, and is reported."""
        sections = self.plugins.prompt_sections(
            agent, task, await self._cached("the data of plugins", self._plugin_data, {})
        )
        await self.report_hook_faults()
        return sections

    async def reporting_guide(self, agent: Agent) -> ReportingGuide | None:
        """How the agent is to report, according to the plugins; one that fails at it is reported."""
        backend = self.plugins.backends.get(agent.cli)
        guide = self.plugins.reporting_guide(agent, town_tools=backend is not None and backend.offers_town_tools)
        await self.report_hook_faults()
        return guide

    async def report_hook_faults(self) -> None:
        """Report hooks that failed while the town works: once for each plugin and hook, as they are called again and again."""
        for problem in self.plugins.problems:
            if problem.fields.get("stage") in _HOOKS_AT_WORK and problem not in self._reported:
                self._reported.append(problem)
                _log.warning(problem.message, exc_info=problem.__cause__)
                await self._emit(problem.fields["plugin"], problem.message)

    async def _plugin_data(self) -> Mapping[str, Mapping[str, Any]]:
        run, operations = self.town.run, self.town.operations
        return {name: await run(operations.plugin_data(name)) for name in self.plugins.plugins_wanting_data}

    async def _cached(self, what: str, read: Callable[[], Awaitable[T]], default: T) -> T:
        """What `read` returned in the last 3 s. One unreadable record must not stop the agents: the older value stays."""
        value: T
        until, value = self._recent.get(what, (float("-inf"), default))
        if trio.current_time() >= until:
            self._recent[what] = trio.current_time() + _CACHED_S, value
            try:
                value = await read()
            except ProtocolViolation as error:
                _log.warning("%s cannot be read: %s", what, error)
            self._recent[what] = trio.current_time() + _CACHED_S, value
        return value

    async def report_fault(self, offered: object, what: str, error: Exception, *, consequence: str = "") -> None:
        """Report that an object `offered` by a plugin failed: in the log, in `plugins`, and as an event.

        `what` names the object (``sink journal``), `consequence` says what happens next.
        """
        try:
            plugin = self.plugins.owner(offered)
        except NotFound:
            plugin = what
        self.plugins.mark_faulty(plugin, what, error)
        _log.warning("%s of plugin %s failed", what, plugin, exc_info=error)
        await self._emit(plugin, f"{what} failed: {shown(repr(error), 500)}{consequence and f'; {consequence}'}")

    async def _emit(self, plugin: str, text: str) -> None:
        with suppress(TinytownError):  # the log has it
            await self.town.run(self.town.operations.emit("plugin_reported", {"plugin": plugin, "text": text}))

    @asynccontextmanager
    async def open_workspace(self, agent: Agent, task: Task | None) -> AsyncGenerator[Path]:
        """The directory to work in, and to run gates in: that of the first workspace that claims it, or the town's root.

        Raises: PluginFaulty when the workspace fails; what the block raises comes out as it is.
        """
        workspace: Workspace | None = None
        raised: BaseException | None = None
        try:
            async with AsyncExitStack() as stack:
                directory = self.town.root
                for workspace in self.plugins.workspaces:
                    if workspace.claims(agent, task):
                        directory = await stack.enter_async_context(workspace.open(agent, task))
                        break
                try:
                    yield directory
                except BaseException as error:
                    raised = error
                    raise
        except Exception as error:
            if error is raised or workspace is None:
                raise
            what = f"workspace {workspace.name}"
            await self.report_fault(workspace, what, error)
            raise PluginFaulty(f"{what} failed: {shown(repr(error), 500)}") from error


def accounts_by_kind(config: Config, plugins: Plugins) -> dict[str, str]:
    """Kind of backend -> its account: from the settings, else from the backend, else the kind itself."""
    configured = {kind: cli.account for kind, cli in config.agent_clis.items()}
    return {kind: configured.get(kind) or backend.account or kind for kind, backend in plugins.backends.items()}
