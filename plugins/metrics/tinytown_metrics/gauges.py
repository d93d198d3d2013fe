"""How a town is at the moment at which it is asked: read from its server for each scrape."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from tinytown.model.agents import TRANSITIONS as AGENT_STATES
from tinytown.model.hash_codec import pairs
from tinytown.model.results import Status
from tinytown.model.tasks import TASK_STATES
from tinytown.model.time import parse_rfc3339
from tinytown.protocol import Operation
from tinytown.town import Town

#: So many mailboxes are looked into for their age.
_MAILBOXES = 100


class TownState(msgspec.Struct, frozen=True, kw_only=True):
    """A town at one moment: how old the next message of each mailbox is, and how far behind sinks are, in seconds."""

    status: Status
    queue_age_s: Mapping[str, float]
    sink_lag_s: Mapping[str, float]


async def read_state(town: Town) -> TownState:
    """The town as it is now. Raises: ServerUnreachable."""
    operations = town.operations
    status = await town.run(operations.status())
    ages: dict[str, float] = {}
    for agent in [agent for agent in status.agents if agent.mail.queued][:_MAILBOXES]:
        inbox = await town.run(operations.peek(agent.id, limit=agent.mail.leased + 1))
        waiting = [entry.message for entry in inbox.messages if entry.place == "queued" and entry.message]
        if waiting and waiting[0].created_at:
            ages[agent.name] = max(0.0, time.time() - parse_rfc3339(waiting[0].created_at) / 1000)
    latest = await town.run(operations.latest_events(1))
    cursors = await town.run(Operation(("HGETALL", operations.keys.cursors), pairs))
    newest_ms = _ms(latest[-1].id) if latest else 0
    lags = {name: max(0, newest_ms - _ms(cursor)) / 1000 for name, cursor in cursors.items()}
    return TownState(status=status, queue_age_s=ages, sink_lag_s=lags)


class TownGauges(Collector):
    """Asks `read` at each scrape; None: the town's server does not answer."""

    def __init__(self, town: str, read: Callable[[], TownState | None]) -> None:
        self._town = town
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All gauges; only that it is not up if it does not answer."""
        state = self._read()
        yield self._gauge("up", "Whether the town's server answers.", [((), int(state is not None))])
        if state is not None:
            yield from self._gauges(state)

    def _gauges(self, town: TownState) -> Iterator[GaugeMetricFamily]:
        status = town.status
        agents = Counter(agent.state for agent in status.agents)
        agents_in = [((state,), agents[state]) for state in AGENT_STATES]
        yield self._gauge("agents", "Agents, by state.", agents_in, "state")
        tasks = [((state,), status.tasks.get(state, 0)) for state in TASK_STATES]
        yield self._gauge("tasks", "Tasks, by state.", tasks, "state")
        yield self._gauge("backlog_tasks", "Tasks that no agent has.", [((), status.backlog)])
        mail = [
            ((agent.name, place), number)
            for agent in status.agents
            for place, number in (
                ("queued", agent.mail.queued),
                ("leased", agent.mail.leased),
                ("delayed", agent.mail.delayed),
            )
        ]
        yield self._gauge("mailbox_messages", "Messages in the mailboxes of agents.", mail, "agent", "place")
        ages = [((name,), age) for name, age in town.queue_age_s.items()]
        yield self._gauge("queue_age_seconds", "How old the next message of an agent is.", ages, "agent")
        supervisor = [((), status.supervisor_mail.total)]
        yield self._gauge("supervisor_messages", "Messages for the supervisor.", supervisor)
        yield self._gauge("dead_letters", "Messages that were given up.", [((), status.dead)])
        yield self._gauge("hosts", "Kernels that take part.", [((), len(status.hosts))])
        yield self._gauge("frozen", "Whether the town is frozen.", [((), int(status.frozen is not None))])
        lags = [((name,), lag) for name, lag in town.sink_lag_s.items()]
        yield self._gauge("sink_lag_seconds", "How far behind the newest event a sink is.", lags, "sink")

    def _gauge(
        self, name: str, text: str, values: Iterable[tuple[Sequence[str], float]], *labels: str
    ) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"tinytown_{name}", text, labels=("town", *labels))
        for key, value in values:
            family.add_metric((self._town, *key), value)
        return family


def _ms(event_id: str) -> int:
    return int(event_id.partition("-")[0])
