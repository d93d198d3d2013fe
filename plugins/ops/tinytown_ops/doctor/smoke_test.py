"""A real task for ``tt doctor``: a temporary agent is spawned, given a task, watched until it is done, and removed again.

The path of every task from end to end: server, functions, kernel, placement, mail, round, backend, result. Afterwards neither
agent nor task nor mail nor file of it is left; the events and the ledger of costs still show that there was a round.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tinytown.errors import NotFound, Refused, TinytownError
from tinytown.kernel import log_path, running_kernel
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown.packages import install_hint
from tinytown.process import older_log
from tinytown.protocol import Operation
from tinytown.state import state_directory
from tinytown_cli import administration
from tinytown_cli.client import TownClient
from tinytown_cli.contracts import Finding, HealthCheck
from tinytown_cli.doctor_agent import DOCTOR_AGENT
from tinytown_cli.formatting import brief_id
from tinytown_cli.kernel_process import kernel_log

from tinytown_ops.explain.blockers import task_blockers
from tinytown_ops.explain.situation import read_situation

T = TypeVar("T")

#: Kind -> the text of its task. Neither calls a model.
_KINDS = {"echo": "say that all is well", "shell": "echo all is well"}
_DONE_S = 15.0
_GONE_S = 10.0
_CHECK = "a task"
_REASON = "tt doctor has finished"


class SmokeTest(HealthCheck):
    """Runs one task, if a kernel on this machine has a kind that calls no model."""

    name = "smoke-test"

    def check(self, town: TownClient) -> Sequence[Finding]:
        """How the task went, within about 25 s. Raises: what `TownClient` raises."""
        return tuple(_run_task(town))


def _run_task(town: TownClient) -> Iterator[Finding]:
    if town.caller.is_agent:
        yield Finding(_CHECK, "note", "skipped: an agent's round may not remove what it would leave")
        return
    if running_kernel(town.root) is None:
        found = "skipped: no kernel is running on this machine"
        yield Finding(_CHECK, "note", found, "tt start --background, then tt doctor")
        return
    hosts = town.run(town.operations.status(agents=False)).hosts
    kind = next((kind for kind in _KINDS if any(kind in host.backends for host in hosts)), None)
    if kind is None:
        found = f"skipped: no kernel has the kind {' or '.join(_KINDS)}"
        yield Finding(_CHECK, "note", found, install_hint("kinds", "echo"))
        return
    agent: Agent | None = None
    task: Task | None = None
    began = time.monotonic()
    try:
        # The tag keeps it from claiming work of the backlog, which it would report as done.
        agent = town.run(town.operations.create_agent(DOCTOR_AGENT, cli=kind, tags=(DOCTOR_AGENT,)))
        title = "tt doctor tests a whole task"
        task = town.run(town.operations.add_task(_KINDS[kind], agent=agent.id, title=title)).task
        ended = _await(
            town, town.operations.task(task.id), lambda task: task.finished or task.state == "verifying", _DONE_S
        )
        yield _finding(town, ended, time.monotonic() - began)
    except Refused as error:
        if error.code != "exists":
            raise
        found = f"skipped: an agent {DOCTOR_AGENT} exists; another tt doctor is running or was killed"
        yield Finding(_CHECK, "note", found, f"tt kill {DOCTOR_AGENT} --now --wait, tt remove {DOCTOR_AGENT} --force")
    finally:
        if agent is not None:
            _remove(town, agent, task)


def _finding(town: TownClient, task: Task, took_s: float) -> Finding:
    if task.state in ("completed", "verifying"):
        return Finding(_CHECK, "ok", f"completed by a temporary agent in {took_s:.1f} s")
    if task.finished:
        found = f"the task of a temporary agent {task.state}: {shown(task.reason or 'no reason given', 300)}"
        return Finding(_CHECK, "problem", found, f"see {kernel_log(town.root)}")
    blockers = task_blockers(task, read_situation(town, [task]))
    found = f"not completed within {took_s:.0f} s: {'; '.join(blocker.text for blocker in blockers)}"
    # Fixes that name the temporary agent or its task are of no use: both are gone by then.
    fixes = [
        blocker.fix
        for blocker in blockers
        if blocker.fix and brief_id(task.id) not in blocker.fix and (task.assigned_to or "-") not in blocker.fix
    ]
    return Finding(_CHECK, "problem", found, fixes[0] if fixes else f"see tt status --deep and {kernel_log(town.root)}")


def _remove(town: TownClient, agent: Agent, task: Task | None) -> None:
    """Remove agent and task, however far they got. What cannot be removed is at least stopped."""
    with contextlib.suppress(NotFound):
        if task is not None:
            with contextlib.suppress(TinytownError):  # finished already
                town.run(town.operations.settle_task("cancel", task.id, text=_REASON))
        town.run(town.operations.set_desired_state(agent.id, "stopped", now=True, reason=_REASON))
        _await(
            town, town.operations.agent(agent.id), lambda agent: agent.state == "stopped" and not agent.host, _GONE_S
        )
        town.run(administration.remove_agent(town.operations.keys, agent.id, force=True))
        if task is not None:
            town.run(administration.delete_task(town.operations.keys, task.id))
    log = log_path(town.root, agent.name)
    for path in (log, older_log(log)):
        path.unlink(missing_ok=True)
    shutil.rmtree(state_directory(town.root) / "agents" / agent.name, ignore_errors=True)


def _await(town: TownClient, operation: Operation[T], is_done: Callable[[T], bool], within_s: float) -> T:
    """What `operation` answers once that is done, or when `within_s` is over. Read again after every event."""
    cursor, until = town.cursor(), time.monotonic() + within_s
    answer = town.run(operation)
    if not is_done(answer):
        for _ in town.follow(cursor, until=until):
            answer = town.run(operation)
            if is_done(answer):
                break
    return answer
