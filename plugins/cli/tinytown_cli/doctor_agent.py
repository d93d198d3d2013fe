"""The temporary agent of ``tt doctor``. Its task tests the town and is no work of the town.

Whatever notifies, counts or keeps history of work leaves it out by these rules.
"""

from __future__ import annotations

from tinytown.model.events import Event, OtherEvent

#: Always the same, so that the ledger of costs, which keeps every name, has one line for it.
DOCTOR_AGENT = "tt-doctor"


def is_doctors(event: Event) -> bool:
    """Whether an event is about the agent of ``tt doctor`` or its task."""
    agent = event.fields.get("agent") if isinstance(event, OtherEvent) else getattr(event, "agent", None)
    return agent == DOCTOR_AGENT
