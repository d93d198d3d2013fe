"""A town for programs and plugins on trio: `Town` and `AgentHandle`.

A thin layer over the operations of `protocol`: it runs them on a link, waits for states by reading the event stream, and
returns typed values. It runs no agents; the kernel does (`tinytown.open_town` opens both).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, Unpack

import trio

from tinytown.concurrency import AsyncValue, notify, open_background, open_lasting, plugin_code
from tinytown.config import Config
from tinytown.errors import Refused, ServerUnreachable, TinytownError
from tinytown.kinds import check_kind, start_of_agent
from tinytown.model.agents import Agent, is_idle
from tinytown.model.details import AgentDetails, MessageDetails, TaskDetails, check_keywords
from tinytown.model.events import Event
from tinytown.model.ids import SUPERVISOR, check_id
from tinytown.model.messages import Body, Message, TaskOrder
from tinytown.model.results import Sent, Status
from tinytown.model.tasks import Task, TaskState
from tinytown.protocol.operation import Operation, load_library
from tinytown.protocol.operations import TownOperations
from tinytown.redis.link import Link, open_link
from tinytown.redis.locate import address_of, ensure_server
from tinytown.redis.url import Address
from tinytown.state import migration

if TYPE_CHECKING:
    from tinytown.redis.commands import PluginRedis

T = TypeVar("T")

_OBSERVE_EVERY_S = 5.0  # waiting is for events; this bounds the delay of a change without one
_READ_BLOCK_MS = 30_000


class Town:
    """One connected town. Async methods are checkpoints; a cancelled one may have made its change.

    Arguments named ``agent`` or ``task`` take a name, an id, a nickname, or a unique prefix of one. Every method may raise
    ServerUnreachable, and NotFound, Refused or UsageError depending on its arguments.
    """

    def __init__(self, root: Path, config: Config, link: Link, channels: dict[bytes, Callable[[str], None]]) -> None:
        self.root = root
        self.config = config
        self.name = config.name
        self.operations = TownOperations(config.name, message_limit_bytes=config.limits.message_bytes)
        self.link = link
        self._channels = channels
        self._subscribers: list[Callable[[Event], None]] = []
        #: The position of the newest event; `wait_for_change` waits for another one.
        self.position: AsyncValue[str] = AsyncValue("0")
        #: What it was when the town was opened. For a kernel's plugins: before its first round.
        self.opened_at = "0"

    def redis(self, plugin: str) -> PluginRedis:
        """redis-py's async commands on the town's own connection, for what a plugin keeps beside its data: ``redis.key(name)``.

        Calls raise redis.exceptions for error replies, and UsageError for a command that others on the connection would notice.
        """
        from tinytown.redis.commands import PluginRedis  # importing redis-py takes 0.3 s

        return PluginRedis(self.link, self.operations.keys, check_id("a plugin name", plugin))

    async def run(self, operation: Operation[T]) -> T:
        """The result of `operation`, whose function library is loaded first if the server lacks it."""
        return await self.link.run(operation)

    async def subscribe_channels(self, callbacks: Mapping[str, Callable[[str], None]]) -> None:
        """Call a callback with each text published on its channel; it must be quick and must not raise.

        What is published while the connection is down is lost: after every reconnect each gets an empty text, to check.
        """
        self._channels |= {channel.encode(): callback for channel, callback in callbacks.items()}
        await self.link.subscribe(*callbacks)

    @contextmanager
    def subscribe(self, callback: Callable[[Event], None]) -> Generator[None]:
        """Within the block, call `callback` with each event that happens. It must be quick and must not raise."""
        self._subscribers.append(callback)
        try:
            yield
        finally:
            self._subscribers.remove(callback)

    def publish_events(self, events: Sequence[Event]) -> None:
        """Pass events to the subscribers, and set `position`. Called by the task that reads the event stream."""
        for event in events:
            for callback in tuple(self._subscribers):
                notify(callback, event)
        if events:
            self.position.value = events[-1].id

    # -- agents

    async def spawn(self, name: str, *, cli: str | None = None, **details: Unpack[AgentDetails]) -> AgentHandle:
        """Add an agent, to be hosted by a kernel that offers its kind. Kind (`cli`) and `tags` default to those of its role.

        Raises: TypeError for an unknown keyword; NotFound with code ``unknown_kind`` if kernels run and none offers the kind.
        """
        check_keywords("Town.spawn", AgentDetails, details)
        hosts = (await self.run(self.operations.status(agents=False))).hosts
        kinds = {kind for host in hosts for kind in host.backends}
        kind, details["tags"] = start_of_agent(
            self.config, details.get("role", ""), cli=cli, tags=details.get("tags", ()), kinds=kinds
        )
        if hosts:
            check_kind(kind, kinds)
        agent = await self.run(self.operations.create_agent(name, cli=kind, **details))
        return AgentHandle(self, agent.name, agent.id)

    async def agent(self, agent: str) -> AgentHandle:
        """The handle of an existing agent."""
        record = await self.run(self.operations.agent(agent))
        return AgentHandle(self, record.name, record.id)

    async def agents(self) -> tuple[Agent, ...]:
        """All agents, oldest first."""
        return await self.run(self.operations.agents())

    async def status(self) -> Status:
        """The whole town in one answer."""
        return await self.run(self.operations.status())

    # -- tasks

    async def add_task(self, description: str, *, agent: str = "", **details: Unpack[TaskDetails]) -> Task:
        """Create a task, for `agent` or for the backlog. Raises: TypeError for an unknown keyword."""
        check_keywords("Town.add_task", TaskDetails, details)
        return (await self.run(self.operations.add_task(description, agent=agent, **details))).task

    async def task(self, task: str) -> Task:
        """One task as it is now."""
        return await self.run(self.operations.task(task))

    async def tasks(
        self, *, state: TaskState | Literal["backlog"] | None = None, agent: str = "", tag: str = "", limit: int = 50
    ) -> tuple[Task, ...]:
        """Tasks, newest first; with the state ``backlog``, the backlog in its order."""
        return await self.run(self.operations.tasks(state=state or "", agent=agent, tag=tag, limit=limit))

    async def complete_task(self, task: str, result: str = "") -> Task:
        """Complete a task, as a person may."""
        return await self.run(self.operations.settle_task("complete", task, text=result))

    async def cancel_task(self, task: str, reason: str = "cancelled") -> Task:
        """Cancel a task; a round that works on it is ended."""
        return await self.run(self.operations.settle_task("cancel", task, text=reason))

    async def wait_for_task(self, task: str) -> Task:
        """The task once it is completed, failed or cancelled."""
        return await self.wait_until(lambda: self.task(task), lambda now: now.finished)

    # -- mail

    async def send(self, to: str, message: str | Body, **details: Unpack[MessageDetails]) -> Sent:
        """Put a message into a mailbox; plain text is an order. Raises: TypeError for an unknown keyword."""
        check_keywords("Town.send", MessageDetails, details)
        body = TaskOrder(description=message) if isinstance(message, str) else message
        return await self.run(self.operations.send(to, body, **details))

    async def inbox(self, agent: str = SUPERVISOR, *, limit: int = 100) -> tuple[Message, ...]:
        """The messages of a mailbox in the order of delivery, without claiming them. Undecodable ones are left out."""
        inbox = await self.run(self.operations.peek(agent, limit=limit))
        return tuple(entry.message for entry in inbox.messages if entry.message is not None)

    # -- waiting

    async def wait_until(self, observe: Callable[[], Awaitable[T]], condition: Callable[[T], bool]) -> T:
        """The first value of `observe()` that satisfies `condition`; observed again whenever something happens."""
        while True:
            position = self.position.value
            value = await observe()
            if condition(value):
                return value
            await self.wait_for_change(position)

    async def wait_for_change(self, position: str) -> None:
        """Wait until something has happened since `position`; returns after 5 s in any case."""
        with trio.move_on_after(_OBSERVE_EVERY_S):
            await self.position.wait_value(lambda newest: newest != position)

    async def wait_for_idle(self, *agents: str | AgentHandle) -> None:
        """Wait until the agents (default: all) have no round, mail or open task. Raises: WaitFailed if that cannot happen."""
        names = {agent.name if isinstance(agent, AgentHandle) else (await self.agent(agent)).name for agent in agents}

        async def observe() -> list[Agent]:
            return [agent for agent in await self.agents() if not names or agent.name in names]

        await self.wait_until(observe, lambda found: not [agent for agent in found if not is_idle(agent)])

    async def events(self, after: str | None = None) -> AsyncGenerator[Event]:
        """The events from now on (or after the position `after`), without end."""
        if after is None:
            latest = await self.run(self.operations.latest_events(1))
            after = latest[-1].id if latest else "0"
        while True:
            position = self.position.value
            events = await self.run(self.operations.events_after(after))
            for event in events:
                after = event.id
                yield event
            if not events:
                await self.wait_for_change(position)


class AgentHandle:
    """One agent of a town, by its `name` and `id`. Holds no state of the agent: every method asks the town."""

    def __init__(self, town: Town, name: str, agent_id: str) -> None:
        self.town = town
        self.name = name
        self.id = agent_id

    def __repr__(self) -> str:
        return f"<AgentHandle {self.name}>"

    async def info(self) -> Agent:
        """The agent as it is now."""
        return await self.town.run(self.town.operations.agent(self.id))

    async def assign(self, description: str, **details: Unpack[TaskDetails]) -> Task:
        """Create a task for the agent. Raises: TypeError for an unknown keyword."""
        check_keywords("AgentHandle.assign", TaskDetails, details)
        return await self.town.add_task(description, agent=self.id, **details)

    async def send(self, message: str | Body, **details: Unpack[MessageDetails]) -> Sent:
        """Put a message into the agent's mailbox; plain text is an order. Raises: TypeError for an unknown keyword."""
        check_keywords("AgentHandle.send", MessageDetails, details)
        return await self.town.send(self.id, message, **details)

    async def wait_for_idle(self) -> None:
        """Wait until the agent has no work; see `Town.wait_for_idle`."""
        await self.town.wait_for_idle(self)

    async def wait_until(self, condition: Callable[[Agent], bool]) -> Agent:
        """The agent once it satisfies `condition`."""
        return await self.town.wait_until(self.info, condition)

    async def interrupt(self, *, now: bool = False, reason: str = "interrupted") -> None:
        """Pause the agent: after its round, or at once with `now`. Its mail and task are returned untouched."""
        await self.town.run(self.town.operations.set_desired_state(self.id, "paused", now=now, reason=reason))

    async def resume(self) -> None:
        """Resume a paused or stopped agent."""
        await self.town.run(self.town.operations.set_desired_state(self.id, "running"))

    async def kill(self, *, now: bool = False, reason: str = "killed") -> None:
        """Stop the agent: after its round, or at once with `now`. Its mail and tasks stay with it."""
        await self.town.run(self.town.operations.set_desired_state(self.id, "stopped", now=now, reason=reason))


