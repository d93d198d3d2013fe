"""When an agent is idle, and when it will not become so."""

from __future__ import annotations

import pytest
from tinytown.errors import Refused, WaitFailed
from tinytown.model.agents import Agent, AgentState, MailCounts, is_idle


def agent(state: AgentState, *, mail: int = 0, tasks: int = 0) -> Agent:
    return Agent(id="a", name="ada", cli="echo", state=state, mail=MailCounts(queued=mail), open_tasks=tasks)


@pytest.mark.parametrize(
    ("state", "mail", "tasks", "idle"),
    [
        ("idle", 0, 0, True),
        ("suspended", 0, 0, True),
        ("stopped", 0, 0, True),
        ("idle", 1, 0, False),
        ("idle", 0, 1, False),
        ("working", 0, 0, False),
        ("paused", 0, 0, False),
    ],
)
def test_idle_is_no_round_no_mail_and_no_open_task(state: AgentState, mail: int, tasks: int, idle: bool) -> None:
    assert is_idle(agent(state, mail=mail, tasks=tasks)) == idle


@pytest.mark.parametrize("state", ["stopped", "error"])
def test_an_agent_that_will_not_continue_is_not_waited_for(state: AgentState) -> None:
    with pytest.raises(WaitFailed, match="will not become idle") as caught:
        is_idle(agent(state, tasks=1))
    assert (caught.value.code, caught.value.exit_code, isinstance(caught.value, Refused)) == (
        "will_not_be_idle",
        1,
        True,
    )
