"""What ``tt top`` knows of the town and of the screen: status, rounds, events, the selected agent. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tinytown.model.agents import Agent
from tinytown.model.events import AgentReported, Event, RoundEnded
from tinytown.model.results import Status
from tinytown.model.round_records import RoundRecord
from tinytown.model.time import rfc3339
from tinytown.protocol import Operation, TownOperations
from tinytown_cli import administration

from tinytown_ops.costs import ledger
from tinytown_ops.costs.ledger import Account
from tinytown_ops.explain.blockers import Situation, agent_blockers, idle_reason

#: Rounds that are read at most, that are kept, and the span over which their rate is measured.
ROUNDS_READ = 500
ROUNDS_KEPT = 5_000
RATE_S = 300
EVENTS_KEPT = 200


@dataclass
class Model:
    """What is known of the town and selected on the screen. `update` takes the answers to the `queries`."""

    town: str
    status: Status | None = None
    accounts: tuple[Account, ...] = ()
    rounds: dict[str, RoundRecord] = field(default_factory=dict[str, RoundRecord])
    events: deque[Event] = field(default_factory=lambda: deque[Event](maxlen=EVENTS_KEPT))
    reported: dict[str, str] = field(default_factory=dict[str, str])
    selected: str = ""  # the agent's name, so that it stays selected when others come and go
    note: str = ""
    error: str = ""
    auto_claim: bool | Literal["tagged"] = True
    _rounds_to_read: int = ROUNDS_READ

    def queries(self, operations: TownOperations) -> list[Operation[Any]]:
        """What a picture of the town needs: of rounds only those that ended since the last time."""
        count, self._rounds_to_read = max(1, self._rounds_to_read), 0
        return [
            operations.status(),
            ledger.accounts(operations.keys),
            administration.rounds(operations.keys, limit=count),
        ]

    def update(self, answers: Sequence[Any]) -> None:
        """Take the answers to the `queries`."""
        self.status, self.accounts, records = answers
        self.rounds |= {record.round_id: record for record in records}
        for round_id in sorted(self.rounds, key=lambda round_id: self.rounds[round_id].ended_at)[:-ROUNDS_KEPT]:
            del self.rounds[round_id]
        self.error = ""
        if self.agents and self.selected not in {agent.name for agent in self.agents}:
            self.selected = self.agents[0].name

    def add_event(self, event: Event) -> None:
        """Take an event as it happens. What agents report is shown beside them, not among the events."""
        if isinstance(event, AgentReported):
            self.reported[event.agent] = event.text
        else:
            self.events.append(event)
            if isinstance(event, RoundEnded):
                self._rounds_to_read = min(self._rounds_to_read + 1, ROUNDS_READ)
                self.reported.pop(event.agent, None)

    @property
    def agents(self) -> tuple[Agent, ...]:
        """The agents of the town."""
        return self.status.agents if self.status else ()

    def move_selection(self, step: int) -> None:
        """Select the agent `step` rows below, or above for a negative step."""
        names = [agent.name for agent in self.agents]
        if names:
            row = names.index(self.selected) if self.selected in names else 0
            self.selected = names[max(0, min(len(names) - 1, row + step))]

    def shape(self, now_ms: int) -> dict[str, Any]:
        """The picture as JSON. `why` is the former name of `activity`, kept for one release."""
        assert self.status is not None
        agents: list[dict[str, Any]] = []
        for agent in self.agents:
            activity = self.activity(agent, now_ms)
            agents.append(
                {
                    "name": agent.name,
                    "state": agent.state,
                    "since": agent.since,
                    "task": agent.current_task,
                    "mail": agent.mail.total,
                    "rounds_a_minute": round(self.rate(now_ms, agent.name), 2),
                    "cost_usd": self.cost(agent.name),
                    "activity": activity,
                    "why": activity,
                }
            )
        return {
            "town": self.town,
            "kernels": [host.name for host in self.status.hosts],
            "agents": agents,
            "tasks": self.status.tasks,
            "dead": self.status.dead,
            "rounds_a_minute": round(self.rate(now_ms), 2),
            "cost_usd": self.cost(),
        }

    def rate(self, now_ms: int, agent: str | None = None) -> float:
        """Rounds per minute over the last `RATE_S` seconds."""
        since = rfc3339(now_ms - RATE_S * 1000)
        ended = [record for record in self.rounds.values() if record.ended_at > since and agent in (None, record.agent)]
        return len(ended) * 60 / RATE_S

    def cost(self, agent: str | None = None) -> float | None:
        """The cost of the known rounds in US dollars, as far as backends reported it; None if none did."""
        costs = [
            cost
            for record in self.rounds.values()
            if agent in (None, record.agent) and (cost := (record.usage or {}).get("cost_usd")) is not None
        ]
        return round(sum(costs), 4) if costs else None

    def activity(self, agent: Agent, now_ms: int) -> str:
        """What an agent is doing, or the reason why it is not working, in a few words."""
        if agent.state == "working":
            return self.reported.get(agent.name, "")
        hosts = self.status.hosts if self.status else ()
        situation = Situation(now_ms, self.agents, hosts, accounts=self.accounts, auto_claim=self.auto_claim)
        reasons = [blocker.text.removeprefix(f"{agent.name} ") for blocker in agent_blockers(agent, situation)]
        return "; ".join(reasons) or idle_reason(agent)
