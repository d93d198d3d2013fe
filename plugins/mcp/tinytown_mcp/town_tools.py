"""Tools that show the town: how it is, and who is in it."""

from __future__ import annotations

from typing import Any

from tinytown.model.agents import Agent
from tinytown.model.ids import SUPERVISOR
from tinytown.model.text import counted
from tinytown.roles import load_roles

from tinytown_mcp.mcp import ToolResult
from tinytown_mcp.office import ToolSession
from tinytown_mcp.toolbox import LOOK_THROUGH, NoArguments, tool


@tool(NoArguments, changes=False)
def status(office: ToolSession, given: NoArguments) -> ToolResult:
    """Shows how the town is: tasks by state, the backlog, and what each agent is doing."""
    seen = office.run(office.operations.status())
    tasks = ", ".join(f"{count} {state}" for state, count in seen.tasks.items() if count) or "none"
    agents = [
        {"name": agent.name, "state": agent.state, "task": agent.current_task, "mail": agent.mail.total}
        for agent in seen.agents[:LOOK_THROUGH]
    ]
    lines = [f"tasks: {tasks}; backlog: {seen.backlog}", *(_doing(agent) for agent in seen.agents[:LOOK_THROUGH])]
    value = {"town": office.config.name, "tasks": seen.tasks, "backlog": seen.backlog, "agents": agents}
    return ToolResult("\n".join(lines), value)


@tool(NoArguments, changes=False)
def who_is_who(office: ToolSession, given: NoArguments) -> ToolResult:
    """Lists the agents of the town: name, role, what such a role is for, tags and state. One of them is you."""
    caller, roles = office.caller, load_roles(office.config)
    people: list[dict[str, Any]] = []
    for agent in office.run(office.operations.agents())[:LOOK_THROUGH]:
        role = roles.get(agent.role or "")
        people.append(
            {
                "name": agent.name, "role": agent.role, "purpose": role.purpose if role else "", "tags": agent.tags,
                "kind": agent.cli, "state": agent.state, "is_you": agent.id == caller.agent or agent.name == caller.agent,
            }
        )  # fmt: skip
    lines = [
        f"{each['name']}{' (you)' if each['is_you'] else ''}: "
        + ", ".join(filter(None, (each["role"], each["purpose"], *each["tags"], each["state"])))
        for each in people
    ]
    lines.append(f"{SUPERVISOR}: the person in charge")
    return ToolResult("\n".join(lines), {"agents": people, "supervisor": SUPERVISOR})


TOWN_TOOLS = (status, who_is_who)


def _doing(agent: Agent) -> str:
    task = f", task {agent.current_task}" if agent.current_task else ""
    return f"{agent.name}: {agent.state}{task}, {counted(agent.mail.total, 'message')}"
