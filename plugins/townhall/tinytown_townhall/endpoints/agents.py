"""Agents: spawn, show, steer, remove."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
import trio
from tinytown.errors import TinytownError
from tinytown.model.agents import DesiredState
from tinytown.model.ids import check_agent_name
from tinytown_cli import administration
from tinytown_cli.waiting import Goal, has_reached
from tinytown_ops.costs import ledger
from tinytown_ops.explain.blockers import Blocker, Situation, agent_blockers, idle_reason

from tinytown_townhall.routing import Call, Endpoints
from tinytown_townhall.views import AgentList, AgentView, Names, Reason, Waiting, agent_view

AGENTS = Endpoints("agents")
_RESTART_S = 60.0
_PRUNED = ("stopped", "error")


class NewAgent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An agent to spawn. Without `cli` and `tags` it gets those of its role."""

    name: str
    cli: str | None = None
    role: str = ""
    nickname: str = ""
    parent: str = ""
    tags: tuple[str, ...] = ()
    max_rounds: int = 0
    labels: tuple[str, ...] = ()


class Interruption(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With `now` the agent's round is interrupted, and its work goes back to its mailbox."""

    now: bool = False
    reason: str = ""


class Restart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`max_rounds`: a new bound; null leaves it."""

    max_rounds: int | None = None


class Removal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With `force` even an agent with work: its tasks go onto the backlog, its mail to the dead letters."""

    force: bool = False


class Prune(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With `all`, every agent without a host, and not only those that are stopped or in error."""

    all: bool = False


class AgentWaiting(Waiting, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state to wait for, and how long at most. Idle is an agent without a round, mail or open task."""

    goal: Goal = "idle"


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Why an agent does not work, or a task is not worked on; empty if nothing stands in the way."""

    blockers: Sequence[Blocker]
    text: str


@AGENTS.get("/v1/agents")
async def list_agents(call: Call) -> AgentList:
    """All agents, the oldest first."""
    agents = [agent_view(agent) for agent in await call.town.agents()]
    return AgentList(agents=agents, count=len(agents))


@AGENTS.post("/v1/agents", "agent.manage", status=201)
async def spawn_agent(call: Call, body: NewAgent) -> AgentView:
    """Add an agent and start it, with a kernel in the background if none runs."""
    check_agent_name(body.name)
    handle = await call.town.spawn(
        body.name,
        cli=body.cli,
        role=body.role,
        nickname=body.nickname,
        parent=body.parent,
        tags=body.tags,
        max_rounds=body.max_rounds,
        labels=body.labels,
    )
    await call.hall.start_kernel()
    return agent_view(await handle.info())


@AGENTS.post("/v1/agents/prune", "agent.manage")
async def prune_agents(call: Call, body: Prune) -> Names:
    """Remove agents that are stopped or in error; their tasks go onto the backlog, their mail to the dead letters."""
    removed: list[str] = []
    for agent in await call.town.agents():
        if agent.host is None and (body.all or agent.state in _PRUNED):
            removed.append(await call.run(administration.remove_agent(call.town.operations.keys, agent.id, force=True)))
    return Names(agents=removed)


@AGENTS.get("/v1/agents/{agent}")
async def show_agent(call: Call, agent: str) -> AgentView:
    """One agent, by its name, id or nickname, or the beginning of one."""
    return agent_view(await call.run(call.town.operations.agent(agent)))


@AGENTS.delete("/v1/agents/{agent}", "agent.manage")
async def remove_agent(call: Call, agent: str, query: Removal) -> Names:
    """Remove a stopped agent from the town permanently."""
    return Names(
        agents=[await call.run(administration.remove_agent(call.town.operations.keys, agent, force=query.force))]
    )


@AGENTS.get("/v1/agents/{agent}/wait")
async def wait_for_agent(call: Call, agent: str, query: AgentWaiting) -> AgentView:
    """The agent once it is in the state `goal`, or as it is when the time is over."""
    handle = await call.town.agent(agent)
    return agent_view(await call.wait(handle.info, partial(has_reached, goal=query.goal), query.timeout_s))


@AGENTS.get("/v1/agents/{agent}/why")
async def explain_agent(call: Call, agent: str) -> Why:
    """Why an agent is not working."""
    found = await call.run(call.town.operations.agent(agent))
    status = await call.town.status()
    accounts = await call.run(ledger.accounts(call.town.operations.keys))
    situation = Situation(
        call.hall.now_ms(),
        status.agents,
        status.hosts,
        accounts=accounts,
        auto_claim=call.town.config.auto_claim,
        frozen=status.frozen,
    )
    blockers = agent_blockers(found, situation)
    return Why(blockers=blockers, text="; ".join(each.text for each in blockers) or idle_reason(found))


async def _request(call: Call, agent: str, state: DesiredState, reason: str, *, now: bool = False) -> AgentView:
    operation = call.town.operations.set_desired_state(agent, state, now=now, reason=reason or call.asker)
    return agent_view(await call.run(operation))


@AGENTS.post("/v1/agents/{agent}/interrupt", "agent.manage")
async def interrupt_agent(call: Call, agent: str, body: Interruption) -> AgentView:
    """Pause an agent after its round, or now. It keeps its mail and tasks."""
    return await _request(call, agent, "paused", body.reason, now=body.now)


@AGENTS.post("/v1/agents/{agent}/resume", "agent.manage")
async def resume_agent(call: Call, agent: str, body: Reason) -> AgentView:
    """Resume an agent that is paused, stopped or in error."""
    view = await _request(call, agent, "running", body.reason)
    await call.hall.start_kernel()
    return view


@AGENTS.post("/v1/agents/{agent}/close", "agent.manage")
async def close_agent(call: Call, agent: str, body: Reason) -> AgentView:
    """Let an agent finish its mail and tasks, then stop it."""
    return await _request(call, agent, "drained", body.reason)


@AGENTS.post("/v1/agents/{agent}/kill", "agent.manage")
async def kill_agent(call: Call, agent: str, body: Interruption) -> AgentView:
    """Stop an agent after its round, or now."""
    return await _request(call, agent, "stopped", body.reason, now=body.now)


@AGENTS.post("/v1/agents/{agent}/restart", "agent.manage")
async def restart_agent(call: Call, agent: str, body: Restart) -> AgentView:
    """Stop an agent now and start it again with its work; its rounds count from 0."""
    stopped = await _request(call, agent, "stopped", "", now=True)
    handle = await call.town.agent(stopped.id)
    with trio.move_on_after(_RESTART_S) as waiting:
        await handle.wait_until(lambda found: found.host is None)
    if waiting.cancelled_caught:
        raise TinytownError(f"{stopped.name} did not stop within {_RESTART_S:.0f} s", code="not_stopped")
    await call.run(administration.reset_round_count(call.town.operations.keys, stopped.id, max_rounds=body.max_rounds))
    view = await _request(call, stopped.id, "running", "")
    await call.hall.start_kernel()
    return view
