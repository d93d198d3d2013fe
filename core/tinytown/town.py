"""A town as a program sees it: `Town` and `AgentHandle`, used by the command line, REST and tools alike.

Everything here is a thin layer over the calls of `protocol`: it carries them over a link, waits for states by reading
the event stream, and hands out typed values. It starts no agents; the kernel does (`tinytown.open_town` gives both).
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack

import trio

from tinytown.concurrency import AsyncValue, open_background, open_lasting
from tinytown.config import Config, prepare_runtime_directory
from tinytown.errors import NotFound, Refused
from tinytown.model.agents import Agent
from tinytown.model.details import MessageDetails, TaskDetails, check_keywords
from tinytown.model.events import Event
from tinytown.model.ids import SUPERVISOR, check_id
from tinytown.model.messages import Body, Message, TaskOrder
from tinytown.model.results import DeadLetter, Sent, Status
from tinytown.model.tasks import Task, TaskState
from tinytown.model.text import shown
from tinytown.protocol.operation import Operation
from tinytown.protocol.operations import SCHEMA, TownOperations, load_library
from tinytown.redis.link import Link, open_link
from tinytown.redis.locate import address_of, town_server
from tinytown.roles import start_of_agent

if TYPE_CHECKING:
    from tinytown.redis.commands import PluginRedis

T = TypeVar("T")

_LOOK_AGAIN_S = 5.0  # waiting is for events; this only bounds what a change without one could cost
_READ_BLOCK_MS = 30_000


class Bells:
    """Who hears what is published on which channel. Nothing that was published while the connection was down is heard, so
    after every reconnect each listener is told ``mail``, which makes it look."""

    def __init__(self) -> None:
        self._listeners: dict[bytes, Callable[[str], None]] = {}

    def add(self, channel: str, listener: Callable[[str], None]) -> None:
        self._listeners[channel.encode()] = listener

    def remove(self, channel: str) -> None:
        self._listeners.pop(channel.encode(), None)

    def hear(self, channel: bytes, payload: bytes) -> None:
        listener = self._listeners.get(channel)
        if listener is not None:
            listener(payload.decode("utf-8", "replace"))

    def hear_again(self) -> None:
        for listener in list(self._listeners.values()):
            listener("mail")


class Town:
    """One town, connected. All methods are checkpoints; cancelling one may leave its change made.

    Arguments named ``agent`` or ``task`` take whatever people type: a name, an id, a nickname, a unique beginning of one.
    Every method may raise ServerUnreachable, or NotFound, Refused and UsageError for what it was asked.
    """

    def __init__(self, root: Path, config: Config, link: Link, bells: Bells) -> None:
        self.root = root
        self.config = config
        self.operations = TownOperations(config.name, message_limit_bytes=config.limits.message_bytes)
        self.link = link
        self._bells = bells
        self._hearers: list[Callable[[Event], None]] = []
        #: The position of the newest event that has been seen; await it to notice changes.
        self.position: AsyncValue[str] = AsyncValue("0")

    @property
    def name(self) -> str:
        return self.config.name

    def redis(self, plugin: str) -> PluginRedis:
        """redis-py's async commands on the town's own connection, for what a plugin keeps beside its data: ``redis.key(name)``.

        Calls raise redis.exceptions for error replies, and UsageError for a command that others on the connection would notice.
        """
        from tinytown.redis.commands import PluginRedis  # importing redis-py takes 0.3 s

        return PluginRedis(self.link, self.operations.keys, check_id("a plugin name", plugin))

    async def run(self, operation: Operation[T]) -> T:
        """The result of `operation`, whose function library is loaded first if the server lacks it."""
        return await self.link.run(operation)

    async def listen(self, listeners: Mapping[str, Callable[[str], None]]) -> None:
        """Call a listener with each text published on its channel, until `unlisten`. Listeners must be quick and not raise."""
        for channel, listener in listeners.items():
            self._bells.add(channel, listener)
        await self.link.subscribe(*listeners)

    async def unlisten(self, *channels: str) -> None:
        """Hear no more of these channels."""
        for channel in channels:
            self._bells.remove(channel)
        await self.link.unsubscribe(*channels)

    @contextmanager
    def hearing(self, hear: Callable[[Event], None]) -> Generator[None]:
        """Call `hear` with each event from now on, for as long as the block lasts. It must be quick and not raise."""
        self._hearers.append(hear)
        try:
            yield
        finally:
            self._hearers.remove(hear)

    def heard(self, events: Sequence[Event]) -> None:
        """Pass on what has happened: for whoever follows the event stream."""
        for event in events:
            for hear in self._hearers:
                hear(event)
        if events:
            self.position.value = events[-1].id

    # -- agents

    async def spawn(
        self,
        name: str,
        *,
        cli: str | None = None,
        role: str = "",
        nickname: str = "",
        parent: str = "",
        tags: Sequence[str] = (),
        max_rounds: int = 0,
        labels: Sequence[str] = (),
    ) -> AgentHandle:
        """Add an agent; a kernel that has its backend takes it up. `cli` and `tags` left out are those of its role.

        Raises: NotFound with code ``unknown_kind`` when kernels run and none has the backend: nobody would take it up.
        """
        hosts = (await self.run(self.operations.status(agents=False))).hosts
        kinds = sorted({each for host in hosts for each in host.backends})
        kind, words = start_of_agent(self.config, role, cli=cli, tags=tags, kinds=kinds)
        if hosts and kind not in kinds:
            raise NotFound(
                f"no kernel of the town has agents of the kind {shown(kind)!r}; there are: {', '.join(kinds) or 'none'}",
                hint="install its plugin and start the kernel again; tt plugins shows what there is",
                code="unknown_kind",
                kinds=kinds,
            )
        call = self.operations.create_agent(
            name,
            cli=kind,
            role=role,
            nickname=nickname,
            parent=parent,
            tags=words,
            max_rounds=max_rounds,
            labels=labels,
        )
        agent = await self.run(call)
        return AgentHandle(self, agent.name, agent.id)

    async def agent(self, agent: str) -> AgentHandle:
        """The handle of an agent that is there."""
        found = await self.run(self.operations.agent(agent))
        return AgentHandle(self, found.name, found.id)

    async def agents(self) -> tuple[Agent, ...]:
        """All agents, oldest first."""
        return await self.run(self.operations.agents())

    async def status(self) -> Status:
        """The whole town in one answer."""
        return await self.run(self.operations.status())

    async def freeze(self, reason: str) -> bool:
        """Freeze every running process of the town and begin nothing, until `thaw`; whether it was not frozen before."""
        return await self.run(self.operations.freeze(reason=reason))

    async def thaw(self, reason: str) -> bool:
        """Let a frozen town go on; whether it was frozen before."""
        return await self.run(self.operations.thaw(reason=reason))

    # -- tasks

    async def add_task(self, description: str, *, agent: str = "", **details: Unpack[TaskDetails]) -> Task:
        """Make a task, for `agent` or for the backlog. Raises also: TypeError for an unknown keyword."""
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

    async def fail_task(self, task: str, reason: str) -> Task:
        """Fail a task, as a person may."""
        return await self.run(self.operations.settle_task("fail", task, text=reason))

    async def cancel_task(self, task: str, reason: str = "cancelled") -> Task:
        """Cancel a task; a round that works on it is ended."""
        return await self.run(self.operations.settle_task("cancel", task, text=reason))

    async def reopen_task(self, task: str, reason: str = "reopened") -> Task:
        """Open a finished task again."""
        return (await self.run(self.operations.reopen_task(task, reason=reason))).task

    async def hold_task(self, task: str, reason: str, *, until: str = "") -> Task:
        """Keep a task from being worked on until it is released, or until a moment (RFC 3339)."""
        return await self.run(self.operations.hold_task(task, reason=reason, until=until))

    async def release_task(self, task: str) -> Task:
        """Let a held task go on."""
        return await self.run(self.operations.release_task(task))

    async def wait_for_task(self, task: str) -> Task:
        """The task once it is completed, failed or cancelled."""
        found: Task = await self.wait_until(lambda: self.task(task), lambda now: now.finished)
        return found

    # -- mail

    async def send(self, to: str, message: str | Body, **details: Unpack[MessageDetails]) -> Sent:
        """Put a message into a mailbox. Plain text is an order. Raises also: TypeError for an unknown keyword."""
        check_keywords("Town.send", MessageDetails, details)
        body = TaskOrder(description=message) if isinstance(message, str) else message
        return await self.run(self.operations.send(to, body, **details))

    async def inbox(self, agent: str = SUPERVISOR, *, limit: int = 100) -> tuple[Message, ...]:
        """The messages that lie in a mailbox, in the order of delivery; nothing is taken. Undecodable ones are left out."""
        inbox = await self.run(self.operations.peek(agent, limit=limit))
        return tuple(lying.message for lying in inbox.messages if lying.message is not None)

    async def dead_letters(self) -> tuple[DeadLetter, ...]:
        """The messages that were given up, newest first."""
        return await self.run(self.operations.dead_letters())

    # -- waiting

    async def wait_until(self, look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
        """What the async function `look` returns once `good` agrees. Looked at again whenever something happens."""
        while True:
            seen = self.position.value
            value = await look()
            if good(value):
                return value
            await self.wait_for_news(seen)

    async def wait_for_news(self, seen: str) -> None:
        """Wait until something has happened since the position `seen`, or it is time to look all the same."""
        with trio.move_on_after(_LOOK_AGAIN_S):
            await self.position.wait_value(lambda position: position != seen)

    async def wait_for_idle(self, *agents: str | AgentHandle) -> None:
        """Wait until each of the agents (default: all) has nothing to do: no round, no mail, no open task.

        Raises: Refused when one of them is stopped or in error with work left, since it would never come.
        """
        names = {agent.name if isinstance(agent, AgentHandle) else (await self.agent(agent)).name for agent in agents}

        async def look() -> list[Agent]:
            return [agent for agent in await self.agents() if not names or agent.name in names]

        def good(found: list[Agent]) -> bool:
            for agent in found:
                if agent.state in ("stopped", "error") and (agent.mail.total or agent.open_tasks):
                    raise Refused(
                        f"agent {agent.name!r} is {agent.state} with work left: {agent.reason or 'no reason given'}",
                        hint=f"tt resume {agent.name}",
                        agent=agent.name,
                    )
            return all(agent.at_rest or agent.state in ("stopped", "error") for agent in found)

        await self.wait_until(look, good)

    async def events(self, after: str | None = None) -> AsyncGenerator[Event]:
        """Everything that happens from now on (or after the position `after`), for ever."""
        if after is None:
            latest = await self.run(self.operations.latest_events(1))
            after = latest[-1].id if latest else "0"
        while True:
            seen = self.position.value
            found = await self.run(self.operations.events_after(after))
            for event in found:
                after = event.id
                yield event
            if not found:
                await self.wait_for_news(seen)


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
        """Give the agent a task; `details` are its title, priority, needs, tags, ..."""
        check_keywords("AgentHandle.assign", TaskDetails, details)
        return await self.town.add_task(description, agent=self.id, **details)

    async def send(self, message: str | Body, **details: Unpack[MessageDetails]) -> Sent:
        """Put a message into the agent's mailbox; plain text is an order."""
        check_keywords("AgentHandle.send", MessageDetails, details)
        return await self.town.send(self.id, message, **details)

    async def inbox(self) -> tuple[Message, ...]:
        """What lies in the agent's mailbox."""
        return await self.town.inbox(self.id)

    async def wait_for_idle(self) -> None:
        """Wait until the agent has nothing to do; see `Town.wait_for_idle`."""
        await self.town.wait_for_idle(self)

    async def wait_until(self, good: Callable[[Agent], bool]) -> Agent:
        """The agent once `good` agrees."""
        found: Agent = await self.town.wait_until(self.info, good)
        return found

    async def interrupt(self, *, now: bool = False, reason: str = "interrupted") -> None:
        """Pause the agent: after its round, or at once with `now`. Its mail and task go back untouched."""
        await self.town.run(self.town.operations.set_desired_state(self.id, "paused", now=now, reason=reason))

    async def resume(self) -> None:
        """Let a paused or stopped agent go on."""
        await self.town.run(self.town.operations.set_desired_state(self.id, "running"))

    async def close(self, *, reason: str = "closed") -> None:
        """Let the agent finish what it has been given, then stop."""
        await self.town.run(self.town.operations.set_desired_state(self.id, "drained", reason=reason))

    async def kill(self, *, now: bool = False, reason: str = "killed") -> None:
        """Stop the agent: after its round, or at once with `now`. Its mail and tasks stay with it."""
        await self.town.run(self.town.operations.set_desired_state(self.id, "stopped", now=now, reason=reason))

    async def remove(self, *, force: bool = False) -> None:
        """Take the stopped agent out of the town; see `TownOperations.remove_agent`."""
        await self.town.run(self.town.operations.remove_agent(self.id, force=force))


