"""Who calls: a person, who acts as the supervisor, or an agent inside a round, identified by its environment.

The kernel sets the variables for the processes of a round. They apply to the town that they name only. What an agent
reports on a task carries the token of its round, so that a round that lost its lease changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tinytown.config import TOWN_VARIABLE
from tinytown.errors import Refused
from tinytown.model.ids import SUPERVISOR
from tinytown.model.text import shown

AGENT_ID_VARIABLE = "TINYTOWN_AGENT_ID"
AGENT_NAME_VARIABLE = "TINYTOWN_AGENT_NAME"
TASK_ID_VARIABLE = "TINYTOWN_TASK_ID"
TASK_TOKEN_VARIABLE = "TINYTOWN_TASK_TOKEN"
ROUND_ID_VARIABLE = "TINYTOWN_ROUND_ID"
ROUND_ID_VARIABLES = (ROUND_ID_VARIABLE, "TINYTOWN_RUN_ID")  # the second is the name of old, set for one release

#: What a process outside of a round must not inherit from one.
ROUND_VARIABLES = (
    TOWN_VARIABLE,
    AGENT_ID_VARIABLE,
    AGENT_NAME_VARIABLE,
    TASK_ID_VARIABLE,
    TASK_TOKEN_VARIABLE,
    *ROUND_ID_VARIABLES,
)


class Caller(NamedTuple):
    """The caller; for a person all fields are empty."""

    agent: str = ""
    agent_name: str = ""
    task_id: str = ""
    task_token: str = ""

    @property
    def is_agent(self) -> bool:
        return bool(self.agent)

    @property
    def address(self) -> str:
        """The sender of mail from this caller."""
        return self.agent or SUPERVISOR

    def refuse_agents(self, what: str, hint: str) -> None:
        """Raises: Refused when an agent calls."""
        if self.is_agent:
            raise Refused(f"agent {shown(self.agent_name)!r} {what} from inside a round", hint=hint)


def inside_a_round() -> bool:
    """Whether this process belongs to a round, of any town: what it starts ends with the round."""
    return any(os.environ.get(name) for name in ROUND_ID_VARIABLES)


def caller_in(root: Path, environment: Mapping[str, str] = os.environ) -> Caller:
    """The caller, as seen by the town at `root`."""
    named_town = environment.get(TOWN_VARIABLE)
    if named_town and os.path.realpath(named_town) != os.path.realpath(root):
        return Caller()
    agent = environment.get(AGENT_ID_VARIABLE) or environment.get(AGENT_NAME_VARIABLE) or ""
    if not agent:
        return Caller()
    return Caller(
        agent=agent,
        agent_name=environment.get(AGENT_NAME_VARIABLE) or agent,
        task_id=environment.get(TASK_ID_VARIABLE, ""),
        task_token=environment.get(TASK_TOKEN_VARIABLE, ""),
    )
