"""Tools that show the town: its status and its agents."""

from __future__ import annotations

from typing import Any

from tinytown.model.agents import Agent
from tinytown.model.ids import SUPERVISOR
from tinytown.model.text import counted
from tinytown_prompts.roles import load_roles

from tinytown_mcp.agent_tools import READ_LIMIT, NoArguments, tool
from tinytown_mcp.contracts import ToolResult, ToolSession


@tool(NoArguments, changes=False)
def status(session: ToolSession, arguments: NoArguments) -> ToolResult:
    """Shows the status of the town: tasks by state, the backlog, and what each agent is doing."""
    town = session.run(session.operations.status())
    tasks = ", ".join(f"{count} {state}" for state, count in town.tasks.items() if count) or "none"
    agents = [
        {"name": agent.name, "state": agent.state, "task": agent.current_task, "mail": agent.mail.total}
        for agent in town.agents[:READ_LIMIT]
    ]
    lines = [f"tasks: {tasks}; backlog: {town.backlog}", *(_doing(agent) for agent in town.agents[:READ_LIMIT])]
    value = {"town": session.config.name, "tasks": town.tasks, "backlog": town.backlog, "agents": agents}
    return ToolResult("\n".join(lines), value)


@tool(NoArguments, changes=False)
def who_is_who(session: ToolSession, arguments: NoArguments) -> ToolResult:
    """Lists the agents of the town, you included: name, role, purpose of the role, tags and state."""
    caller, roles = session.caller, load_roles(session.config)
    agents: list[dict[str, Any]] = []
    for agent in session.run(session.operations.agents())[:READ_LIMIT]:
        role = roles.get(agent.role or "")
        agents.append(
            {
                "name": agent.name, "role": agent.role, "purpose": role.purpose if role else "", "tags": agent.tags,
                "kind": agent.cli, "state": agent.state, "is_you": agent.id == caller.agent or agent.name == caller.agent,
            }
        )  # fmt: skip
    lines = [
        f"{item['name']}{' (you)' if item['is_you'] else ''}: "
        + ", ".join(filter(None, (item["role"], item["purpose"], *item["tags"], item["state"])))
        for item in agents
    ]
    lines.append(f"{SUPERVISOR}: the human in charge")
    return ToolResult("\n".join(lines), {"agents": agents, "supervisor": SUPERVISOR})


TOWN_TOOLS = (status, who_is_who)


def _doing(agent: Agent) -> str:
    task = f", task {agent.current_task}" if agent.current_task else ""
    return f"{agent.name}: {agent.state}{task}, {counted(agent.mail.total, 'message')}"
