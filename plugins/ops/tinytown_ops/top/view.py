"""What ``tt top`` shows, as lines of styled text for a screen of any size. Pure: knows neither terminals nor servers."""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from tinytown.model.agents import Agent
from tinytown.model.events import AgentReported, Event, RoundEnded
from tinytown.model.results import Status
from tinytown.model.round_records import RoundRecord
from tinytown.model.text import counted, escape_control, shown
from tinytown.model.time import parse_rfc3339, rfc3339
from tinytown.protocol import Operation, TownOperations
from tinytown_cli.commands.events import describe
from tinytown_ops.costs import ledger
from tinytown_ops.costs.ledger import Account
from tinytown_ops.explain.blockers import Situation, nothing_to_do, why_agent
from tinytown_ops.explain.history_command import duration

Style = Literal["plain", "bold", "dim", "good", "busy", "bad", "chosen"]

#: Rounds that are asked for at most, that are remembered, and over how long their rate is told.
ROUNDS_READ = 500
ROUNDS_KEPT = 5_000
RATE_S = 300
EVENTS_KEPT = 200

_STATE_STYLES: dict[str, Style] = {
    "working": "busy",
    "error": "bad",
    "stopped": "dim",
    "paused": "dim",
    "suspended": "dim",
}
_KEYS = "up/down or j/k choose   Enter log   p pause   r resume   q quit"
_LOG_KEYS = "up/down or j/k scroll   Enter or Esc back   q quit"


class Span(NamedTuple):
    """A piece of a line."""

    text: str
    style: Style = "plain"


Line = tuple[Span, ...]


@dataclass
class Model:
    """What is known of the town and chosen on the screen. `loaded` takes what the calls of `questions` answered."""

    town: str
    status: Status | None = None
    accounts: tuple[Account, ...] = ()
    rounds: dict[str, RoundRecord] = field(default_factory=dict[str, RoundRecord])
    events: deque[Event] = field(default_factory=lambda: deque[Event](maxlen=EVENTS_KEPT))
    reported: dict[str, str] = field(default_factory=dict[str, str])
    chosen: str = ""  # the agent's name, so that it stays chosen when others come and go
    note: str = ""
    trouble: str = ""
    auto_claim: bool = True
    _rounds_to_read: int = ROUNDS_READ

    def questions(self, calls: TownOperations) -> list[Operation[Any]]:
        """What to ask the town for a picture of it: of the rounds only those that have ended since it was asked last."""
        count, self._rounds_to_read = max(1, self._rounds_to_read), 0
        return [calls.status(), ledger.accounts(calls.keys), calls.rounds(limit=count)]

    def loaded(self, answers: Sequence[Any]) -> None:
        """Take the answers to the `questions`."""
        self.status, self.accounts, rounds = answers
        self.rounds |= {each.round_id: each for each in rounds}
        for run in sorted(self.rounds, key=lambda run: self.rounds[run].ended_at)[:-ROUNDS_KEPT]:
            del self.rounds[run]
        self.trouble = ""
        if self.agents and self.chosen not in {each.name for each in self.agents}:
            self.chosen = self.agents[0].name

    def heard(self, event: Event) -> None:
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
        return self.status.agents if self.status else ()

    def move(self, step: int) -> None:
        """Choose another agent."""
        names = [each.name for each in self.agents]
        if names:
            at = names.index(self.chosen) if self.chosen in names else 0
            self.chosen = names[max(0, min(len(names) - 1, at + step))]

    def shape(self, now_ms: int) -> dict[str, Any]:
        """The same as JSON."""
        assert self.status is not None
        return {
            "town": self.town,
            "kernels": [each.name for each in self.status.hosts],
            "agents": [
                {
                    "name": each.name,
                    "state": each.state,
                    "since": each.since,
                    "task": each.current_task,
                    "mail": each.mail.total,
                    "rounds_a_minute": round(self.rate(now_ms, each.name), 2),
                    "cost_usd": self.cost(each.name),
                    "why": self.why(each, now_ms),
                }
                for each in self.agents
            ],
            "tasks": self.status.tasks,
            "dead": self.status.dead,
            "rounds_a_minute": round(self.rate(now_ms), 2),
            "cost_usd": self.cost(),
        }

    def rate(self, now_ms: int, agent: str | None = None) -> float:
        """Rounds a minute, of late."""
        since = rfc3339(now_ms - RATE_S * 1000)
        ended = [each for each in self.rounds.values() if each.ended_at > since and agent in (None, each.agent)]
        return len(ended) * 60 / RATE_S

    def cost(self, agent: str | None = None) -> float | None:
        """US dollars that the rounds known here cost, as far as backends told; None if none did."""
        told = [
            cost
            for each in self.rounds.values()
            if agent in (None, each.agent) and (cost := (each.usage or {}).get("cost_usd")) is not None
        ]
        return round(sum(told), 4) if told else None

    def why(self, agent: Agent, now_ms: int) -> str:
        """What it is doing or why it does nothing, in a few words."""
        if agent.state == "working":
            return self.reported.get(agent.name, "")
        hosts = self.status.hosts if self.status else ()
        situation = Situation(now_ms, self.agents, hosts, accounts=self.accounts, auto_claim=self.auto_claim)
        reasons = [each.text.removeprefix(f"{agent.name} ") for each in why_agent(agent, situation)]
        return "; ".join(reasons) or nothing_to_do(agent)


