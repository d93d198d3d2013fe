"""Agents and tasks to put into a real town, and a look at whether something changed it."""

from __future__ import annotations

from collections.abc import Callable

from tinytown.model.agents import Agent
from tinytown.model.ids import new_id
from tinytown_cli.client import TownClient

from tinytown_testing.bare_town import BareTown
from tinytown_testing.promises import Broken


def fill_town(town: TownClient) -> Agent:
    """Add an agent, with a task, and two tasks of the backlog, one waiting for the other; the agent."""
    operations = town.operations
    agent = town.run(operations.create_agent(f"ada-{new_id()[:8]}", cli="sandbox", role="reviewer"))
    town.run(operations.add_task("do it", title="a task", agent=agent.name))
    first = town.run(operations.add_task("first\n\n\u00e9 \U0001f3d8 'quoted'", tags=("x",)))
    town.run(operations.add_task("second", needs=(first.task.id,)))
    return agent


def expect_unchanged(town: TownClient, call: Callable[[], object]) -> None:
    """Broken if a call changes any key of the town."""
    keys = BareTown(town.client, town.config.name)
    before = keys.dump()
    call()
    after = keys.dump()
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    if changed:
        raise Broken(f"it changed {', '.join(changed[:5])}")
