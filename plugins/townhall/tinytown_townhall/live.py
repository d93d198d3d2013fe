"""What open pages show, kept current by the town's events: read once for all pages, and only while there is one.

A page gets a picture of the whole, and from then on what has changed. One that does not keep up is dropped, connects again, and
gets a new picture.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import msgspec
import trio
from tinytown.errors import NotFound, ServerUnreachable, TinytownError, UsageError
from tinytown.model.agents import Agent
from tinytown.model.events import AgentActivity, AgentReported, Event, OtherEvent, RoundEnded, event_fields
from tinytown.model.ids import SUPERVISOR
from tinytown.model.results import Freeze, Inbox, Status
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown.model.time import rfc3339
from tinytown.town import Town
from tinytown_cli import administration
from tinytown_cli.administration import DeadLetter
from tinytown_ops.costs import ledger
from tinytown_ops.costs.ledger import Account, Budget, CostRow, Costs
from tinytown_ops.explain.blockers import Situation, agent_blockers, idle_reason
from tinytown_ops.questions.record import Question

from tinytown_townhall.attention import Attention, Findings, attention
from tinytown_townhall.event_stream import sse
from tinytown_townhall.extensions import Extensions
from tinytown_townhall.feed import EventFeed, FeedEvent
from tinytown_townhall.questions import open_questions
from tinytown_townhall.reads import TaskRow, task_row
from tinytown_townhall.views import AgentView, HostView, agent_view, host_view

#: Changes are gathered for so long, and sent at most so often.
_GATHER_S = 0.03
_AT_MOST_EVERY_S = 0.2
#: More changed agents or tasks than this are read all at once.
_SINGLY = 64
_EVENTS_SHOWN = 200
_ROUNDS_READ = 500
_LISTED = 200
_FAILED_SHOWN = 50
#: What failed longer ago is on the board, and calls nobody any more.
_FAILED_SHOWN_MS = 86_400_000
_WAITING_PAGES = 32
_WORDS = 280
_TITLE = 160
#: Beginnings of the types of events after which these are read again.
_CHANGE_ATTENTION = (
    "message_", "task_", "agent_state", "agent_removed", "round_", "question_", "plugin_data", "budget", "account_", "town_",
    "host_",
)  # fmt: skip
_CHANGE_COSTS = ("round_ended", "budget", "account_")


class AgentRow(AgentView, frozen=True, kw_only=True):
    """An agent as a page shows it.

    `task_title` is that of its present task. `activity` is what it does, or why it does nothing; `words` are the last that it, or
    its last round, reported. `usd` is null if no price is known.
    """

    label: str
    task_title: str
    activity: str
    words: str
    usd: float | None
    tokens: int


class TownRow(msgspec.Struct, frozen=True, kw_only=True):
    """The town as a page shows it, beside agents and tasks. `now` is its clock."""

    town: str
    now: str
    frozen: Freeze | None
    hosts: Sequence[HostView]
    tasks: Mapping[str, int]
    backlog: int
    dead: int
    mail: int
    usd: float | None
    tokens: int
    today: str
    budgets: Sequence[Budget]


class Picture(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The whole town, or what has changed of it: agents and tasks by their present state, the ids of those that are gone."""

    position: str
    town: TownRow
    agents: Sequence[AgentRow] = ()
    tasks: Sequence[TaskRow] = ()
    gone_agents: Sequence[str] = ()
    gone_tasks: Sequence[str] = ()
    attention: Sequence[Attention] | None = None
    events: Sequence[msgspec.Raw] = ()


