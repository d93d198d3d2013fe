"""Agents: the record, its two states, and the one table of legal transitions. Does not know who runs them.

The *desired state* is what users request; the *state* is what the kernel that holds the agent's lease reports. The tables are
compiled into the server-side functions, which are the only place where either is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from tinytown.errors import WaitFailed
from tinytown.model.hash_codec import read_record

DesiredState = Literal["running", "paused", "drained", "stopped"]
AgentState = Literal["starting", "idle", "working", "paused", "draining", "suspended", "stopped", "error"]

DESIRED_STATES: tuple[DesiredState, ...] = ("running", "paused", "drained", "stopped")

#: From each state, where an agent may go next. Losing its host leads to `suspended` from any.
TRANSITIONS: Mapping[AgentState, tuple[AgentState, ...]] = {
    "starting": ("idle", "working", "paused", "draining", "suspended", "stopped", "error"),
    "idle": ("working", "paused", "draining", "suspended", "stopped", "error"),
    "working": ("idle", "paused", "draining", "suspended", "stopped", "error"),
    "paused": ("idle", "working", "draining", "suspended", "stopped", "error"),
    "draining": ("idle", "working", "paused", "suspended", "stopped", "error"),
    "suspended": ("starting", "stopped", "error"),
    "stopped": ("starting", "suspended"),
    "error": ("starting", "idle", "suspended", "stopped"),
}

#: How the reason of an agent begins that is suspended because it sleeps.
ASLEEP = "asleep"


class MailCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a mailbox: by place (queued, leased, delayed), by kind, and how much of it waits for the next round."""

    queued: int = 0
    leased: int = 0
    delayed: int = 0
    urgent: int = 0
    tasks: int = 0
    queries: int = 0
    informational: int = 0
    confirmations: int = 0
    with_next: int = 0

    @property
    def total(self) -> int:
        return self.queued + self.leased + self.delayed


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """One agent. Times are RFC 3339 in UTC.

    ``state`` is the actual state, with its ``reason`` and ``since``; ``host`` and ``token`` belong to the kernel that
    holds the agent's lease. ``account`` is what it shares with its vendor, known once a kernel has had it. Only a host that
    has all of its ``labels`` takes it. ``rounds_completed`` counts the rounds that came to an end of their own, well or badly,
    and ``max_rounds`` bounds that number (0: no limit). ``open_tasks`` counts its tasks that are not finished.
    """

    id: str
    name: str
    cli: str
    account: str | None = None
    role: str | None = None
    nickname: str | None = None
    parent: str | None = None
    tags: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    desired_state: DesiredState = "running"
    state: AgentState = "suspended"
    reason: str | None = None
    since: str | None = None
    host: str | None = None
    token: str | None = None
    current_task: str | None = None
    round_id: str | None = None
    session_id: str | None = None
    max_rounds: int = 0
    rounds_completed: int = 0
    tasks_completed: int = 0
    failures: int = 0
    created_at: str | None = None
    open_tasks: int = 0
    mail: MailCounts = MailCounts()

    @property
    def label(self) -> str:
        """Its name for screens: ``Ada Mason [reviewer]``."""
        return f"{self.nickname or self.name} [{self.role or self.name}]"

    @property
    def asleep(self) -> bool:
        """It was idle for its time, and wakes when there is something to do."""
        return self.state == "suspended" and (self.reason or "").startswith(ASLEEP)

    @property
    def at_rest(self) -> bool:
        """Nothing runs, nothing waits in the mailbox, and no task is open."""
        return self.state in ("idle", "suspended") and self.mail.total == self.mail.with_next and self.open_tasks == 0


def is_idle(agent: Agent) -> bool:
    """Whether an agent has no round, mail or open task; a stopped one without work counts.

    Raises: WaitFailed with code ``will_not_be_idle`` for one that is stopped or in error with work left.
    """
    if agent.state not in ("stopped", "error"):
        return agent.at_rest
    if agent.mail.total > agent.mail.with_next or agent.open_tasks:
        raise WaitFailed(
            f"agent {agent.name!r} will not become idle: it is {agent.state} with work left "
            f"({agent.reason or 'no reason given'})",
            hint=f"to continue: tt resume {agent.name}",
            agent=agent.name,
        )
    return True


_TIMES = frozenset({"since", "created_at"})
_JSON = frozenset({"tags", "labels"})


def read_agent(fields: Mapping[str, str]) -> Agent:
    """The agent that a record's text fields hold. Raises ValueError when they do not fit."""
    return read_record(Agent, fields, times=_TIMES, json=_JSON)
