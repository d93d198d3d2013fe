"""Who types: a person, who speaks as the supervisor, or an agent inside a round, known by its environment.

The kernel sets the variables for the processes of a round. They count for the town they name and for no other. What
an agent says of a task carries the token of its round, so that a round that was taken away changes nothing.
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
RUN_ID_VARIABLE = "TINYTOWN_RUN_ID"

#: What a process that is no part of a round must not inherit from one.
ROUND_VARIABLES = (
    TOWN_VARIABLE,
    AGENT_ID_VARIABLE,
    AGENT_NAME_VARIABLE,
    TASK_ID_VARIABLE,
    TASK_TOKEN_VARIABLE,
    RUN_ID_VARIABLE,
)


class Caller(NamedTuple):
    """Empty texts stand for what a person does not have."""

    agent: str = ""
    agent_name: str = ""
    task_id: str = ""
    task_token: str = ""

    @property
    def is_agent(self) -> bool:
        return bool(self.agent)

    @property
    def address(self) -> str:
        """The name that mail of this caller is sent from."""
        return self.agent or SUPERVISOR

    def refuse_agents(self, what: str, hint: str) -> None:
        """Raises: Refused when an agent calls."""
        if self.is_agent:
            raise Refused(f"agent {shown(self.agent_name)!r} {what} from inside a round", hint=hint)


def inside_a_round() -> bool:
    """Whether this process belongs to some agent's round, of whichever town: what it starts ends with the round."""
    return bool(os.environ.get(RUN_ID_VARIABLE))


def caller_in(root: Path, environment: Mapping[str, str] = os.environ) -> Caller:
    """Who calls, as far as the town at `root` is concerned."""
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
