"""A real task for ``tt doctor``: a throw-away agent is spawned, given a task, watched until it is done, and taken away again.

The way of every task from end to end: server, functions, kernel, placement, mail, round, backend, settlement. Afterwards there is
neither agent nor task nor mail nor file of it; that there was a round stays in the events and in the ledger of costs.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from tinytown.client import TownClient
from tinytown.config import RUNTIME_DIRECTORY
from tinytown.errors import NotFound, Refused, TinytownError
from tinytown.kernel import log_path, older_log, running_kernel
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown.packages import install_hint
from tinytown.protocol import Operation
from tinytown_cli.kernel_process import kernel_log
from tinytown_ops.doctor.finding import Finding
from tinytown_ops.explain.blockers import why_task
from tinytown_ops.explain.why_command import gather

T = TypeVar("T")

#: Always the same, so that it has one line in the ledger of costs, which keeps everything.
_NAME = "tt-doctor"
#: Kind -> the text of its task. Neither asks a model.
_KINDS = {"echo": "say that all is well", "shell": "echo all is well"}
_DONE_S = 15.0
_GONE_S = 10.0
_CHECK = "a task"


def try_a_task(link: TownClient) -> Iterator[Finding]:
    """How a task fares here, if there is a kernel on this machine that has a kind for it."""
    if running_kernel(link.root) is None:
        yield Finding(
            _CHECK, "note", "not tried: no kernel runs on this machine", "tt start --background, then tt doctor"
        )
        return
    hosts = link.run(link.operations.status(agents=False)).hosts
    kind = next((kind for kind in _KINDS if any(kind in host.backends for host in hosts)), None)
    if kind is None:
        yield Finding(_CHECK, "note", "not tried: no kernel has the kind echo or shell", install_hint("kinds", "echo"))
        return
    agent: Agent | None = None
    task: Task | None = None
    began = time.monotonic()
    try:
        agent = link.run(link.operations.create_agent(_NAME, cli=kind))
        title = "tt doctor looks whether a task is done"
        task = link.run(link.operations.add_task(_KINDS[kind], agent=agent.id, title=title)).task
        ended = _await(
            link, link.operations.task(task.id), lambda task: task.finished or task.state == "verifying", _DONE_S
        )
        yield _told(link, ended, time.monotonic() - began)
    except Refused as error:
        if error.code != "exists":
            raise
        found = f"not tried: there is an agent {_NAME} already, of a tt doctor that is at work or was killed"
        yield Finding(_CHECK, "note", found, f"tt kill {_NAME} --now --wait, tt remove {_NAME} --force")
    finally:
        if agent is not None:
            _take_away(link, agent, task)


def _told(link: TownClient, task: Task, took_s: float) -> Finding:
    if task.state in ("completed", "verifying"):
        return Finding(_CHECK, "ok", f"done by a throw-away agent in {took_s:.1f} s")
    if task.finished:
        found = f"a throw-away agent's task {task.state}: {shown(task.reason or 'no reason given', 300)}"
        return Finding(_CHECK, "problem", found, f"see {kernel_log(link.root)}")
    reasons = why_task(task, gather(link, [task]))
    found = f"not done within {took_s:.0f} s: {'; '.join(each.text for each in reasons)}"
    fixes = [
        each.fix
        for each in reasons
        if each.fix and task.id[:8] not in each.fix and (task.assigned_to or "-") not in each.fix
    ]
    return Finding(_CHECK, "problem", found, fixes[0] if fixes else "tt status --deep, and see the kernel's log")


def _take_away(link: TownClient, agent: Agent, task: Task | None) -> None:
    """Leave nothing, whatever has become of it. What cannot be taken away is stopped at least."""
    with contextlib.suppress(NotFound):
        if task is not None:
            with contextlib.suppress(TinytownError):  # finished already
                link.run(link.operations.settle_task("cancel", task.id, text="tt doctor is done with it"))
        link.run(link.operations.set_desired_state(agent.id, "stopped", now=True, reason="tt doctor is done with it"))
        _await(
            link, link.operations.agent(agent.id), lambda agent: agent.state == "stopped" and not agent.host, _GONE_S
        )
        link.run(link.operations.remove_agent(agent.id, force=True))
        if task is not None:
            link.run(link.operations.delete_task(task.id))
    log = log_path(link.root, agent.name)
    for path in (log, older_log(log)):
        path.unlink(missing_ok=True)
    shutil.rmtree(link.root / RUNTIME_DIRECTORY / "agents" / agent.name, ignore_errors=True)


def _await(link: TownClient, call: Operation[T], good: Callable[[T], bool], within_s: float) -> T:
    """What `call` answers once it is good, or when the time is over. Looked at whenever something has happened."""
    cursor, until = link.cursor(), time.monotonic() + within_s
    seen = link.run(call)
    if not good(seen):
        for _ in link.follow(cursor, until=until):
            seen = link.run(call)
            if good(seen):
                break
    return seen
