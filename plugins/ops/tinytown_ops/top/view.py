"""What ``tt top`` shows: a `Model` as lines of styled text for a screen of any size. Pure: knows no terminal and no server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from tinytown.model.agents import Agent
from tinytown.model.text import counted, escape_control, shown
from tinytown.model.time import parse_rfc3339
from tinytown_cli.event_text import describe
from tinytown_cli.formatting import brief_id

from tinytown_ops.explain.round_text import duration
from tinytown_ops.top.model import Model
from tinytown_ops.top.text_width import columns, cut, fit

Style = Literal["plain", "bold", "dim", "good", "busy", "bad", "selected"]

_STATE_STYLES: dict[str, Style] = {
    "working": "busy",
    "error": "bad",
    "stopped": "dim",
    "paused": "dim",
    "suspended": "dim",
}
_KEYS = "up/down or j/k select   Enter log   p pause   r resume   q quit"
_LOG_KEYS = "up/down or j/k scroll   Enter or Esc back   q quit"


class Span(NamedTuple):
    """A piece of a line."""

    text: str
    style: Style = "plain"


Line = tuple[Span, ...]


def frame(model: Model, width: int, height: int, now_ms: int) -> list[Line]:
    """The whole screen: at most `height` lines of at most `width` columns."""
    if model.status is None:
        first = model.error or f"loading {model.town} ..."
        return [_safe((Span(first, "bad" if model.error else "plain"),), width)][:height]
    head = [*_head(model, now_ms), (), _agent_headings(width)]
    foot: list[Line] = [(Span(model.error, "bad"),) if model.error else (Span(model.note or _KEYS, "dim"),)]
    room = max(1, height - len(head) - len(foot))
    agent_room = min(len(model.agents) or 1, max(1, room - 7, room // 2))
    agents = _agents(model, agent_room, width, now_ms)
    events = _events(model, room - len(agents) - 1)
    body = [*head, *agents, (), *events]
    body += [()] * (height - len(foot) - len(body))
    return [_safe(line, width) for line in [*body[: height - len(foot)], *foot][:height]]


def log_frame(agent: str, lines: Sequence[str], scrolled: int, width: int, height: int) -> list[Line]:
    """The screen with the end of an agent's log, or the part that is `scrolled` lines above it."""
    room = max(0, height - 2)
    end = max(0, len(lines) - scrolled)
    visible = [(Span(safe_line(line)),) for line in lines[max(0, end - room) : end]]
    above = f", {counted(scrolled, 'line')} up" if scrolled else ""
    body: list[Line] = [(Span(f"log of {agent}{above}", "bold"),), *visible]
    body += [()] * (height - 1 - len(body))
    return [_safe(line, width) for line in [*body[: height - 1], (Span(_LOG_KEYS, "dim"),)][:height]]


def safe_line(line: str) -> str:
    """A line of output without control characters; tabs become blanks."""
    return escape_control(line).expandtabs(8)


def text_of(line: Line) -> str:
    """A line without its styles."""
    return "".join(span.text for span in line).rstrip()


def _head(model: Model, now_ms: int) -> list[Line]:
    status = model.status
    assert status is not None
    kernels = ", ".join(sorted({host.name for host in status.hosts})) if status.hosts else "not running: tt start"
    clock = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone()
    working = sum(agent.state == "working" for agent in model.agents)
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
    """Headings and widths of all columns but the last; a narrow screen has fewer."""
    name, more = (20, (("R/MIN", 6), ("COST", 8))) if width >= 100 else (12, ())
    return (("AGENT", name), ("STATE", 8), ("FOR", 7), ("TASK", 8), ("MAIL", 4), *more)


def _agent_headings(width: int) -> Line:
    cells = [fit(name, size) for name, size in _columns(width)]
    return (Span(" " + " ".join(cells) + " ACTIVITY / REASON", "dim"),)


def _agents(model: Model, room: int, width: int, now_ms: int) -> list[Line]:
    if not model.agents:
        return [(Span(" no agents yet: tt spawn NAME adds one"),)]
    names = [agent.name for agent in model.agents]
    row = names.index(model.selected) if model.selected in names else 0
    first = max(0, min(row - room // 2, len(names) - room))
    return [_agent(model, agent, width, now_ms) for agent in model.agents[first : first + room]]


def _agent(model: Model, agent: Agent, width: int, now_ms: int) -> Line:
    rate, cost = model.rate(now_ms, agent.name), model.cost(agent.name)
    cell_by_heading = {
        "AGENT": agent.name,
        "STATE": agent.state,
        "FOR": duration(max(0, now_ms - parse_rfc3339(agent.since)) / 1000) if agent.since else "",
        "TASK": brief_id(agent.current_task or ""),
        "MAIL": f"{agent.mail.total}!" if agent.mail.urgent else str(agent.mail.total or ""),
        "R/MIN": f"{rate:.1f}" if rate else "",
        "COST": "" if cost is None else f"${cost:.2f}",
    }
    name, state, *cells = (fit(cell_by_heading[heading], size) for heading, size in _columns(width))
    rest = f" {' '.join(cells)} {shown(model.activity(agent, now_ms), 400)}"
    if agent.name == model.selected:
        return (Span(fit(f">{name} {state}{rest}", width), "selected"),)
    return (Span(f" {name} "), Span(state, _STATE_STYLES.get(agent.state, "good")), Span(rest))


def _events(model: Model, room: int) -> list[Line]:
    if room <= 0:
        return []
    latest = list(model.events)[-room:]
    return [
        (Span(f"{datetime.fromisoformat(event.at).astimezone():%H:%M:%S}  ", "dim"), Span(describe(event)))
        for event in latest
    ]


def _safe(line: Line, width: int) -> Line:
    """The line without control characters, no wider than the screen."""
    left, spans = width, list[Span]()
    for span in line:
        text = cut(escape_control(span.text).replace("\n", " "), left)
        spans.append(Span(text, span.style))
        left -= columns(text)
        if left <= 0:
            break
    return tuple(spans)
