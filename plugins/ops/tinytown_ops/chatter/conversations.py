"""Counts the rounds that agents spend on nothing but each other's mail. Pure."""

from __future__ import annotations

from tinytown.model.events import (
    AgentRemoved,
    Event,
    MessageSent,
    RoundEnded,
    RoundStarted,
    TaskAdded,
    TaskStateChanged,
)
from tinytown.model.ids import SUPERVISOR


class Conversations:
    """Knows by an agent's name how many rounds without a task it has had in a row, and whose mail came last.

    The count begins anew with a task of the agent, with a task that is added while it is in a round, and with a person's mail;
    `begun_anew` has the agents of which the last event was that.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rounds: dict[str, int] = {}
        self._working = set[str]()
        self.partner: dict[str, str] = {}
        self.begun_anew = frozenset[str]()

    def add(self, event: Event) -> str | None:
        """Take the next event; the agent that is at the limit with it, or beyond."""
        self.begun_anew = frozenset(self._of_interest(event))
        for agent in self.begun_anew:
            self._rounds.pop(agent, None)
        match event:
            case RoundStarted():
                self._working.add(event.agent)
            case RoundEnded():
                self._working.discard(event.agent)
                if not event.task and event.outcome == "finished":
                    self._rounds[event.agent] = self._rounds.get(event.agent, 0) + 1
                    return event.agent if self._rounds[event.agent] >= self._limit else None
            case MessageSent() if event.sender != SUPERVISOR:
                self.partner[event.recipient] = event.sender
            case AgentRemoved():
                self._working.discard(event.agent)
                self.partner.pop(event.agent, None)
            case _:
                pass
        return None

    def _of_interest(self, event: Event) -> set[str]:
        """The agents for which an event is more than talk."""
        match event:
            case RoundEnded() if event.task:
                return {event.agent}
            case MessageSent() if event.sender == SUPERVISOR:
                return {event.recipient}
            case TaskStateChanged() if event.agent:
                return {event.agent}
            case TaskAdded():
                return set(self._working)
            case AgentRemoved():
                return {event.agent}
            case _:
                return set()
