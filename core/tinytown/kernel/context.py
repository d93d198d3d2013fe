"""What all parts of a kernel share: town, plugins, processes, workspaces, and the reporting of faults. Knows no rounds."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import trio

from tinytown.concurrency import leaves_of, plugin_code
from tinytown.config import URL_VARIABLE, Config, Permissions
from tinytown.contracts import RoundAccess, RoundObserver, WorkContext
from tinytown.errors import NotFound, PluginFaulty, ProtocolViolation, ServerUnreachable, TinytownError, host_failure
from tinytown.identity import ROUND_URL_VARIABLE, TASK_TOKEN_VARIABLE
from tinytown.kernel.environment import round_environment
from tinytown.kernel.host_limits import HostLimits
from tinytown.kernel.outcome_policy import described
from tinytown.model.agents import Agent
from tinytown.model.ids import new_id
from tinytown.model.tasks import Task
from tinytown.plugin import Plugins
from tinytown.process import ProcessSupervisor
from tinytown.town import Town

T = TypeVar("T")

_CACHED_S = 3.0
_LOG_EVERY_S = 60.0
_log = logging.getLogger("tinytown.kernel")


@dataclass(slots=True)
class KernelContext:
    """What every part of a kernel needs.

    `host_id` changes with each registration. `held` agents may be able to begin once a round ends or a budget is raised.
    `workspaces` has the directory of each round in progress and `tasks_in_use` its task, by the agent's id; when one ends, or a
    task has finished, `settling` is set. `closing` is set when the kernel begins to end.
    """

    town: Town
    plugins: Plugins
    processes: ProcessSupervisor
    host_id: str
    held: set[str] = field(default_factory=set[str])
    workspaces: dict[str, Path] = field(default_factory=dict[str, Path])
    limits: HostLimits = field(default_factory=HostLimits)
    closing: trio.Event = field(default_factory=trio.Event)
    closing_at: float = float("-inf")
    tasks_in_use: dict[str, str] = field(default_factory=dict[str, str])
    settling: trio.Event = field(default_factory=trio.Event)
    kernel_id: str = field(default_factory=new_id)
    _recent: dict[str, tuple[float, Any]] = field(default_factory=dict[str, tuple[float, Any]])
    _known_problems: Sequence[TinytownError] = field(init=False)
    _logged: dict[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        self._known_problems = self.plugins.problems

    def log_error(self, error: TinytownError) -> None:
        """Log an error that recurs, once a minute."""
        now = trio.current_time()
        self._logged = {text: at for text, at in self._logged.items() if now - at < _LOG_EVERY_S}
        if error.message not in self._logged:
            self._logged[error.message] = now
            _log.error("%s", error)

    async def persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` returns, repeated after a pause for as long as the server fails."""
        while True:
            try:
                return await attempt()
            except (ServerUnreachable, ProtocolViolation) as error:
                self.log_error(error)
                await trio.sleep(self.town.config.lease_s / 3)

    async def colleagues(self) -> tuple[Agent, ...]:
        """The town's agents. Cached for 3 s: listing 1,000 agents per prompt is expensive."""
        return await self._cached("the agents", self.town.agents, ())

    async def prompt_sections(self, agent: Agent, tasks: Sequence[Task]) -> tuple[str, ...]:
        """What the plugins add to an agent's prompt. A plugin that fails loses its own sections only, and is reported."""
        data = await self._data_of_plugins()
        sections = [text for task in tasks or (None,) for text in self.plugins.prompt_sections(agent, task, data)]
        await self.report_hook_faults()
        return tuple(dict.fromkeys(sections))

    async def choose_agent(self, task: Task, agents: Sequence[Agent]) -> str | None:
        """The agent for a task of the backlog, by the first plugin with an opinion."""
        chosen = self.plugins.choose_agent(task, agents, await self._data_of_plugins())
        await self.report_hook_faults()
        return chosen

    async def report_hook_faults(self) -> None:
        """Report hooks that failed while the town works: once for each plugin and hook, as they are called again and again."""
        known, self._known_problems = self._known_problems, self.plugins.problems
        for problem in self._known_problems:
            if problem not in known:
                _log.warning(problem.message, exc_info=problem.__cause__)
                await self._emit(problem.fields["plugin"], problem.message)

    async def _data_of_plugins(self) -> Mapping[str, Mapping[str, Any]]:
        run, operations = self.town.run, self.town.operations

        async def read() -> Mapping[str, Mapping[str, Any]]:
            return {name: await run(operations.plugin_data(name)) for name in self.plugins.plugins_wanting_data}

        return await self._cached("the data of plugins", read, {})

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
        if host_failure(error):  # the machine's
            return
        try:
            plugin = self.plugins.owner(offered)
        except NotFound:
            plugin = what
        self.plugins.mark_faulty(plugin, what, error)
        self._known_problems = self.plugins.problems
        _log.warning("%s of plugin %s failed", what, plugin, exc_info=error)
        await self._emit(plugin, f"{what} failed: {described(error)}{consequence and f'; {consequence}'}")

    async def _emit(self, plugin: str, text: str) -> None:
        with suppress(TinytownError):  # the log has it
            await self.town.run(self.town.operations.emit("plugin_reported", {"plugin": plugin, "text": text}))

    def permissions_of(self, agent: Agent) -> Permissions:
        """What is enforced of an agent; ``full`` of one whose kind no plugin here has."""
        backend = self.plugins.backends.get(agent.cli)
        return backend.permissions_of(agent, self.town.config.permissions) if backend else "full"

    async def show_round(self, show: Callable[[RoundObserver], None]) -> None:
        """Call `show` with each observer of rounds; one that fails is reported."""
        for name, observer in self.plugins.contributed("round_observers").items():
            try:
                with self.call(observer):
                    show(observer)
            except Exception as error:
                await self.report_fault(observer, f"round observer {name}", error)

    async def first_answer(self, kind: str, ask: Callable[[Any], Awaitable[T | None]]) -> T | None:
        """The first answer of the contributed objects of a kind, asked in turn; one that fails is reported and has none."""
        for name, asked in self.plugins.contributed(kind).items():
            try:
                with self.call(asked):
                    answer = await ask(asked)
            except Exception as error:
                await self.report_fault(asked, f"{kind[:-1].replace('_', ' ')} {name}", error)
                continue
            if answer is not None:
                return answer
        return None

    @asynccontextmanager
    async def open_access(self, agent: Agent, tasks: Sequence[Task]) -> AsyncGenerator[Mapping[str, str]]:
        """The variables by which the processes of a round reach the town, and nothing else, until the block is left."""
        access: RoundAccess | None = next(iter(self.plugins.contributed("round_access").values()), None)
        token = {TASK_TOKEN_VARIABLE: (tasks[0].token or "") if tasks else ""}  # that of all of them
        if access is None:
            url = os.environ.get(URL_VARIABLE, "@")  # no password leaves the kernel
            yield token if "@" in url else token | {URL_VARIABLE: url}
            return
        opened = partial(access.open, self.town, agent, tasks, self.permissions_of)
        async with self.enter(access, f"round access {access.name}", opened) as url:
            yield token | {ROUND_URL_VARIABLE: url}

    @asynccontextmanager
    async def enter(
        self, offered: object, what: str, manager: Callable[[], AbstractAsyncContextManager[T]]
    ) -> AsyncGenerator[T]:
        """The value of a context manager of a plugin's.

        Raises: PluginFaulty when the plugin fails, which is reported; what the block raises comes out as it is.
        """
        raised: BaseException | None = None
        try:
            with self.call(offered):
                async with manager() as value:
                    try:
                        yield value
                    except BaseException as error:
                        raised = error
                        raise
        except Exception as error:
            if all(leaf is raised for leaf in leaves_of(error)):  # in a group, if it went through a nursery
                raise cast("BaseException", raised) from None
            raise await self.fault(offered, what, error) from error

    @contextmanager
    def call(self, offered: object) -> Generator[None]:
        """Around a call of a plugin's object, as `plugin_code`. Raises: PluginFaulty once its plugin is suspended."""
        with plugin_code(), trio.CancelScope() as scope, self.plugins.calling(offered, scope.cancel):
            yield
        if scope.cancelled_caught:
            with self.plugins.calling(offered, scope.cancel):
                pass

    async def fault(self, offered: object, what: str, error: Exception) -> PluginFaulty:
        """Report that an object of a plugin's failed; the error for those who needed it."""
        await self.report_fault(offered, what, error)
        return PluginFaulty(f"{what} failed: {described(error)}")

    async def work_context(self, agent: Agent, task: Task | None, round_id: str | None) -> WorkContext:
        """What workspaces and gates get to know; its environment is that of the round, without access to the town."""
        town, config = self.town, self.town.config
        environment = round_environment(config, town.root, agent, task, round_id or "")
        environment |= self.plugins.round_environment(agent, task)
        await self.report_hook_faults()
        return WorkContext(agent, task, town, town.root, self.processes, environment, round_id)


def accounts_by_kind(config: Config, plugins: Plugins) -> dict[str, str]:
    """Kind of backend -> its account: from the settings, else from the backend, else the kind itself."""
    configured = {kind: cli.account for kind, cli in config.agent_clis.items()}
    return {kind: configured.get(kind) or backend.account or kind for kind, backend in plugins.backends.items()}
