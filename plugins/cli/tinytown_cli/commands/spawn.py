"""``tt spawn``: add an agent, with the defaults of its role and the warnings of its kind."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Unpack

import click
from tinytown.errors import NotFound, Refused
from tinytown.kernel import running_kernel
from tinytown.kinds import check_kind, start_of_agent
from tinytown.model.agents import Agent
from tinytown.model.details import AgentDetails
from tinytown.model.ids import check_agent_name, short_id
from tinytown.model.results import Host

from tinytown_cli.backend_warnings import cache_warnings, cached_warnings, warnings_by_kind
from tinytown_cli.client import TownClient
from tinytown_cli.commands.roles import warn_of_role
from tinytown_cli.context import CliContext, pass_cli_context, start_where_needed
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import AGENT, KIND, ROLE, TAG, no_start_option, split_list
from tinytown_cli.serializers import agent_shape, deprecated
from tinytown_cli.suggestions import did_you_mean


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
    **details: Unpack[AgentDetails],
) -> tuple[Agent, list[str]]:
    """Add an agent with the defaults of its role; returns it with the warnings of its kind, which are printed. Starts no kernel.

    Raises: NotFound if no plugin or kernel has this kind.
    """
    check_agent_name(name)
    hosts = town.run(town.operations.status(agents=False)).hosts
    kinds = {kind for host in hosts for kind in host.backends}
    role = details.get("role", "")
    kind, details["tags"] = start_of_agent(town.config, role, cli=cli, tags=details.get("tags", ()), kinds=kinds)
    warnings = _kind_warnings(town, hosts, kind)
    details["parent"] = details.get("parent") or town.caller.agent
    agent = town.run(town.operations.create_agent(name, cli=kind, **details))
    warn_of_role(context, town.config, role)
    for warning in warnings:
        context.warn(f"warning: {warning}")
    return agent, warnings


def _describe(agent: Agent) -> str:
    words = [agent.nickname, f"kind {agent.cli}", agent.role and f"role {agent.role}", f"id {short_id(agent.id)}"]
    return ", ".join(filter(None, words))


def _refuse_second_kernel(town: TownClient) -> None:
    if pid := running_kernel(town.root):
        raise Refused(
            f"the town's kernel is already running (process {pid})",
            hint="leave out --foreground, or stop it first with: tt stop",
            code="kernel_running",
        )


def check_known_kind(kind: str, kinds: Collection[str]) -> None:
    """Raises: NotFound, with the kind that was probably meant, if `kind` is not one of the `kinds`."""
    try:
        check_kind(kind, kinds)
    except NotFound as error:
        error.hint = did_you_mean(kind, kinds, error.hint)
        raise


def _kind_warnings(town: TownClient, hosts: Sequence[Host], kind: str) -> list[str]:
    """The warnings of this kind of agents. Raises: NotFound if no plugin or kernel has it."""
    is_known = any(kind in host.backends for host in hosts)
    if town.is_remote:  # what is installed there, only its kernels say
        if hosts and not is_known:
            check_known_kind(kind, {kind for host in hosts for kind in host.backends})
        return []
    kernel_pid = running_kernel(town.root) if is_known else None
    if kernel_pid and (kept := cached_warnings(town.root, kernel_pid)) is not None:
        return kept.get(kind, [])
    from tinytown_cli.plugin_commands import load_town_plugins  # late: it imports every plugin
    from tinytown_cli.unenforced import unenforced_kinds

    plugins = load_town_plugins(town.root, town.config, strict=not is_known)
    if not is_known:
        check_known_kind(kind, plugins.backends)
    warnings = warnings_by_kind(plugins.backends)
    for unenforced, why in unenforced_kinds(plugins, town.config).items():
        warnings[unenforced] = [f"{why}. Its agents will not start", *warnings.get(unenforced, [])]
    if kernel_pid:
        cache_warnings(town.root, kernel_pid, warnings)
    too_old = hosts and not is_known and running_kernel(town.root)
    reload = [f"the kernel started before the kind {kind} existed here: tt reload"] if too_old else []
    return [*warnings.get(kind, []), *reload]