@asynccontextmanager
async def connect_town(root: Path, config: Config) -> AsyncGenerator[Town]:
    """A connected `Town` that follows the event stream.

    An embedded server is started when none answers, now and whenever the connection is lost.
    Raises: ServerUnreachable, ConfigError, Refused for data of another schema that no plugin migrates.
    """

    async def prepare() -> Address:
        try:
            with plugin_code():
                await trio.to_thread.run_sync(ensure_server, root, config, abandon_on_cancel=True)
                return await trio.to_thread.run_sync(address_of, root, config, abandon_on_cancel=True)
        except TinytownError:
            raise
        except Exception as error:
            raise ServerUnreachable(f"the town's server cannot be started: {error!r}") from error

    channels: dict[bytes, Callable[[str], None]] = {}

    def on_push(channel: bytes, payload: bytes) -> None:
        notify(channels.get(channel, str), payload.decode("utf-8", "replace"))

    def on_connected() -> None:
        for callback in list(channels.values()):
            notify(callback, "")

    # Cleaning up after a cancellation uses the link, so it outlasts the block.
    address = await trio.to_thread.run_sync(address_of, root, config, abandon_on_cancel=True)
    opened = open_link(address, on_push=on_push, on_connected=on_connected, prepare=prepare)
    async with open_lasting(opened) as link, open_link(address, prepare=prepare, stall_s=None) as reading:
        town = Town(root, config, link, channels)
        await town.run(load_library())
        try:
            await town.run(town.operations.setup(config.server_settings))
        except Refused as error:
            if error.code != "older_data":
                raise
            await town.run(migration("data")(town.operations.keys))
            await town.run(town.operations.setup(config.server_settings))
        latest = await town.run(town.operations.latest_events(1))
        town.opened_at = town.position.value = latest[-1].id if latest else "0-0"
        async with open_background() as nursery:
            nursery.start_soon(_follow, town, reading)
            yield town


async def _follow(town: Town, reading: Link) -> None:
    """Read the event stream for `town`, until cancelled."""
    while True:
        try:
            wait = town.operations.wait_for_events(town.position.value, block_ms=_READ_BLOCK_MS)
            events = await reading.run(wait)
        except Exception:  # the link reconnects by itself; other calls raise the error
            await trio.sleep(0.2)
            continue
        town.publish_events(events)