def frame(model: Model, width: int, height: int, now_ms: int) -> list[Line]:
    """The whole screen: at most `height` lines of at most `width` columns."""
    if model.status is None:
        first = model.trouble or f"looking at {model.town} ..."
        return [_cut((Span(first, "bad" if model.trouble else "plain"),), width)][:height]
    head = [*_head(model, now_ms), (), _agent_headings(width)]
    foot: list[Line] = [(Span(model.trouble, "bad"),) if model.trouble else (Span(model.note or _KEYS, "dim"),)]
    room = max(1, height - len(head) - len(foot))
    agent_room = min(len(model.agents) or 1, max(1, room - 7, room // 2))
    agents = _agents(model, agent_room, width, now_ms)
    events = _events(model, room - len(agents) - 1)
    body = [*head, *agents, (), *events]
    body += [()] * (height - len(foot) - len(body))
    return [_cut(line, width) for line in [*body[: height - len(foot)], *foot][:height]]


def log_frame(agent: str, lines: Sequence[str], scrolled: int, width: int, height: int) -> list[Line]:
    """The screen that shows the end of an agent's log, or what lies `scrolled` lines above it."""
    room = max(0, height - 2)
    end = max(0, len(lines) - scrolled)
    seen = [(Span(shown_line(line)),) for line in lines[max(0, end - room) : end]]
    above = f", {counted(scrolled, 'line')} up" if scrolled else ""
    body: list[Line] = [(Span(f"log of {agent}{above}", "bold"),), *seen]
    body += [()] * (height - 1 - len(body))
    return [_cut(line, width) for line in [*body[: height - 1], (Span(_LOG_KEYS, "dim"),)][:height]]


def shown_line(line: str) -> str:
    """A line of output that a terminal only shows; tabs become blanks."""
    return escape_control(line).expandtabs(8)


def text_of(line: Line) -> str:
    """A line without its styles."""
    return "".join(span.text for span in line).rstrip()


def _head(model: Model, now_ms: int) -> list[Line]:
    status = model.status
    assert status is not None
    kernels = ", ".join(sorted({each.name for each in status.hosts})) if status.hosts else "none: tt start"
    clock = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone()
    working = sum(each.state == "working" for each in model.agents)
    cost = model.cost()
    figures = f"{counted(len(model.agents), 'agent')}, {working} working, {model.rate(now_ms):.1f} rounds/min"
    money = f", ${cost:.2f}" if cost is not None else ""
    tasks = ", ".join(f"{count} {state}" for state, count in status.tasks.items() if count) or "none"
    first: Line = (
        Span(f"{model.town}  ", "bold"),
        Span(f"{clock:%H:%M:%S}  kernel "),
        Span(kernels, "plain" if status.hosts else "bad"),
        Span(f"  {figures}{money}"),
    )
    dead = (Span(f"   dead letters: {status.dead}", "bad"),) if status.dead else ()
    mail = (Span(f"   mail for you: {status.supervisor_mail.total}", "bold"),) if status.supervisor_mail.total else ()
    return [first, (Span(f"tasks: {tasks}"), *dead, *mail)]


def _columns(width: int) -> tuple[tuple[str, int], ...]:
    """Headings and widths of what stands before the last column; a narrow screen shows less."""
    name, more = (20, (("R/MIN", 6), ("COST", 8))) if width >= 100 else (12, ())
    return (("AGENT", name), ("STATE", 8), ("SINCE", 7), ("TASK", 8), ("MAIL", 4), *more)


def _agent_headings(width: int) -> Line:
    cells = [fit(name, size) for name, size in _columns(width)]
    return (Span(" " + " ".join(cells) + " DOING, OR WHY NOT", "dim"),)


def _agents(model: Model, room: int, width: int, now_ms: int) -> list[Line]:
    if not model.agents:
        return [(Span(" no agents yet: tt spawn NAME adds one"),)]
    names = [each.name for each in model.agents]
    at = names.index(model.chosen) if model.chosen in names else 0
    first = max(0, min(at - room // 2, len(names) - room))
    return [_agent(model, each, width, now_ms) for each in model.agents[first : first + room]]


def _agent(model: Model, agent: Agent, width: int, now_ms: int) -> Line:
    rate, cost = model.rate(now_ms, agent.name), model.cost(agent.name)
    told = {
        "AGENT": agent.name,
        "STATE": agent.state,
        "SINCE": duration(max(0, now_ms - parse_rfc3339(agent.since)) / 1000) if agent.since else "",
        "TASK": (agent.current_task or "")[:8],
        "MAIL": f"{agent.mail.total}!" if agent.mail.urgent else str(agent.mail.total or ""),
        "R/MIN": f"{rate:.1f}" if rate else "",
        "COST": "" if cost is None else f"${cost:.2f}",
    }
    name, state, *cells = (fit(told[heading], size) for heading, size in _columns(width))
    rest = f" {' '.join(cells)} {shown(model.why(agent, now_ms), 400)}"
    if agent.name == model.chosen:
        return (Span(fit(f">{name} {state}{rest}", width), "chosen"),)
    return (Span(f" {name} "), Span(state, _STATE_STYLES.get(agent.state, "good")), Span(rest))


def _events(model: Model, room: int) -> list[Line]:
    if room <= 0:
        return []
    latest = list(model.events)[-room:]
    return [
        (Span(f"{datetime.fromisoformat(each.at).astimezone():%H:%M:%S}  ", "dim"), Span(describe(each)))
        for each in latest
    ]


def _cut(line: Line, width: int) -> Line:
    """The line, safe and no wider than the screen."""
    left, kept = width, list[Span]()
    for span in line:
        text = _to_width(escape_control(span.text).replace("\n", " "), left)
        kept.append(Span(text, span.style))
        left -= columns(text)
        if left <= 0:
            break
    return tuple(kept)


def fit(text: str, width: int) -> str:
    """The text in exactly so many columns: cut with an ellipsis, or filled up."""
    if columns(text) > width:
        text = _to_width(text, max(0, width - 1)) + ("…" if width else "")
    return text + " " * (width - columns(text))


def columns(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _to_width(text: str, width: int) -> str:
    if columns(text) <= width:
        return text
    taken = 0
    for at, character in enumerate(text):
        taken += _columns_of(character)
        if taken > width:
            return text[:at]
    return text
