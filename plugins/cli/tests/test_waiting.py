"""What agents are waited for."""

from __future__ import annotations

import pytest
from tinytown.errors import WaitFailed
from tinytown.model.agents import Agent, AgentState
from tinytown_cli.waiting import has_reached


def agent(state: AgentState, *, tasks: int = 0) -> Agent:
    return Agent(id="a", name="ada", cli="echo", state=state, open_tasks=tasks)


def test_a_goal_is_to_be_idle_or_a_state_of_the_agent() -> None:
    assert has_reached(agent("idle"), "idle")
    assert has_reached(agent("stopped", tasks=1), "stopped")
    assert not has_reached(agent("idle"), "paused")
    with pytest.raises(WaitFailed):
        has_reached(agent("stopped", tasks=1), "idle")
