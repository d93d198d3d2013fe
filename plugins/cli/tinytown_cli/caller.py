"""Who calls: a person, who acts as the supervisor, or an agent inside a round, identified by its environment.

What an agent reports on a task carries the token of its round, so that a round that lost its lease changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from tinytown.errors import Refused
from tinytown.identity import (
    AGENT_ID_VARIABLE,
    AGENT_NAME_VARIABLE,
    TASK_ID_VARIABLE,
    TASK_TOKEN_VARIABLE,
    means_town,
)
from tinytown.model.ids import SUPERVISOR
from tinytown.model.text import shown

if TYPE_CHECKING:
    from pathlib import Path


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


def caller_in(root: Path | str, environment: Mapping[str, str] = os.environ) -> Caller:
    """The caller, as seen by the town at `root`."""
    if not means_town(root, environment):
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
