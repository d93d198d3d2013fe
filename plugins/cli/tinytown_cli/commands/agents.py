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
from tinytown_cli.serializers import agent_shape

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
    help="What makes it act, as tt plugins lists.  [default: its role's, else default_cli]",
)
@click.option("--role", default="", type=ROLE, help="What it is for, as tt roles lists, or a word of your own.")
@click.option("--nickname", default="", help="What else it is called.  [default: one that belongs to its id]")
@click.option("--parent", default="", metavar="AGENT", type=AGENT, help="The agent it works for.")
@click.option(
    "--tags",
    multiple=True,
    type=TAG,
    metavar="TAG,..",
    help="Matched with the backlog, as its role is.  [default: its role's]",
)
@click.option("--max-rounds", type=click.IntRange(0), default=0, help="Stop after so many rounds; 0 means no limit.")
@click.option("--label", "labels", multiple=True, metavar="LABEL,..", help="Only a host with this label takes it.")
@click.option("--host", default="", metavar="NAME", help="Only the host of this name takes it; tt hosts lists them.")
@click.option("--foreground", is_flag=True, help="Then run the kernel here, until Ctrl-C.")
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
    """Add an agent called NAME and set it to work, starting a kernel in the background where none runs."""
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
        context.emit(answer, f"{agent.name} has joined: {_describe(agent)}")
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
    """Add an agent with what its role brings, and the warnings about its kind, which were told. Starts no kernel.

    Raises: NotFound when nobody here has agents of this kind.
    """
    check_agent_name(name)
    hosts = town.run(town.operations.status(agents=False)).hosts
    kinds = {kind for host in hosts for kind in host.backends}
    kind, words = start_of_agent(town.config, role, cli=cli, tags=tags, kinds=kinds)
    warnings = _look_at_kind(town, hosts, kind)
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
            f"the town's kernel runs already, as process {pid}",
            hint="leave out --foreground, or tt stop first",
            code="kernel_running",
        )


def _look_at_kind(town: TownClient, hosts: Sequence[Host], kind: str) -> list[str]:
    """What to know of agents of this kind. Raises: NotFound when nobody here has them."""
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
    lines = agent_table(agents) if agents else ["no agents yet: tt spawn NAME adds one"]
    context.emit({"agents": [agent_shape(each) for each in agents]}, lines)


def _want(
    context: CliContext, names: Sequence[str], wanted: DesiredState, said: str, *, now: bool = False
) -> tuple[Agent, ...]:
    """Ask it of each agent and print them."""
    with context.open_town() as town:
        agents = _ask(town, names, wanted, now=now)
    _print_agents(context, agents, said)
    return agents


def _ask(town: TownClient, names: Sequence[str], wanted: DesiredState, *, now: bool = False) -> tuple[Agent, ...]:
    """Ask it of each agent in turn, once all of them are known to be there: a name that is wrong leaves the others alone."""
    ids = [each.id for each in town.run_all([town.operations.agent(name) for name in names])]
    return tuple(
        town.run(town.operations.set_desired_state(id_, wanted, now=now, reason=_reason(town)))
        for id_ in dict.fromkeys(ids)
    )


def _print_agents(context: CliContext, agents: Sequence[Agent], said: str) -> None:
    context.emit({"agents": [agent_shape(each) for each in agents]}, [f"{each.name} {said}" for each in agents])


def _reason(town: TownClient) -> str:
    return f"asked by {town.caller.agent_name or town.caller.address}"


@click.command(cls=TownCommand, examples=["tt interrupt worker", "tt interrupt worker backend --now"])
@click.argument("agents", nargs=-1, required=True, type=AGENT, metavar="AGENT...")
@click.option("--now", is_flag=True, help="End its present round at once; the work goes back and is offered again.")
@pass_cli_context
def interrupt(context: CliContext, agents: tuple[str, ...], now: bool) -> None:
    """Pause agents, at the end of their round or --now. They keep their mail and tasks; tt resume lets them go on."""
    _want(context, agents, "paused", "is asked to pause", now=now)