@asynccontextmanager
async def connect_town(root: Path, config: Config) -> AsyncGenerator[Town]:
    """A connected `Town` that follows the event stream.

    An embedded server is started when none answers, now and whenever the connection is lost.
    Raises: ServerUnreachable, ConfigError, Refused for data of another schema.
    """
    server = town_server(root, config)

    async def prepare() -> None:
        if server is not None:
            ensure = functools.partial(server.ensure, durability=config.redis.durability)
            if await trio.to_thread.run_sync(ensure, abandon_on_cancel=True) == "started":
                with suppress(OSError):
                    prepare_runtime_directory(root)

    bells = Bells()
    # The link is used by those who put things in order when everything is cancelled, so it outlasts them.
    opened = open_link(address_of(root, config), on_push=bells.hear, on_connected=bells.hear_again, prepare=prepare)
    async with (
        open_lasting(opened) as link,
        open_link(address_of(root, config), prepare=prepare, blocking=True, stall_s=None) as reading,
    ):
        town = Town(root, config, link, bells)
        await town.run(load_library())
        schema = await town.run(town.operations.setup(config.server_settings))
        if schema != SCHEMA:
            raise Refused(
                f"the data of town {config.name!r} has the schema {schema}, this version of Tinytown has {SCHEMA}",
                hint="use the version of Tinytown that made it",
                code="other_schema",
            )
        latest = await town.run(town.operations.latest_events(1))
        town.position.value = latest[-1].id if latest else "0-0"
        async with open_background() as nursery:
            nursery.start_soon(_follow, town, reading)
            yield town


async def _follow(town: Town, reading: Link) -> None:
    """Keep `town.position` at the newest event, for as long as the server can be reached."""
    while True:
        try:
            call = town.operations.wait_for_events(town.position.value, block_ms=_READ_BLOCK_MS)
            found = await reading.run(call)
        except Exception:  # the link reconnects by itself; whoever needs the server hears of it from their own calls
            await trio.sleep(0.2)
            continue
        town.heard(found)
