"""Commands about agents that are there: list, interrupt, resume, close, kill, restart, remove."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click
from tinytown.model.agents import Agent, DesiredState
from tinytown.model.text import counted

from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext, pass_cli_context, start_where_needed
from tinytown_cli.formatting import agent_table, brief_id
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import AGENT, no_start_option
from tinytown_cli.serializers import agent_shape

_RESTART_S = 60.0


@click.command("list", cls=TownCommand, examples=["tt list", "tt list --json"])
@pass_cli_context
def list_agents(context: CliContext) -> None:
    """List the agents, the oldest first."""
    with context.open_town() as town:
        agents = town.run(town.operations.agents())
    lines = agent_table(agents) if agents else ["no agents yet; add one with: tt spawn NAME"]
    context.emit({"agents": [agent_shape(agent) for agent in agents]}, lines)


def _change(
    context: CliContext, names: Sequence[str], state: DesiredState, action: str, *, now: bool = False
) -> tuple[Agent, ...]:
    """Request the state of each agent and print them."""
    with context.open_town() as town:
        agents = _request(town, names, state, now=now)
    shape = {"agents": [agent_shape(agent) for agent in agents]}
    context.emit(shape, [f"{action} {agent.name}{_waits_for(agent, now=now)}" for agent in agents])
    return agents


def _waits_for(agent: Agent, *, now: bool) -> str:
    """What ends before the desired state of an agent takes effect; empty if that is at once."""
    due = agent.mail.total - agent.mail.with_next
    if agent.desired_state == "drained" and (due or agent.open_tasks):
        return f": it first finishes {counted(agent.open_tasks, 'task')} and {counted(due, 'message')}"
    if agent.state != "working":
        return ""
    task = f" on task {brief_id(agent.current_task)}" if agent.current_task else ""
    return f": its round{task} is being interrupted" if now else f": waiting for its round{task}; --now interrupts it"


def _request(town: TownClient, names: Sequence[str], state: DesiredState, *, now: bool = False) -> tuple[Agent, ...]:
    """Request the state of each agent, after resolving all names: one unknown name changes nothing."""
    ids = [agent.id for agent in town.run_all([town.operations.agent(name) for name in names])]
    return tuple(
        town.run(town.operations.set_desired_state(id_, state, now=now, reason=_reason(town)))
        for id_ in dict.fromkeys(ids)
    )


def _print_agents(context: CliContext, agents: Sequence[Agent], action: str) -> None:
    context.emit({"agents": [agent_shape(agent) for agent in agents]}, [f"{action} {agent.name}" for agent in agents])


def _reason(town: TownClient) -> str:
    return f"requested by {town.caller.agent_name or town.caller.address}"


@click.command(cls=TownCommand, examples=["tt interrupt worker", "tt interrupt worker backend --now"])
@click.argument("agents", nargs=-1, required=True, type=AGENT, metavar="AGENT...")
@click.option("--now", is_flag=True, help="Interrupt its round now; the work returns to its mailbox.")
@pass_cli_context
def interrupt(context: CliContext, agents: tuple[str, ...], now: bool) -> None:
    """Pause agents after their current round, or --now. They keep their mail and tasks; tt resume resumes them."""
    _change(context, agents, "paused", "pause requested for", now=now)


@click.command(cls=TownCommand, examples=["tt resume worker"])
@click.argument("agents", nargs=-1, required=True, type=AGENT, metavar="AGENT...")
@no_start_option
@pass_cli_context
def resume(context: CliContext, agents: tuple[str, ...], no_start: bool) -> None:
    """Resume agents that are paused, stopped or in error."""
    with context.open_town() as town:
        resumed = _request(town, agents, "running")
        start_where_needed(context, town, may_start=not no_start)
    _print_agents(context, resumed, "resumed")


@click.command(cls=TownCommand, examples=["tt close worker"])
@click.argument("agents", nargs=-1, required=True, type=AGENT, metavar="AGENT...")
@pass_cli_context
def close(context: CliContext, agents: tuple[str, ...]) -> None:
    """Drain agents: let them finish their mail and tasks, then stop."""
    _change(context, agents, "drained", "drain requested for")


@click.command(cls=TownCommand, examples=["tt kill worker", "tt kill worker backend --now --wait"])
@click.argument("agents", nargs=-1, required=True, type=AGENT, metavar="AGENT...")
@click.option("--now", is_flag=True, help="Interrupt its round now; the work returns to its mailbox.")
@click.option("--wait", is_flag=True, help="Wait until the agents are stopped.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0), metavar="SECONDS", help="With --wait: give up after this long."
)
@pass_cli_context
def kill(context: CliContext, agents: tuple[str, ...], now: bool, wait: bool, timeout_s: float | None) -> None:
    """Stop agents after their current round, or --now. A stopped agent gets no mail; tt resume starts it again."""
    if not wait:
        _change(context, agents, "stopped", "stop requested for", now=now)
        return
    from tinytown_cli.waiting import await_agents

    until = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    with context.open_town() as town:
        requested = _request(town, agents, "stopped", now=now)
        stopped = await_agents(context, town, [agent.id for agent in requested], "stopped", until=until)
    _print_agents(context, stopped, "stopped")


@click.command(cls=TownCommand, examples=["tt restart worker", "tt restart worker --rounds 20"])
@click.argument("agents", nargs=-1, required=True, type=AGENT, metavar="AGENT...")
@click.option(
    "--rounds",
    type=click.IntRange(0),
    help="Stop after this many rounds from now on; 0 means no limit.  [default: unchanged]",
)
@no_start_option
@pass_cli_context
def restart(context: CliContext, agents: tuple[str, ...], rounds: int | None, no_start: bool) -> None:
    """Stop agents now and start them again with their work; their rounds count from 0."""
    from tinytown_cli import administration
    from tinytown_cli.waiting import await_agents

    with context.open_town() as town:
        requested = _request(town, agents, "stopped", now=True)
        if any(agent.host for agent in requested):
            ids = [agent.id for agent in requested]
            await_agents(context, town, ids, "stopped", until=time.monotonic() + _RESTART_S)
        for agent in requested:
            town.run(administration.reset_round_count(town.operations.keys, agent.id, max_rounds=rounds))
        started = _request(town, [agent.id for agent in requested], "running")
        start_where_needed(context, town, may_start=not no_start)
    _print_agents(context, started, "restarted")


@click.command(cls=TownCommand, examples=["tt remove worker", "tt remove worker --force"])
@click.argument("agents", nargs=-1, required=True, type=AGENT, metavar="AGENT...")
@click.option(
    "--force", is_flag=True, help="Even with work left: its tasks return to the backlog, its mail becomes dead letters."
)
@pass_cli_context
def remove(context: CliContext, agents: tuple[str, ...], force: bool) -> None:
    """Remove stopped agents from the town permanently."""
    from tinytown_cli import administration  # late: quick commands do without

    with context.open_town() as town:
        ids = dict.fromkeys(agent.id for agent in town.run_all([town.operations.agent(name) for name in agents]))
        names = [town.run(administration.remove_agent(town.operations.keys, id_, force=force)) for id_ in ids]
    context.emit({"removed": names}, [f"removed {name}" for name in names])
