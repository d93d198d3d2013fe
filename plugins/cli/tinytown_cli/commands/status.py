"""``tt status``: the whole town in one answer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import click
from tinytown.errors import TinytownError
from tinytown.model.results import Host, Status
from tinytown.model.tasks import FINISHED, TASK_STATES, Task, TaskState
from tinytown.model.text import counted, shown
from tinytown.protocol import Operation

from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import agent_table, both_ends, brief_ids, table
from tinytown_cli.framework import TownCommand
from tinytown_cli.serializers import agent_shape, event_shape, freeze_shape, host_shape, task_shape

if TYPE_CHECKING:
    from tinytown.model.events import Event

    from tinytown_cli.contracts import StatusSection

_DEEP_EVENTS = 500
_FAILED_SHOWN = 5
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
        shape["notices"] = _notices(town)
        lines = _lines(shape, seen)
        lines += _add_failed(town, seen, shape)
        if with_tasks:
            lines += _add_tasks(town, shape)
        if deep or with_tasks:
            lines += _add_sections(
                town, shape, {name for name, is_on in (("deep", deep), ("tasks", with_tasks)) if is_on}
            )
        if deep:
            lines += _add_events(town, seen, shape)
    context.emit(shape, lines)


def _add_failed(town: TownClient, seen: Status, shape: dict[str, Any]) -> list[str]:
    """The latest failed tasks, each with both ends of its reason, which say most, and what to do next."""
    count = seen.tasks.get("failed", 0)
    tasks = town.run(town.operations.tasks(state="failed", limit=_FAILED_SHOWN)) if count else ()
    shape["failed"] = [
        {
            "id": task.id,
            "title": task.headline,
            "agent": task.assigned_to,
            "reason": task.reason,
            "next": _next(task.id),
        }
        for task in tasks
    ]
    if not tasks:
        return []
    ids = brief_ids(task.id for task in tasks)
    lines = ["", f"{counted(count, 'task')} failed" + (", the latest:" if count > len(tasks) else ":")]
    for task in tasks:
        lines.append(
            f"  {ids[task.id]}  {shown(task.headline, 40)}: {both_ends(task.reason or 'no reason given', 120)}"
        )
    return [*lines, f"next: {' or '.join(_next(ids[tasks[0].id]))}"]


def _next(task_id: str) -> list[str]:
    return [f"tt task show {task_id}", f"tt task reopen {task_id}"]


def _add_sections(town: TownClient, shape: dict[str, Any], options: Set[str]) -> list[str]:
    """Add what plugins contribute for these options to `shape`; its lines. A section that fails costs only itself."""
    from tinytown_cli.plugin_commands import load_town_plugins  # late: only --deep and --tasks load plugins

    plugins = load_town_plugins(town.root, town.config, strict=False)
    lines: list[str] = []
    sections: Mapping[str, StatusSection] = plugins.contributed("status_sections")
    for section in sections.values():
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
    from tinytown_cli.event_text import describe  # late: only --deep shows events

    latest = _latest_by_agent(town, [agent.name for agent in seen.agents])
    shape["events"] = {name: [event_shape(event) for event in events] for name, events in latest.items()}
    lines: list[str] = []
    for name, events in latest.items():
        lines += ["", f"latest events of {name}:"] + [f"  {describe(event)}" for event in events]
    return lines


def _add_tasks(town: TownClient, shape: dict[str, Any]) -> list[str]:
    tasks = _open_tasks(town)
    shape["open_tasks"] = [task_shape(task) for task in tasks]
    ids = brief_ids(task.id for task in tasks)
    rows = [(ids[task.id], task.state, task.assigned_to or "-", shown(task.headline, 40)) for task in tasks]
    return ["", *(table(("task", "state", "agent", "title"), rows) if rows else ["no open tasks"])]


def kernel_shape(town: TownClient, hosts: Sequence[Host]) -> dict[str, Any]:
    """The town's kernel as ``{"running", "pid", "host"}``: the one on this machine if there is one, else the first."""
    here = os.uname().nodename
    if pid := town.running_kernel():
        return {"running": True, "pid": pid, "host": here}
    other = next((host for host in hosts if town.is_remote or host.name != here), None)
    return {"running": other is not None, "pid": other and other.pid, "host": other and other.name}


def _shape(town: TownClient, seen: Status) -> dict[str, Any]:
    kernel = kernel_shape(town, seen.hosts)
    return {
        "town": town.operations.keys.town,
        "root": town.directory,
        "redis": {"url": town.server_url, "version": town.server_version()},
        "kernel": {**kernel, "outdated": _outdated(town, seen, kernel["pid"])},
        "frozen": freeze_shape(seen.frozen),
        "hosts": [host_shape(host) for host in seen.hosts],
        "agents": [agent_shape(agent) for agent in seen.agents],
        "tasks": seen.tasks,
        "backlog": seen.backlog,
        "dead": seen.dead,
        "supervisor": {"inbox": seen.supervisor_mail},
    }


def _outdated(town: TownClient, seen: Status, pid: int | None) -> str | None:
    """What the kernel has not taken up since it started, if an agent is of a kind that no kernel has; else nothing is read."""
    kinds = {kind for host in seen.hosts for kind in host.backends}
    if not seen.hosts or all(agent.cli in kinds for agent in seen.agents):
        return None
    from tinytown_cli.staleness import why_reload  # late: seldom needed

    return why_reload(town.root, seen.hosts, pid) or None


def _notices(town: TownClient) -> list[dict[str, str]]:
    """What plugins want every look at the town to show: the text that each keeps in its field ``notice``."""
    names = Operation(
        ("SMEMBERS", f"{town.operations.keys.base}:plugins"), lambda reply: sorted(name.decode() for name in reply)
    )
    plugins = town.run(names)
    texts = town.run_all([town.operations.plugin_field(name, "notice") for name in plugins])
    return [{"plugin": name, "text": text} for name, text in zip(plugins, texts, strict=True) if isinstance(text, str)]


def _latest_by_agent(town: TownClient, names: Sequence[str]) -> dict[str, list[Event]]:
    from tinytown.model.events import event_fields

    latest: dict[str, list[Event]] = {name: [] for name in names}
    for event in town.run(town.operations.latest_events(_DEEP_EVENTS)):
        fields = event_fields(event)
        for name in {fields.get("agent"), fields.get("recipient")} & latest.keys():
            latest[str(name)].append(event)
    return {name: events[-_EVENTS_OF_AGENT:] for name, events in latest.items()}


def _open_tasks(town: TownClient) -> list[Task]:
    states: list[TaskState] = [state for state in TASK_STATES if state not in FINISHED]
    lists = town.run_all([town.operations.tasks(state=state, limit=_TASKS_SHOWN) for state in states])
    return [task for tasks in lists for task in tasks]


def _lines(shape: dict[str, Any], seen: Status) -> list[str]:
    kernel = shape["kernel"]
    running = (
        f"running on {kernel['host']} (process {kernel['pid']})"
        + (f"; since it started, {kernel['outdated']}: tt reload" if kernel["outdated"] else "")
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
    lines += [f"trouble {host.name} begins no rounds: {host.trouble}" for host in seen.hosts if host.trouble]
    lines += [f"{notice['plugin']:<7} {notice['text']}" for notice in shape["notices"]]
    if mail:
        lines.append(f"mail    {counted(mail, 'message')} for you; read with: tt inbox")
    if seen.dead:
        lines.append(f"dead    {counted(seen.dead, 'message')}; see: tt dead list")
    lines.append("")
    lines += agent_table(seen.agents) if seen.agents else ["no agents yet; add one with: tt spawn NAME"]
    return lines
