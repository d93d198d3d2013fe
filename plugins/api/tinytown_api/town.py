"""A town for programs: made, connected or run, with a method for everything that a person does with ``tt``.

`Town` is the core's `tinytown.town.Town` and adds methods that run operations of the core, of the command line and of
``tinytown-ops``. It holds no rules of its own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Required, Self, Unpack

import tinytown
import trio
from tinytown.config import load_config
from tinytown.errors import ProtocolViolation, Refused, TinytownError
from tinytown.model.details import AgentDetails, TaskChanges, TaskDetails, check_keywords
from tinytown.model.ids import SUPERVISOR, SUPERVISOR_ID, SUPERVISOR_NAMES
from tinytown.model.messages import Message, Priority
from tinytown.model.round_records import RoundRecord
from tinytown.model.tasks import Task
from tinytown.town import AgentHandle as CoreAgentHandle, Town as CoreTown, connect_town
from tinytown_cli import administration
from tinytown_cli.administration import DeadLetter
from tinytown_cli.session_forks import fork_table
from tinytown_cli.town_search import find_town
from tinytown_ops.doctor.reclaim_operation import Reclaimed, reclaim_from
from tinytown_ops.settings.files import Level
from tinytown_ops.settings.keys import look_up, parse_key

from tinytown_api.asking import Asked, ask
from tinytown_api.mailbox import Mailbox, open_mailbox


class NewTask(TaskDetails, total=False):
    """One of many tasks that are made at once: its description, its agent (none: the backlog), and its `TaskDetails`."""

    description: Required[str]
    agent: str


class AgentHandle(CoreAgentHandle):
    """The handle of the core, and what `Town` has about one agent. Holds no state of the agent: every method asks the town."""

    town: Town

    async def ask(self, question: str, *, priority: Priority = "normal") -> Message:
        """The agent's answer to a question; see `Town.ask`."""
        return await self.town.ask(self.id, question, priority=priority)

    async def inbox(self) -> tuple[Message, ...]:
        """The messages of the agent's mailbox; see `Town.inbox`."""
        return await self.town.inbox(self.id)

    async def close(self, *, reason: str = "closed") -> None:
        """Let the agent finish its work, then stop."""
        await self.town.run(self.town.operations.set_desired_state(self.id, "drained", reason=reason))

    async def remove(self, *, force: bool = False) -> None:
        """Remove the stopped agent from the town; see `administration.remove_agent`."""
        await self.town.run(administration.remove_agent(self.town.operations.keys, self.id, force=force))

    async def claim(self, task: str) -> Task:
        """Give the agent a task of the backlog; the task. Raises: Refused for one that is not on it."""
        return await self.town.claim_task(task, self.id)

    async def fork_session(self) -> dict[str, Any]:
        """The table of tasks that start from a copy of the session that the agent has now: ``assign(text, meta=...)`` takes it.

        Whoever does them needs the same CLI, one that can fork sessions; else they fail. Raises: Refused if there is no session.
        """
        return fork_table(await self.info())

    async def take_over(self, task: str) -> Task:
        """Give the agent a task that is another agent's or unassigned; see `Town.assign_task`."""
        return await self.town.assign_task(task, self.id)

    async def assign_backlog(self) -> tuple[str, ...]:
        """Give the agent the whole backlog (1,000 tasks at most); ids of the tasks."""
        return await self.town.assign_backlog(self.id)

    async def current_task(self) -> Task | None:
        """The task that the agent works on, or its only open one."""
        return await self.town.current_task(self.id)

    async def rounds(self, *, limit: int = 20) -> tuple[RoundRecord, ...]:
        """The agent's latest rounds that have ended, newest first."""
        return await self.town.rounds(self.id, limit=limit)

    async def reclaim(self, *, tasks_to: str | None = None, mail_to: str | None = None) -> Reclaimed:
        """Take from the agent what it has not begun; see `Town.reclaim`."""
        return await self.town.reclaim(self.id, tasks_to=tasks_to, mail_to=mail_to)

    async def remove_mail(self, message: str = "all") -> tuple[str, ...]:
        """Delete mail of the agent; see `Town.remove_mail`."""
        return await self.town.remove_mail(self.id, message)

    def open_mailbox(self, *, lease_s: float | None = None) -> AbstractAsyncContextManager[Mailbox]:
        """Consume the mailbox of an agent that no kernel runs; see `Town.open_mailbox`."""
        return self.town.open_mailbox(self.id, lease_s=lease_s)


