"""``tt status``: the whole town in one answer."""

from __future__ import annotations

import socket
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

import click
from tinytown.client import TownClient
from tinytown.errors import TinytownError
from tinytown.kernel import running_kernel
from tinytown.model.events import Event, event_fields
from tinytown.model.results import Host, Status
from tinytown.model.tasks import FINISHED, TASK_STATES, Task, TaskState
from tinytown.model.text import counted, shown

from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.event_text import describe
from tinytown_cli.formatting import agent_table, table
from tinytown_cli.framework import TownCommand
from tinytown_cli.serializers import agent_shape, event_shape, freeze_shape, host_shape, task_shape

_DEEP_EVENTS = 500
_EVENTS_OF_AGENT = 5
_TASKS_SHOWN = 200


@click.command(cls=TownCommand, examples=["tt status", "tt status --deep --tasks", "tt status --json"])
@click.option(
    "--deep",
    is_flag=True,
    help="Also show details: what plugins add, and the latest events of each agent.",
)
@click.option("--tasks", "with_tasks", is_flag=True, help="Also show the tasks that are not finished.")
@pass_cli_context
def status(context: CliContext, deep: bool, with_tasks: bool) -> None:
    """Show the state of the town: server, kernel, agents, mail, tasks."""
    with context.open_town() as town:
        seen = town.run(town.operations.status())
        shape = _shape(town, seen)
        lines = _lines(shape, seen)
        if with_tasks:
            lines += _add_tasks(town, shape)
        if deep or with_tasks:
            lines += _add_sections(
                town, shape, {name for name, is_on in (("deep", deep), ("tasks", with_tasks)) if is_on}
            )
        if deep:
            lines += _add_events(town, seen, shape)
    context.emit(shape, lines)


def _add_sections(town: TownClient, shape: dict[str, Any], options: Set[str]) -> list[str]:
    """Add what plugins contribute for these options to `shape`; its lines. A section that fails costs only itself."""
    from tinytown_cli.plugin_commands import load_town_plugins  # late: only --deep and --tasks load plugins

    plugins = load_town_plugins(town.root, town.config, strict=False)
    lines: list[str] = []
    for section in plugins.status_sections.values():
        if section.option not in options:
            continue
        try:
            content = section.read(town)
        except TinytownError as error:
            lines += ["", f"{section.name}: {error.message}"]
        except Exception as error:  # a plugin's code may raise anything
            problem = plugins.mark_faulty(plugins.owner(section), f"status section {section.name}", error)
            lines += ["", f"{section.name}: {problem.message}"]
        else:
            if content is not None:
                shape[section.name] = content.value
                lines += ["", f"{content.title}:", *content.lines]
    return lines


def _add_events(town: TownClient, seen: Status, shape: dict[str, Any]) -> list[str]:
    latest = _latest_by_agent(town, [agent.name for agent in seen.agents])
    shape["events"] = {name: [event_shape(event) for event in events] for name, events in latest.items()}
    lines: list[str] = []
    for name, events in latest.items():
        lines += ["", f"latest events of {name}:"] + [f"  {describe(event)}" for event in events]
    return lines


def _add_tasks(town: TownClient, shape: dict[str, Any]) -> list[str]:
    tasks = _open_tasks(town)
    shape["open_tasks"] = [task_shape(task) for task in tasks]
    rows = [(task.id[:8], task.state, task.assigned_to or "-", shown(task.headline, 40)) for task in tasks]
    return ["", *(table(("task", "state", "agent", "title"), rows) if rows else ["no open tasks"])]


def kernel_shape(root: Path, hosts: Sequence[Host]) -> dict[str, Any]:
    """The town's kernel as ``{"running", "pid", "host"}``: the one on this machine if there is one, else the first."""
    if pid := running_kernel(root):
        return {"running": True, "pid": pid, "host": socket.gethostname()}
    other = next((host for host in hosts if host.name != socket.gethostname()), None)
    return {"running": other is not None, "pid": other and other.pid, "host": other and other.name}


def _shape(town: TownClient, seen: Status) -> dict[str, Any]:
    return {
        "town": town.config.name,
        "root": str(town.root),
        "redis": {"url": town.client.address.redacted, "version": town.server_version()},
        "kernel": kernel_shape(town.root, seen.hosts),
        "frozen": freeze_shape(seen.frozen),
        "hosts": [host_shape(each) for each in seen.hosts],
        "agents": [agent_shape(each) for each in seen.agents],
        "tasks": seen.tasks,
        "backlog": seen.backlog,
        "dead": seen.dead,
        "supervisor": {"inbox": seen.supervisor_mail},
    }


def _latest_by_agent(town: TownClient, names: Sequence[str]) -> dict[str, list[Event]]:
    latest: dict[str, list[Event]] = {name: [] for name in names}
    for event in town.run(town.operations.latest_events(_DEEP_EVENTS)):
        fields = event_fields(event)
        for name in {fields.get("agent"), fields.get("recipient")} & latest.keys():
            latest[str(name)].append(event)
    return {name: events[-_EVENTS_OF_AGENT:] for name, events in latest.items()}


def _open_tasks(town: TownClient) -> list[Task]:
    states: list[TaskState] = [state for state in TASK_STATES if state not in FINISHED]
    found = town.run_all([town.operations.tasks(state=state, limit=_TASKS_SHOWN) for state in states])
    return [task for tasks in found for task in tasks]


def _lines(shape: dict[str, Any], seen: Status) -> list[str]:
    kernel = shape["kernel"]
    running = (
        f"running on {kernel['host']} (process {kernel['pid']})"
        if kernel["running"]
        else "not running; start it with: tt start"
    )
    mail = seen.supervisor_mail.total
    lines = [
        f"town    {shape['town']} in {shape['root']}",
        f"server  {shape['redis']['url']}, version {shape['redis']['version']}",
        f"kernel  {running}",
        "tasks   " + (", ".join(f"{n} {state}" for state, n in seen.tasks.items() if n) or "none"),
    ]
    if seen.frozen:
        lines.append(f"frozen  since {seen.frozen.since}: {seen.frozen.reason}; resume with: tt thaw")
    if mail:
        lines.append(f"mail    {counted(mail, 'message')} for you; read with: tt inbox")
    if seen.dead:
        lines.append(f"dead    {counted(seen.dead, 'message')}; see: tt dead list")
    lines.append("")
    lines += agent_table(seen.agents) if seen.agents else ["no agents yet; add one with: tt spawn NAME"]
    return lines
