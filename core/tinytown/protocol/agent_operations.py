"""Operations on agents, their placement, their rounds and their accounts. Pure, no IO."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Required, TypedDict, Unpack

from tinytown.model.agents import DESIRED_STATES, Agent, DesiredState
from tinytown.model.details import AgentDetails, check_keywords
from tinytown.model.ids import SUPERVISOR_NAMES, check_agent_name, check_id, check_label, check_word, new_id, nicknames
from tinytown.model.results import Delivery, Placement
from tinytown.model.tasks import Fate
from tinytown.model.text import check_one_of, check_text
from tinytown.protocol import decoders
from tinytown.protocol.operation import Argument, Operation
from tinytown.protocol.operation_base import OperationBase, flat, json_text, members


class Settlement(TypedDict, total=False):
    """What `settle_round` stores. `throttled_ms` parks the agent's account for so long, or, when it is -1, for a time that grows
    and is the longer the nearer `jitter` is to 1. `charge` is what the round has cost, see `kernel.pricing`. With `gated` False
    a task that is complete needs no verdict of a gate."""

    outcome: Required[str]
    mail: Required[Literal["ack", "nack", "return"]]
    delay_ms: int
    reason: str
    task_ids: Sequence[str]
    fate: Fate
    gated: bool
    text: str
    duration_ms: int
    session_id: str
    throttled_ms: int | None
    jitter: float
    charge: str


_NOTHING = dict.fromkeys(("reason", "text", "session_id", "charge"), "")
_SETTLED: dict[str, Any] = {"task_ids": (), "fate": "again", "delay_ms": 0, "duration_ms": 0, "jitter": 0.0, **_NOTHING}


class AgentOperations(OperationBase):
    """What users request of agents, and what the kernel that holds one reports."""

    def create_agent(self, name: str, *, cli: str, **details: Unpack[AgentDetails]) -> Operation[Agent]:
        """Add an agent that wants to run. See `AgentDetails`."""
        check_keywords("TownOperations.create_agent", AgentDetails, details)
        check_agent_name(name)
        role, nickname = details.get("role", ""), details.get("nickname", "")
        tags, labels = details.get("tags", ()), details.get("labels", ())
        if role:
            check_word("role", role)
        for tag in tags:
            check_word("tag", tag)
        for label in labels:
            check_label(label)
        if nickname.lower() in SUPERVISOR_NAMES:
            check_agent_name(nickname)
        agent_id = new_id()
        names = [check_word("nickname", nickname)] if nickname else list(nicknames(agent_id))
        start = (agent_id, name, cli, role, json_text(names), int(bool(nickname)), details.get("parent", ""))
        lists = (json_text(list(tags)), json_text(list(labels)))
        return self._call("agent_create", decoders.to_agent, *start, details.get("max_rounds", 0), *lists)

    def agent(self, agent: str) -> Operation[Agent]:
        """One agent with the counts of its mail."""
        return self._call("agent_get", decoders.to_agent, agent)

    def agents(self) -> Operation[tuple[Agent, ...]]:
        """All agents, oldest first, in one answer."""
        return self._call("agent_list", decoders.to_agents)

    def set_desired_state(
        self, agent: str, desired_state: DesiredState, *, now: bool = False, reason: str = ""
    ) -> Operation[Agent]:
        """Ask that an agent be running, paused, drained or stopped; with `now` its round is interrupted."""
        check_one_of("a desired state", desired_state, DESIRED_STATES)
        if reason:
            check_text("a reason", reason, 10_000)
        urgency = "now" if now else "soon"
        return self._call("agent_set_desired_state", decoders.to_agent, agent, desired_state, urgency, reason)

    def place_agents(
        self, host: str, backends: Iterable[str], *, count: int, accounts: Mapping[str, str] | None = None
    ) -> Operation[Placement]:
        """Take over agents that want a host and whose backend is here. A backend that is not in `accounts` is its own."""
        with_accounts = flat({kind: (accounts or {}).get(kind, kind) for kind in backends})
        return self._once("agent_place", decoders.to_placement, host, count, *with_accounts)

    def report_agent_state(self, agent_id: str, fence: str, state: str, reason: str = "") -> Operation[str]:
        """Report the state of an agent that this kernel holds; the agent's desired state."""
        return self._call("agent_report_state", decoders.to_text, agent_id, fence, state, reason)

    def release_agent(
        self, agent_id: str, fence: str, state: str, *, reason: str = "", retry_ms: int = -1, failed: bool = False
    ) -> Operation[int]:
        """Let go of an agent; with `retry_ms` >= 0 it wants a host again after so long. Returns its failures in a row.

        One that is released `suspended` without it sleeps until it has mail, or the backlog has a task for it.
        """
        return self._once("agent_release", int, agent_id, fence, state, reason, retry_ms, int(failed))

    def start_round(self, agent_id: str, fence: str, round_id: str, task_id: str = "") -> Operation[str]:
        """Report that an agent begins a round; the agent's desired state."""
        return self._call("round_start", decoders.to_text, agent_id, fence, check_id("a round id", round_id), task_id)

    def settle_round(
        self,
        agent_id: str,
        fence: str,
        round_id: str,
        deliveries: Iterable[Delivery],
        *,
        record: bytes = b"{}",
        **settlement: Unpack[Settlement],
    ) -> Operation[tuple[str, ...]]:
        """Store a round's outcome and settle its mail and tasks in one step; the states of the tasks afterwards."""
        check_keywords("settle_round", Settlement, settlement)
        said = {name: value for name, value in {**_SETTLED, **settlement}.items() if value is not None}
        words: list[Argument] = [agent_id, fence, round_id, json_text(said), record, *members(deliveries)]
        return self._call("round_settle", decoders.to_states, *words)