class Town(CoreTown):
    """A connected town, with everything that `tinytown.town.Town` has.

    `create` makes one, `connect` uses one and never runs agents, `open` also runs its kernel where none runs; `of` adds these
    methods to a town that somebody else has opened. Arguments named ``agent`` or ``task`` take a name, an id, a nickname, or a
    unique prefix of one. Async methods are checkpoints; a cancelled one may have made its change. Every method may raise
    ServerUnreachable, and NotFound, Refused or UsageError depending on its arguments.
    """

    _asked: Asked

    @classmethod
    def of(cls, town: CoreTown) -> Self:
        """The same town with the methods of this class: one that a plugin was given, or that `tinytown.open_town` has opened."""
        made = cls.__new__(cls)
        vars(town).setdefault("_asked", {})
        made.__dict__ = vars(town)  # one state, so that both see the same events and subscribers
        return made

    @classmethod
    @asynccontextmanager
    async def create(
        cls,
        root: Path | str,
        name: str | None = None,
        *,
        cli: str | None = None,
        redis_url: str | None = None,
        join: bool = False,
        inside: bool = False,
    ) -> AsyncGenerator[Self]:
        """Make a town in the directory `root`, which is made if need be, and connect to it, as `connect` does.

        Writes ``tinytown.toml``, which is made to be committed, and starts the server. `name` defaults to the git repository and
        branch, else the directory; `cli` is the kind of agents that are spawned without one; the rest is as in ``tt init``.
        Raises: Refused with code ``exists`` where a town is, or is above (unless `inside`); UsageError for a bad name or URL.
        """
        where = Path(root)

        def make() -> Path:
            from tinytown_cli.new_town import make_town  # late: only a new town needs it
            from tinytown_cli.town_registry import register_town

            where.mkdir(parents=True, exist_ok=True)
            directory = where.resolve()
            made = make_town(directory, name=name, cli=cli, redis_url=redis_url, join=join, inside=inside)
            with suppress(TinytownError):  # not on the person's list of towns it works all the same
                register_town(directory, made.config.name)
            return directory

        async with cls.connect(await trio.to_thread.run_sync(make)) as town:
            yield town

    @classmethod
    @asynccontextmanager
    async def connect(cls, root: Path | str | None = None) -> AsyncGenerator[Self]:
        """The town that `root` (default: the current directory) is in, connected. Agents run where a kernel runs: never here.

        The embedded server is started when none answers. Raises: NotFound without a town; ConfigError; Refused.
        """
        where = find_town(None if root is None else Path(root))
        async with connect_town(where, load_config(where)) as town:
            yield cls.of(town)

    @classmethod
    @asynccontextmanager
    async def open(cls, root: Path | str | None = None, *, kernel: bool | None = None) -> AsyncGenerator[Self]:
        """The town that `root` is in, connected; its kernel runs in this block unless one runs: `tinytown.open_town`."""
        async with tinytown.open_town(find_town(None if root is None else Path(root)), kernel=kernel) as town:
            yield cls.of(town)

    # -- agents

    async def spawn(self, name: str, *, cli: str | None = None, **details: Unpack[AgentDetails]) -> AgentHandle:
        """Add an agent; see `tinytown.town.Town.spawn`."""
        made = await super().spawn(name, cli=cli, **details)
        return AgentHandle(self, made.name, made.id)

    async def agent(self, agent: str) -> AgentHandle:
        """The handle of an existing agent."""
        found = await super().agent(agent)
        return AgentHandle(self, found.name, found.id)

    async def reclaim(self, agent: str, *, tasks_to: str | None = None, mail_to: str | None = None) -> Reclaimed:
        """Give what an agent has to another (a name), or to the backlog (``""``); what it works on at that moment stays with it.

        `tasks_to` gets its open tasks, `mail_to` its mail; None leaves them. With ``""`` for mail, its orders in free text
        become tasks.
        """
        return await self.run(reclaim_from(self.operations.keys, agent, tasks_to=tasks_to, mail_to=mail_to))

    async def current_task(self, agent: str) -> Task | None:
        """The task that an agent works on, or its only open one."""
        return await self.run(administration.current_task(self.operations.keys, agent))

    async def rounds(self, agent: str | None = None, *, task: str = "", limit: int = 20) -> tuple[RoundRecord, ...]:
        """The latest rounds that have ended, newest first: of one agent or all, on one task or any."""
        return await self.run(administration.rounds(self.operations.keys, agent, task=task, limit=limit))

    # -- tasks and the backlog

    async def claim_task(self, task: str, agent: str) -> Task:
        """Give a task of the backlog to an agent. Raises: Refused for one that is not on it, such as one that was claimed."""
        return (await self.run(self.operations.claim_from_backlog(task, agent))).task

    async def assign_task(self, task: str, agent: str) -> Task:
        """Give a task to an agent, whoever had it. Raises: Refused for one that is in progress or finished."""
        return (await self.run(self.operations.assign_task(task, agent))).task

    async def assign_backlog(self, agent: str) -> tuple[str, ...]:
        """Give the whole backlog (1,000 tasks at most) to an agent; ids of the tasks."""
        return await self.run(administration.assign_backlog(self.operations.keys, agent))

    async def requeue_task(self, task: str, *, reason: str = "requeued") -> Task:
        """Take a task from its agent and put it onto the backlog."""
        return await self.run(administration.requeue_task(self.operations.keys, task, reason=reason))

    async def update_task(self, task: str, **changes: Unpack[TaskChanges]) -> Task:
        """Edit a task that is neither in progress nor finished; None leaves a field. Raises: TypeError for an unknown keyword."""
        check_keywords("Town.update_task", TaskChanges, changes)
        return await self.run(administration.update_task(self.operations, task, **changes))

    async def add_need(self, task: str, need: str) -> Task:
        """Make a task wait for another. Raises: Refused for a dependency cycle."""
        return await self.run(administration.add_need(self.operations.keys, task, need))

    async def delete_task(self, task: str) -> str:
        """Delete a task that is not in progress and that no open task needs; its id."""
        return await self.run(administration.delete_task(self.operations.keys, task))

    async def assign_all(self, tasks: Iterable[NewTask]) -> tuple[Task, ...]:
        """Create many tasks in one pipeline, in this order: what a task needs comes before it.

        A task whose ``task_id`` exists stays as it is, so that the same call may be repeated. Raises: what the first one is
        refused for; those before it are made, and some behind it may be.
        """
        adding = [self.operations.add_task(**task) for task in tasks]
        replies = await self.link.replies([operation.command for operation in adding])
        made: list[Task] = []
        for operation, reply in zip(adding, replies, strict=True):
            try:
                made.append(operation.read(reply).task)
            except Refused as error:
                if error.code != "exists":
                    raise
                made.append(await self.task(error.fields["task"]))
            except ProtocolViolation:  # the server has lost the functions
                made.append((await self.run(operation)).task)
        return tuple(made)

    async def fail_task(self, task: str, reason: str) -> Task:
        """Fail a task, as a person may."""
        return await self.run(self.operations.settle_task("fail", task, text=reason))

    async def reopen_task(self, task: str, reason: str = "reopened") -> Task:
        """Reopen a finished task."""
        return (await self.run(administration.reopen_task(self.operations.keys, task, reason=reason))).task

    async def hold_task(self, task: str, reason: str, *, until: str = "") -> Task:
        """Hold a task back until it is released, or until a moment (RFC 3339)."""
        return await self.run(administration.hold_task(self.operations.keys, task, reason=reason, until=until))

    async def release_task(self, task: str) -> Task:
        """Release a held task."""
        return await self.run(administration.release_task(self.operations.keys, task))

    # -- mail

    async def dead_letters(self) -> tuple[DeadLetter, ...]:
        """The dead letters, newest first."""
        return await self.run(administration.dead_letters(self.operations.keys))

    @asynccontextmanager
    async def open_mailbox(self, agent: str = SUPERVISOR, *, lease_s: float | None = None) -> AsyncGenerator[Mailbox]:
        """Consume the mailbox of the supervisor, or of an agent that no kernel runs, within the block.

        What is received is leased for `lease_s` seconds (default: those of the town), renewed while the block lasts; what was not
        settled then goes back, and what a killed program had goes back when its lease ends. Calls on the mailbox of an agent
        that a kernel runs raise StaleLease.
        """
        if agent.lower() in SUPERVISOR_NAMES:
            name, agent_id = SUPERVISOR, SUPERVISOR_ID
        else:
            record = await self.run(self.operations.agent(agent))
            name, agent_id = record.name, record.id
        lease_s = self.config.lease_s if lease_s is None else lease_s
        async with open_mailbox(self, name, agent_id, lease_s=lease_s, asked=self._asked) as mailbox:
            yield mailbox

    async def ask(self, agent: str, question: str, *, priority: Priority = "normal") -> Message:
        """Ask an agent as the supervisor and wait for the answer, which is taken out of the supervisor's mailbox.

        The answer is the agent's first reply, else the final text of the round that was there for the question. It takes as long
        as the agent does: put a deadline around it. Cancelled, the question stays asked and its answer arrives in the mailbox. A
        reader of the supervisor's mailbox in another process may take the answer first.
        Raises: NoAnswer if the agent is stopped or in error, or the question became a dead letter.
        """
        return await ask(self, self._asked, agent, question, priority=priority)

    async def remove_mail(self, agent: str = SUPERVISOR, message: str = "all") -> tuple[str, ...]:
        """Delete a message that is not leased (or ``all`` of them) from a mailbox; their ids. Orders of tasks stay."""
        return await self.run(administration.remove_message(self.operations.keys, agent, message))

    async def redrive(self, letter: str = "all") -> tuple[str, ...]:
        """Put a dead letter (or ``all``) back into its mailbox with a clean count; their ids."""
        return await self.run(administration.redrive(self.operations.keys, letter))

    async def drop(self, letter: str = "all") -> tuple[str, ...]:
        """Delete a dead letter (or ``all``); their ids."""
        return await self.run(administration.drop(self.operations.keys, letter))

    async def trace(self, message_id: str) -> tuple[administration.TraceLine, ...]:
        """Where a message has been and when; empty if it is unknown or its history has expired."""
        return await self.run(administration.trace(self.operations.keys, message_id))

    # -- the whole town

    async def freeze(self, reason: str) -> bool:
        """Stop every running process of the town and begin no rounds, until `thaw`; False if it was frozen already."""
        return await self.run(administration.freeze(self.operations.keys, reason=reason))

    async def thaw(self, reason: str) -> bool:
        """Continue a frozen town; False if it was not frozen."""
        return await self.run(administration.thaw(self.operations.keys, reason=reason))

    # -- settings

    async def configure(self, key: str, value: Any, *, user: bool = False) -> bool:
        """Set a key such as ``round.timeout_s`` in the town's file or the user's own; None removes it. Whether that changed it.

        Checked like ``tt config set``; comments and order of the file are kept. `config` is read anew; a running kernel takes
        changes up with ``tt reload``. Raises: ConfigError, UsageError, NotFound or Refused, and the file is as it was.
        """
        level, place = Level(None if user else self.root), parse_key(key)

        def write() -> bool:
            if value is None:
                look_up(level.read()[1], place)  # NotFound where nothing is set
            return level.write(place, value)

        changed = await trio.to_thread.run_sync(write)
        self.config = await trio.to_thread.run_sync(load_config, self.root)
        return changed
