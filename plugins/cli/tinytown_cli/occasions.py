"""The occasions on which a person is called: which events they are, by names that settings use. Pure."""

from __future__ import annotations

from tinytown.model.events import (
    AccountParked,
    AgentStateChanged,
    BudgetSpent,
    Event,
    MessageDead,
    MessageSent,
    PluginReported,
    TaskStateChanged,
)
from tinytown.model.ids import SUPERVISOR

#: Name -> what has happened.
OCCASIONS = {
    "question": "an agent asks the supervisor",
    "approval": "an agent wants something done or approved by the supervisor",
    "mail": "any other message to the supervisor",
    "task_failed": "a task has failed",
    "task_completed": "a task is completed",
    "agent_error": "an agent is in error",
    "budget_spent": "a budget is used up",
    "rate_limited": "a vendor throttles an account",
    "dead_letter": "a message could not be delivered",
    "plugin_failed": "a plugin failed",
}

#: Those that need a person, who is called unless another choice is configured.
URGENT_OCCASIONS = frozenset({"question", "approval", "task_failed", "agent_error", "budget_spent"})

_MAIL = {"query": "question", "task": "approval"}


def occasion_of(event: Event) -> str | None:
    """The name of the occasion that `event` is; None for an event that needs no person."""
    match event:
        case MessageSent(recipient=recipient) if recipient == SUPERVISOR:
            return _MAIL.get(event.category, "mail")
        case TaskStateChanged(new="failed"):
            return "task_failed"
        case TaskStateChanged(new="completed"):
            return "task_completed"
        case AgentStateChanged(new="error") if event.old != "error":
            return "agent_error"
        case BudgetSpent():
            return "budget_spent"
        case AccountParked():
            return "rate_limited"
        case MessageDead():
            return "dead_letter"
        case PluginReported():
            return "plugin_failed"
        case _:
            return None