@click.command(cls=TownCommand, examples=["tt resume worker"])
@click.argument("agents", nargs=-1, required=True, type=AGENT, metavar="AGENT...")
@no_start_option
@pass_cli_context
def resume(context: CliContext, agents: tuple[str, ...], no_start: bool) -> None:
    """Let agents go on that were paused, stopped, or in error."""
    with context.open_town() as town:
        resumed = _ask(town, agents, "running")
        start_where_needed(context, town, may_start=not no_start)
    _print_agents(context, resumed, "goes on")


@click.command(cls=TownCommand, examples=["tt close worker"])
@click.argument("agents", nargs=-1, required=True, type=AGENT, metavar="AGENT...")
@pass_cli_context
def close(context: CliContext, agents: tuple[str, ...]) -> None:
    """Let agents finish all that they have been given, then stop."""
    _want(context, agents, "drained", "is asked to finish and stop")


@click.command(cls=TownCommand, examples=["tt kill worker", "tt kill worker backend --now --wait"])
@click.argument("agents", nargs=-1, required=True, type=AGENT, metavar="AGENT...")
@click.option("--now", is_flag=True, help="End its present round at once; the work goes back to its mailbox.")
@click.option("--wait", is_flag=True, help="Wait until it is stopped.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer than this.")
@pass_cli_context
def kill(context: CliContext, agents: tuple[str, ...], now: bool, wait: bool, timeout_s: float | None) -> None:
    """Stop agents, at the end of their round or --now. A stopped agent takes no mail; tt resume brings it back."""
    if not wait:
        _want(context, agents, "stopped", "is asked to stop", now=now)
        return
    from tinytown_cli.waiting import await_agents

    until = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    with context.open_town() as town:
        asked = _ask(town, agents, "stopped", now=now)
        stopped = await_agents(context, town, [each.id for each in asked], "stopped", until=until)
    _print_agents(context, stopped, "is stopped")


@click.command(cls=TownCommand, examples=["tt restart worker", "tt restart worker --rounds 20"])
@click.argument("agents", nargs=-1, required=True, type=AGENT, metavar="AGENT...")
@click.option(
    "--rounds",
    type=click.IntRange(0),
    help="Stop after so many rounds from now on; 0 means no limit.  [default: as before]",
)
@no_start_option
@pass_cli_context
def restart(context: CliContext, agents: tuple[str, ...], rounds: int | None, no_start: bool) -> None:
    """Stop agents at once and start them afresh: their work is offered to them again, and their rounds count from 0."""
    from tinytown_cli.waiting import await_agents

    with context.open_town() as town:
        asked = _ask(town, agents, "stopped", now=True)
        if any(each.host for each in asked):
            await_agents(context, town, [each.id for each in asked], "stopped", until=time.monotonic() + _RESTART_S)
        for each in asked:
            town.run(town.operations.reset_round_count(each.id, max_rounds=rounds))
        started = _ask(town, [each.id for each in asked], "running")
        start_where_needed(context, town, may_start=not no_start)
    _print_agents(context, started, "starts afresh")


@click.command(cls=TownCommand, examples=["tt remove worker", "tt remove worker --force"])
@click.argument("agents", nargs=-1, required=True, type=AGENT, metavar="AGENT...")
@click.option(
    "--force", is_flag=True, help="Even with work: its tasks go onto the backlog, its mail to the dead letters."
)
@pass_cli_context
def remove(context: CliContext, agents: tuple[str, ...], force: bool) -> None:
    """Take stopped agents out of the town for good."""
    with context.open_town() as town:
        ids = dict.fromkeys(each.id for each in town.run_all([town.operations.agent(name) for name in agents]))
        names = [town.run(town.operations.remove_agent(id_, force=force)) for id_ in ids]
    context.emit({"removed": names}, [f"{name} is gone" for name in names])
