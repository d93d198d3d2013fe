"""``tt status``: the whole town in one answer."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tinytown.cli.background import running_kernel
from tinytown.cli.frame import TownCommand
from tinytown.cli.invocation import Invocation, pass_invocation
from tinytown.cli.shapes import agent_shape, event_shape, host_shape, task_shape
from tinytown.cli.table import agent_table, task_table
from tinytown.cli.town_link import TownLink, open_town_link
from tinytown.events import Event, event_fields
from tinytown.protocol.calls import Host, Status
from tinytown.tasks import FINISHED, TASK_STATES, Task, TaskState

_DEEP_EVENTS = 500
_EVENTS_OF_AGENT = 5
_TASKS_SHOWN = 200


@click.command(cls=TownCommand, examples=["tt status", "tt status --deep --tasks", "tt status --json"])
@click.option("--deep", is_flag=True, help="With the latest events of each agent.")
@click.option("--tasks", "with_tasks", is_flag=True, help="With the tasks that are not finished.")
@pass_invocation
def status(invocation: Invocation, deep: bool, with_tasks: bool) -> None:
    """The whole town at one glance: server, kernel, agents, mail, tasks."""
    with open_town_link(invocation) as town:
        seen = town.run(town.calls.status())
        happened = _latest_by_agent(town, [each.name for each in seen.agents]) if deep else None
        tasks = _open_tasks(town) if with_tasks else None
        shape = _shape(town, seen)
    if happened is not None:
        shape["events"] = {name: [event_shape(each) for each in events] for name, events in happened.items()}
    if tasks is not None:
        shape["open_tasks"] = [task_shape(each) for each in tasks]
    invocation.answer(shape, _lines(shape, seen, happened, tasks))


def kernel_shape(root: Path, hosts: Sequence[Host]) -> dict[str, Any]:
    """The town's kernel as ``{"running", "pid", "host"}``: the one on this machine if there is one, else the first."""
    if pid := running_kernel(root):
        return {"running": True, "pid": pid, "host": socket.gethostname()}
    other = next((host for host in hosts if host.name != socket.gethostname()), None)
    return {"running": other is not None, "pid": other and other.pid, "host": other and other.name}


def _shape(town: TownLink, seen: Status) -> dict[str, Any]:
    return {
        "town": town.config.name,
        "root": str(town.root),
        "redis": {"url": town.client.address.redacted, "version": town.server_version()},
        "kernel": kernel_shape(town.root, seen.hosts),
        "hosts": [host_shape(each) for each in seen.hosts],
        "agents": [agent_shape(each) for each in seen.agents],
        "tasks": seen.tasks,
        "backlog": seen.backlog,
        "dead": seen.dead,
        "supervisor": {"inbox": seen.supervisor_mail},
    }


def _latest_by_agent(town: TownLink, names: Sequence[str]) -> dict[str, list[Event]]:
    latest: dict[str, list[Event]] = {name: [] for name in names}
    for event in town.run(town.calls.latest_events(_DEEP_EVENTS)):
        fields = event_fields(event)
        for name in {fields.get("agent"), fields.get("recipient")} & latest.keys():
            latest[str(name)].append(event)
    return {name: events[-_EVENTS_OF_AGENT:] for name, events in latest.items()}


def _open_tasks(town: TownLink) -> list[Task]:
    states: list[TaskState] = [state for state in TASK_STATES if state not in FINISHED]
    found = town.run_all([town.calls.tasks(state=state, limit=_TASKS_SHOWN) for state in states])
    return [task for tasks in found for task in tasks]


def _lines(
    shape: dict[str, Any], seen: Status, happened: dict[str, list[Event]] | None, tasks: list[Task] | None
) -> list[str]:
    from tinytown.cli.happenings import describe

    kernel = shape["kernel"]
    running = f"runs on {kernel['host']}, process {kernel['pid']}" if kernel["running"] else "does not run: tt start"
    mail = seen.supervisor_mail.total
    lines = [
        f"town    {shape['town']} in {shape['root']}",
        f"server  {shape['redis']['url']}, version {shape['redis']['version']}",
        f"kernel  {running}",
        "tasks   " + (", ".join(f"{n} {state}" for state, n in seen.tasks.items() if n) or "none"),
    ]
    if mail:
        lines.append(f"mail    {mail} for you: tt inbox")
    if seen.dead:
        lines.append(f"dead    {seen.dead} messages: tt dead list")
    lines.append("")
    lines += agent_table(seen.agents) if seen.agents else ["no agents yet: tt spawn NAME adds one"]
    for name, events in (happened or {}).items():
        lines += ["", f"{name}:"] + [f"  {describe(event)}" for event in events]
    if tasks is not None:
        lines += ["", *(task_table(tasks) if tasks else ["no open tasks"])]
    return lines
