"""Commands about agents: spawn, list, interrupt, resume, close, kill, restart, remove."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click
from tinytown.client import TownClient
from tinytown.errors import Refused
from tinytown.kernel import running_kernel
from tinytown.model.agents import Agent, DesiredState
from tinytown.model.ids import check_agent_name
from tinytown.model.results import Host
from tinytown.roles import check_kind, start_of_agent

from tinytown_cli.backend_warnings import cache_warnings, cached_warnings, warnings_by_kind
from tinytown_cli.commands.roles import warn_of_role
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import agent_table
from tinytown_cli.framework import TownCommand
from tinytown_cli.kernel_process import start_where_needed
from tinytown_cli.params import AGENT, KIND, ROLE, TAG, no_start_option, split_list
from tinytown_cli.serializers import agent_shape, deprecated

_RESTART_S = 60.0


@click.command(
    cls=TownCommand,
    examples=[
        "tt spawn worker --cli shell",
        "tt spawn rita --role reviewer --tags python,docs --max-rounds 20",
        "tt spawn worker --foreground",
    ],
)
@click.argument("name")
@click.option(
    "-c",
    "--cli",
    type=KIND,
    metavar="KIND",
    help="The kind of agent; tt plugins lists them.  [default: that of its role, else default_cli]",
)
@click.option("--role", default="", type=ROLE, help="Its role: one that tt roles lists, or any other.")
@click.option("--nickname", default="", help="A second name.  [default: derived from its id]")
@click.option("--parent", default="", metavar="AGENT", type=AGENT, help="The agent that it works for.")
@click.option(
    "--tags",
    multiple=True,
    type=TAG,
    metavar="TAG,..",
    help="It claims tasks of the backlog with one of these tags.  [default: those of its role]",
)
@click.option("--max-rounds", type=click.IntRange(0), default=0, help="Stop after this many rounds; 0 means no limit.")
@click.option("--label", "labels", multiple=True, metavar="LABEL,..", help="Run it only on a host with this label.")
@click.option("--host", default="", metavar="NAME", help="Run it only on this host; tt hosts lists them.")
@click.option("--foreground", is_flag=True, help="Then run the kernel in the foreground, until Ctrl-C.")
@no_start_option
@pass_cli_context
def spawn(
    context: CliContext,
    name: str,
    cli: str | None,
    role: str,
    nickname: str,
    parent: str,
    tags: tuple[str, ...],
    max_rounds: int,
    labels: tuple[str, ...],
    host: str,
    foreground: bool,
    no_start: bool,
) -> None:
    """Add an agent called NAME and start it, with a kernel in the background if none is running."""
    check_agent_name(name)
    with context.open_town() as town:
        if foreground:
            _refuse_second_kernel(town)
            town.caller.refuse_agents("cannot run a kernel", "leave out --foreground")
        agent, warnings = add_agent(
            context,
            town,
            name,
            cli=cli,
            role=role,
            nickname=nickname,
            parent=parent,
            tags=split_list(tags),
            max_rounds=max_rounds,
            labels=[*split_list(labels), *([f"host={host}"] if host else [])],
        )
        kernel = None if foreground else start_where_needed(context, town, may_start=not no_start)
        answer = {**agent_shape(agent), "kernel": kernel, "warnings": warnings}
        context.emit({**answer, **deprecated(cautions=warnings)}, f"added {agent.name}: {_describe(agent)}")
        root = town.root
    if foreground:
        from tinytown_cli.commands.kernel import run_in_foreground

        run_in_foreground(root)


def add_agent(
    context: CliContext,
    town: TownClient,
    name: str,
    *,
    cli: str | None = None,
    role: str = "",
    nickname: str = "",
    parent: str = "",
    tags: Sequence[str] = (),
    max_rounds: int = 0,
    labels: Sequence[str] = (),
) -> tuple[Agent, list[str]]:
    """Add an agent with the defaults of its role; returns it with the warnings of its kind, which are printed. Starts no kernel.

    Raises: NotFound if no plugin or kernel has this kind.
    """
    check_agent_name(name)
    hosts = town.run(town.operations.status(agents=False)).hosts
    kinds = {kind for host in hosts for kind in host.backends}
    kind, words = start_of_agent(town.config, role, cli=cli, tags=tags, kinds=kinds)
    warnings = _kind_warnings(town, hosts, kind)
    agent = town.run(
        town.operations.create_agent(
            name,
            cli=kind,
            role=role,
            nickname=nickname,
            parent=parent or town.caller.agent,
            tags=words,
            max_rounds=max_rounds,
            labels=labels,
        )
    )
    warn_of_role(context, town.config, role)
    for warning in warnings:
        context.warn(f"warning: {warning}")
    return agent, warnings


def _describe(agent: Agent) -> str:
    words = [agent.nickname, f"kind {agent.cli}", agent.role and f"role {agent.role}", f"id {agent.short_id}"]
    return ", ".join(filter(None, words))


def _refuse_second_kernel(town: TownClient) -> None:
    if pid := running_kernel(town.root):
        raise Refused(
            f"the town's kernel is already running (process {pid})",
            hint="leave out --foreground, or stop it first with: tt stop",
            code="kernel_running",
        )


def _kind_warnings(town: TownClient, hosts: Sequence[Host], kind: str) -> list[str]:
    """The warnings of this kind of agents. Raises: NotFound if no plugin or kernel has it."""
    is_known = any(kind in host.backends for host in hosts)
    kernel_pid = running_kernel(town.root) if is_known else None
    if kernel_pid and (kept := cached_warnings(town.root, kernel_pid)) is not None:
        return kept.get(kind, [])
    from tinytown_cli.plugin_commands import load_town_plugins  # late: it imports every plugin

    backends = load_town_plugins(town.root, town.config, strict=not is_known).backends
    if not is_known:
        check_kind(kind, backends)
    warnings = warnings_by_kind(backends)
    if kernel_pid:
        cache_warnings(town.root, kernel_pid, warnings)
    return warnings.get(kind, [])


@click.command("list", cls=TownCommand, examples=["tt list", "tt list --json"])
@pass_cli_context
def list_agents(context: CliContext) -> None:
    """List the agents, the oldest first."""
    with context.open_town() as town:
        agents = town.run(town.operations.agents())
    lines = agent_table(agents) if agents else ["no agents yet; add one with: tt spawn NAME"]
    context.emit({"agents": [agent_shape(each) for each in agents]}, lines)


def _change(
    context: CliContext, names: Sequence[str], state: DesiredState, action: str, *, now: bool = False
) -> tuple[Agent, ...]:
    """Request the state of each agent and print them."""
    with context.open_town() as town:
        agents = _request(town, names, state, now=now)
    _print_agents(context, agents, action)
    return agents


def _request(town: TownClient, names: Sequence[str], state: DesiredState, *, now: bool = False) -> tuple[Agent, ...]:
    """Request the state of each agent, after resolving all names: one unknown name changes nothing."""
    ids = [each.id for each in town.run_all([town.operations.agent(name) for name in names])]
    return tuple(
        town.run(town.operations.set_desired_state(id_, state, now=now, reason=_reason(town)))
        for id_ in dict.fromkeys(ids)
    )


def _print_agents(context: CliContext, agents: Sequence[Agent], action: str) -> None:
    context.emit({"agents": [agent_shape(each) for each in agents]}, [f"{action} {agent.name}" for agent in agents])


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
        stopped = await_agents(context, town, [each.id for each in requested], "stopped", until=until)
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
        if any(each.host for each in requested):
            await_agents(context, town, [each.id for each in requested], "stopped", until=time.monotonic() + _RESTART_S)
        for each in requested:
            town.run(administration.reset_round_count(town.operations.keys, each.id, max_rounds=rounds))
        started = _request(town, [each.id for each in requested], "running")
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
    with context.open_town() as town:
        ids = dict.fromkeys(each.id for each in town.run_all([town.operations.agent(name) for name in agents]))
        names = [town.run(town.operations.remove_agent(id_, force=force)) for id_ in ids]
    context.emit({"removed": names}, [f"removed {name}" for name in names])