class LiveTown:
    """The picture of the town for pages. `take` is called with each event; `follow` is what one page reads."""

    def __init__(self, town: Town, feed: EventFeed, extensions: Extensions) -> None:
        self._town = town
        self._extensions = extensions
        self._feed = feed
        self._pages: set[trio.MemorySendChannel[bytes]] = set()
        self._wanted = trio.Event()
        self._pending: list[Event] = []
        self._status: Status | None = None
        self._agents: dict[str, Agent] = {}
        self._ids: dict[str, str] = {}
        self._rows: dict[str, AgentRow] = {}
        self._words: dict[str, str] = {}
        self._titles: dict[str, str] = {}
        self._costs: Costs | None = None
        self._cost_rows: dict[str, CostRow] = {}
        self._accounts: tuple[Account, ...] = ()
        self._inbox = Inbox(agent=SUPERVISOR, messages=())
        self._questions: tuple[Question, ...] = ()
        self._dead: tuple[DeadLetter, ...] = ()
        self._held: tuple[Task, ...] = ()
        self._failed: tuple[Task, ...] = ()
        self._others: list[Attention] = []
        self._attention: list[Attention] = []
        self._lock = trio.Lock()
        self._ready = False

    def take(self, event: Event) -> None:
        """Note that something happened."""
        if self._pages:
            self._pending.append(event)
            self._wanted.set()

    async def run(self) -> None:
        """Keep the picture current while a page is open, until cancelled."""
        while True:
            await self._wanted.wait()
            await trio.sleep(_GATHER_S)
            self._wanted = trio.Event()
            try:
                async with self._lock:
                    if self._pages and self._ready:
                        await self._refresh()
            except TinytownError:
                self._drop_pages()
            await trio.sleep(_AT_MOST_EVERY_S - _GATHER_S)

    async def follow(self) -> AsyncGenerator[bytes]:
        """Server-sent events for one page: ``town`` with the whole picture, then ``change`` with what is new.

        Raises: ServerUnreachable.
        """
        outgoing, incoming = trio.open_memory_channel[bytes](_WAITING_PAGES)
        try:
            async with self._lock:
                if not self._pages:
                    self._pending.clear()
                    self._ready = False
                self._pages.add(outgoing)
                if not self._ready:
                    await self._read_all()
                    self._ready = True
                whole = await self._whole()
            yield whole
            async for chunk in incoming:
                yield chunk
        finally:
            self._pages.discard(outgoing)
            outgoing.close()
            incoming.close()

    async def read_attention(self) -> list[Attention]:
        """What waits for a person now. Raises: ServerUnreachable."""
        async with self._lock:
            if not (self._pages and self._ready):
                await self._read_all()
            return self._find_attention()

    def _drop_pages(self) -> None:
        """End all streams: their pages connect again, and show meanwhile that they are cut off."""
        self._ready = False
        for page in self._pages:
            page.close()
        self._pages = set()

    # -- reading

    async def _read_all(self) -> None:
        town = self._town
        self._pending.clear()
        status = await town.run(town.operations.status())
        self._set_agents(status.agents)
        self._status = status
        self._words = {}
        await self._read_words(_ROUNDS_READ)
        for event in await town.run(town.operations.latest_events(_LISTED)):
            if isinstance(event, AgentReported | AgentActivity):
                self._words[event.agent] = event.text
        await self._read_costs()
        await self._read_attention()
        await self._read_titles()
        self._rows = {agent.id: self._row(agent) for agent in status.agents}

    async def _read_words(self, count: int) -> None:
        records = await self._town.run(administration.rounds(self._town.operations.keys, limit=count))
        for record in reversed(records):
            self._words[record.agent] = record.text or record.reason

    async def _read_titles(self) -> None:
        """The titles of the tasks that agents work on."""
        wanted = {agent.current_task for agent in self._agents.values() if agent.current_task}
        self._titles = {task: title for task, title in self._titles.items() if task in wanted}
        if missing := sorted(wanted - self._titles.keys()):
            titles = await self._town.run(ledger.titles(self._town.operations.keys, missing))
            self._titles |= {task: shown(title, _TITLE) for task, title in zip(missing, titles, strict=True)}

    async def _read_costs(self) -> None:
        keys = self._town.operations.keys
        self._costs = await self._town.run(ledger.costs(keys, by="agent"))
        self._cost_rows = {row.name: row for row in self._costs.rows}
        self._accounts = await self._town.run(ledger.accounts(keys))

    async def _read_attention(self) -> None:
        town = self._town
        operations = town.operations
        self._inbox = await town.run(operations.peek(SUPERVISOR, limit=_LISTED))
        self._questions = await open_questions(town, self._agents.values())
        self._dead = await town.run(administration.dead_letters(operations.keys, limit=_LISTED))
        self._others = await self._extensions.waiting(town)
        blocked = await town.run(operations.tasks(state="blocked", limit=_LISTED))
        self._held = tuple(task for task in blocked if task.held)
        failed = await town.run(operations.tasks(state="failed", limit=_FAILED_SHOWN))
        recent = rfc3339(_now_ms() - _FAILED_SHOWN_MS)
        self._failed = tuple(task for task in failed if (task.since or "") > recent)

    def _set_agents(self, agents: Sequence[Agent]) -> None:
        self._agents = {agent.id: agent for agent in agents}
        self._ids = {agent.name: agent.id for agent in agents}

    async def _refresh(self) -> None:
        """Read what the pending events may have changed, and send it to all pages."""
        events, self._pending = self._pending, []
        before = set(self._agents)
        town = self._town
        named, ids = _mentioned(events)
        self._status = await town.run(town.operations.status(agents=False))
        for event in events:
            if isinstance(event, AgentReported | AgentActivity):
                self._words[event.agent] = event.text
        if ended := sum(isinstance(event, RoundEnded) for event in events):
            await self._read_words(min(ended + 1, _ROUNDS_READ))
        if any(event.type.startswith(_CHANGE_COSTS) for event in events):
            await self._read_costs()
        await self._read_agents(named)
        if changed_attention := any(map(_changes_attention, events)):
            await self._read_attention()
        await self._read_titles()
        tasks, gone_tasks = await self._read_tasks(ids)
        rows: list[AgentRow] = []
        for agent in self._agents.values():
            if agent.name in named or changed_attention:
                row = self._row(agent)
                if row != self._rows.get(agent.id):
                    self._rows[agent.id] = row
                    rows.append(row)
        gone = before - set(self._agents)
        for agent_id in gone:
            self._rows.pop(agent_id, None)
        attention_now = self._find_attention()
        picture = Picture(
            position=events[-1].id if events else town.position.value,
            town=self._town_row(),
            agents=rows,
            tasks=tasks,
            gone_agents=sorted(gone),
            gone_tasks=gone_tasks,
            attention=attention_now if attention_now != self._attention else None,
            events=[msgspec.Raw(event.encoded) for event in await self._recent(events)],
        )
        self._attention = attention_now
        self._send(sse(msgspec.json.encode(picture), event="change"))

    async def _recent(self, events: Sequence[Event]) -> list[FeedEvent]:
        wanted = {event.id for event in events}
        if not events:
            return []
        ms, _, sequence = events[0].id.partition("-")
        before = f"{ms}-{int(sequence) - 1}" if int(sequence or 0) else f"{int(ms) - 1}-{2**63}"
        return [event for event in await self._feed.behind(before) if event.id in wanted]

    async def _read_agents(self, named: set[str]) -> None:
        town = self._town
        if len(named) > _SINGLY or any(name not in self._ids for name in named):
            self._set_agents(await town.agents())
            return

        async def read(name: str) -> None:
            try:
                agent = await town.run(town.operations.agent(self._ids[name]))
            except NotFound:
                self._agents.pop(self._ids.pop(name), None)
            else:
                self._agents[agent.id] = agent

        await _all(read, named)

    async def _read_tasks(self, ids: set[str]) -> tuple[list[TaskRow], list[str]]:
        found: list[TaskRow] = []
        gone: list[str] = []

        async def read(task_id: str) -> None:
            try:
                found.append(task_row(await self._town.task(task_id)))
            except (NotFound, UsageError):
                gone.append(task_id)

        await _all(read, ids)
        return found, gone

    # -- making

    def _row(self, agent: Agent) -> AgentRow:
        line = self._cost_rows.get(agent.name)
        view = msgspec.structs.asdict(agent_view(agent))
        words = self._words.get(agent.name, "")
        return AgentRow(
            **view,
            label=agent.label,
            task_title=self._titles.get(agent.current_task or "", ""),
            activity=self._activity(agent),
            words=shown(words, _WORDS),
            usd=line.usd if line else 0.0,
            tokens=line.input_tokens + line.output_tokens if line else 0,
        )

    def _activity(self, agent: Agent) -> str:
        if agent.state == "working":
            return shown(self._words.get(agent.name, ""), _WORDS)
        status = self._status
        situation = Situation(
            _now_ms(),
            (agent,),
            status.hosts if status else (),
            accounts=self._accounts,
            auto_claim=self._town.config.auto_claim,
            frozen=status.frozen if status else None,
        )
        reasons = [blocker.text.removeprefix(f"{agent.name} ") for blocker in agent_blockers(agent, situation)]
        return "; ".join(reasons) or idle_reason(agent)

    def _town_row(self) -> TownRow:
        status, costs = self._status, self._costs
        assert status is not None
        assert costs is not None
        total = costs.total
        return TownRow(
            town=self._town.name,
            now=rfc3339(_now_ms()),
            frozen=status.frozen,
            hosts=[host_view(host) for host in status.hosts],
            tasks=status.tasks,
            backlog=status.backlog,
            dead=status.dead,
            mail=status.supervisor_mail.total,
            usd=total.usd,
            tokens=total.input_tokens + total.output_tokens,
            today=costs.today,
            budgets=costs.budgets,
        )

    def _find_attention(self) -> list[Attention]:
        status, costs = self._status, self._costs
        assert status is not None
        return attention(
            Findings(
                status=msgspec.structs.replace(status, agents=tuple(self._agents.values())),
                inbox=self._inbox.messages,
                questions=self._questions,
                dead=self._dead,
                held=self._held,
                failed=self._failed,
                budgets=costs.budgets if costs else (),
                accounts=self._accounts,
                kernel_running=bool(status.hosts),
                others=self._others,
            )
        )

    async def _whole(self) -> bytes:
        town = self._town
        self._attention = self._find_attention()
        events = await town.run(town.operations.latest_events(_EVENTS_SHOWN))
        picture = Picture(
            position=events[-1].id if events else "0",
            town=self._town_row(),
            agents=list(self._rows.values()),
            attention=self._attention,
            events=[msgspec.Raw(self._feed.shaped(event).encoded) for event in events],
        )
        return sse(msgspec.json.encode(picture), event="town")

    def _send(self, chunk: bytes) -> None:
        for page in list(self._pages):
            try:
                page.send_nowait(chunk)
            except (trio.WouldBlock, trio.BrokenResourceError):
                self._pages.discard(page)
                page.close()


def _changes_attention(event: Event) -> bool:
    """Whether something else may wait for a person after it; an event of a plugin's own may always mean that."""
    return isinstance(event, OtherEvent) or event.type.startswith(_CHANGE_ATTENTION)


def _now_ms() -> int:
    return int(time.time() * 1000)


def _mentioned(events: Sequence[Event]) -> tuple[set[str], set[str]]:
    """The names of agents and the ids of tasks that events are about."""
    agents: set[str] = set()
    tasks: set[str] = set()
    for event in events:
        fields = event_fields(event)
        agents |= {str(fields[name]) for name in ("agent", "recipient", "receiver") if fields.get(name)}
        if fields.get("task"):
            tasks.add(str(fields["task"]))
    agents.discard(SUPERVISOR)
    return agents, tasks


async def _all(function: Any, items: set[str]) -> None:
    """Call an async function with each item, all at once: the link sends them together."""
    failed: list[ServerUnreachable] = []

    async def one(item: str) -> None:
        try:
            await function(item)
        except ServerUnreachable as error:
            failed.append(error)

    async with trio.open_nursery() as nursery:
        for item in items:
            nursery.start_soon(one, item)
    if failed:
        raise failed[0]
