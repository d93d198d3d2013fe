"""Which agent gets work that names none."""

from __future__ import annotations

from typing import Any

from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown_gastown.verbs.choose_agent import NAMES, free_name, idle_agent


def agent(name: str, **fields: Any) -> Agent:
    return Agent(**{"id": name, "name": name, "cli": "echo", "desired_state": "running", "state": "idle", **fields})


def test_who_is_chosen_fits_and_has_nothing_to_do() -> None:
    agents = [
        agent("busy", open_tasks=1), agent("paused", desired_state="paused"), agent("ill", state="error"),
        agent("other", cli="shell"), agent("rita", role="reviewer"), agent("free"),
    ]  # fmt: skip
    task = Task(id="t", description="d")
    assert idle_agent(agents, task, cli="echo", role="") is agents[4]
    assert idle_agent(agents, Task(id="t", description="d", role="reviewer")) is agents[4]
    assert idle_agent(agents, task, role="tester") is None
    assert free_name([agent(name) for name in NAMES]) == "alder-2"
