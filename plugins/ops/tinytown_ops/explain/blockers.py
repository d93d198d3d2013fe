"""Why a task is not being worked on, and why an agent is not working: each reason as text, with what to do about it.

Pure: decides by a `Situation`, which `situation` reads from the town. One function per kind of thing, one reason after
another, so that they can be compared with what kernels do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec
from tinytown.model.agents import Agent
from tinytown.model.results import Freeze, Host
from tinytown.model.tasks import Task
from tinytown.model.text import counted, shown
from tinytown.model.time import parse_rfc3339
from tinytown_cli.backlog_pickup import claim_hint, matching_agents, pickup_blocker, role_or_tags
from tinytown_cli.formatting import brief_id
from tinytown_cli.hosting import fitting_hosts, host_blocker

from tinytown_ops.costs.ledger import Account
from tinytown_ops.fallback.hand_over import declined_by

_DEPTH = 12
_BREADTH = 8
_RAISE_BUDGET = "tt budget shows the budgets; raise them under [budgets] in tinytown.toml"


class Blocker(msgspec.Struct, frozen=True, kw_only=True):
    """One reason: `code` for programs, `text` for people, `fix` a command or advice, or empty. `because` holds the causes
    of this one."""

    code: str
    text: str
    fix: str = ""
    task: str | None = None
    agent: str | None = None
    because: tuple[Blocker, ...] = ()


@dataclass(frozen=True, slots=True)
class AssignmentMessage:
    """The message that brings a task to its agent: its place in the mailbox, until when, and how many precede it."""

    place: str
    until: str | None = None
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """What blockers are decided by.

    `tasks` has at least the open needs of the tasks in question, the tasks that these are part of, and the needs of those, as far
    as they exist; `assignments` has the messages of assigned tasks that were found, by task. `now_ms` is the server's clock;
    `changed_since_start` is what this machine's kernel has not taken up, in words.
    """

    now_ms: int
    agents: tuple[Agent, ...] = ()
    hosts: tuple[Host, ...] = ()
    tasks: Mapping[str, Task] = field(default_factory=dict[str, Task])
    assignments: Mapping[str, AssignmentMessage] = field(default_factory=dict[str, AssignmentMessage])
    accounts: tuple[Account, ...] = ()
    auto_claim: bool | Literal["tagged"] = True
    frozen: Freeze | None = None
    changed_since_start: str = ""

    def parked_account(self, agent: Agent) -> Account | None:
        """The agent's account if it is rate limited."""
        name = agent.account or agent.cli
        return next((account for account in self.accounts if account.name == name and account.parked_until), None)

    def agent_by_id(self, agent_id: str | None) -> Agent | None:
        """The agent with this id, if it is in the town."""
        return next((agent for agent in self.agents if agent.id == agent_id), None)


def task_blockers(task: Task, situation: Situation, *, depth: int = _DEPTH) -> tuple[Blocker, ...]:
    """Why nobody works on the task now, the most specific reason first. A running or finished task has one that says so."""
    match task.state:
        case "completed" | "failed" | "cancelled":
            fix = f"tt task reopen {task.id}" if task.state != "completed" else ""
            return (Blocker(code=task.state, text=f"it is {task.state}{_because(task.reason)}", fix=fix, task=task.id),)
        case "running":
            since = _elapsed(task.since, situation.now_ms)
            running = Blocker(
                code="running",
                text=f"{task.assigned_to} has been working on it{since}",
                fix=f"tt logs {task.assigned_to} --follow",
                task=task.id,
                agent=task.assigned_to,
            )
            return (running, *_declined(task))
        case "verifying":
            text = (
                f"submitted by {task.assigned_to}; gates have been checking it{_elapsed(task.since, situation.now_ms)}"
            )
            return (Blocker(code="verifying", text=text, task=task.id, agent=task.assigned_to),)
        case "blocked":
            needs = [_need(need, situation, depth) for need in task.open_needs[:_BREADTH]]
            if task.held:
                until = f", until {_moment(task.held_until, situation.now_ms)}" if task.held_until else ""
                text = f"it is on hold{_because(task.held)}{until}"
                needs.insert(0, Blocker(code="held", text=text, fix=f"tt task release {task.id}", task=task.id))
            if (more := len(task.open_needs) - _BREADTH) > 0:
                needs.append(
                    Blocker(code="more_needs", text=f"and {more} more dependencies", fix=f"tt task tree {task.id}")
                )
            return tuple(needs)
        case "pending":
            return _on_backlog(task, situation, depth)
        case "assigned":
            return (*_with_agent(task, situation), *_declined(task))


def agent_blockers(agent: Agent, situation: Situation) -> tuple[Blocker, ...]:
    """What keeps the agent from starting work that is assigned to it now; empty if it would start at once."""
    blockers: list[Blocker] = []

    def add(code: str, text: str, fix: str = "") -> None:
        blockers.append(Blocker(code=code, text=text, fix=fix, agent=agent.name))

    since = _elapsed(agent.since, situation.now_ms)
    resume = f"tt resume {agent.name}"
    if agent.state == "error":
        add("agent_error", f"{agent.name} is in error{since}{_because(agent.reason)}", f"fix it, then run {resume}")
    elif agent.desired_state == "stopped":
        add("agent_stopped", f"{agent.name} is stopped{since}{_because(agent.reason)}", resume)
    elif agent.desired_state == "paused":
        add("agent_paused", f"{agent.name} is paused{since}{_because(agent.reason)}", resume)
    elif agent.state == "working":
        task = situation.tasks.get(agent.current_task or "")
        work = (
            f"task {_named(task)}"
            if task
            else f"task {brief_id(agent.current_task)}"
            if agent.current_task
            else "its mail"
        )
        add("agent_busy", f"{agent.name} is working on {work}{since}", f"tt logs {agent.name} --follow")
    elif situation.frozen:
        add("town_frozen", f"the town is frozen{_because(situation.frozen.reason)}", "tt thaw")
    elif account := situation.parked_account(agent):
        until = _moment(account.parked_until, situation.now_ms)
        add(
            "account_parked",
            f"the account {account.name} is rate limited until {until}",
            f"tt accounts unpark {account.name}",
        )
    elif agent.state in ("idle", "draining") and _is_about_budget(agent.reason):
        add("budget_spent", f"{agent.name} cannot start a round: {agent.reason}", _RAISE_BUDGET)
    elif agent.state == "idle" and agent.reason:
        add("agent_waits", f"{agent.name} is waiting: {agent.reason}")
    if not agent.host and agent.desired_state != "stopped" and agent.state != "error":
        blockers += _without_host(agent, situation)
    return tuple(blockers)


def agent_reasons(agent: Agent, situation: Situation) -> tuple[Blocker, ...]:
    """Why the agent is not working, or what it works on; never empty."""
    idle = Blocker(code="idle", text=idle_reason(agent), agent=agent.name)
    return agent_blockers(agent, situation) or (idle,)


def idle_reason(agent: Agent) -> str:
    """Why an agent that could work does not, by its own record; empty while it works."""
    if agent.state == "working":
        return ""
    if agent.mail.leased or agent.mail.queued:
        return "about to start"
    if later := agent.mail.delayed - agent.mail.with_next:
        return f"{counted(later, 'message')} delayed"
    if agent.open_tasks == 1:
        return "its 1 task is waiting on dependencies"
    if agent.open_tasks:
        return f"its {agent.open_tasks} tasks are waiting on dependencies"
    if agent.mail.with_next:
        return f"{counted(agent.mail.with_next, 'message')} waiting for its next round"
    return "no work assigned"


def _without_host(agent: Agent, situation: Situation) -> list[Blocker]:
    def blocker(code: str, text: str, fix: str) -> list[Blocker]:
        return [Blocker(code=code, text=text, fix=fix, agent=agent.name)]

    if missing := host_blocker(agent, situation.hosts, situation.changed_since_start):
        return blocker(*missing)
    fitting = fitting_hosts(agent, situation.hosts)
    held = {host.id: sum(other.host == host.id for other in situation.agents) for host in fitting}
    if all(host.capacity and held[host.id] >= host.capacity for host in fitting):
        return blocker(
            "no_room", f"every kernel with kind {agent.cli} is at capacity", "raise capacity, or start another kernel"
        )
    if agent.asleep:
        return blocker("agent_asleep", f"{agent.name} is suspended until there is work for it", "")
    return blocker("no_host", f"{agent.name} is waiting to be placed on a kernel{_because(agent.reason)}", "")


def _need(need: str, situation: Situation, depth: int) -> Blocker:
    task = situation.tasks.get(need)
    if task is None:
        return Blocker(
            code="need_gone",
            text=f"waiting for task {need}, which does not exist",
            fix="cancel the waiting task (tt task cancel), or add the missing one under this id",
            task=need,
        )
    if task.state in ("failed", "cancelled"):
        text = f"waiting for task {_named(task)}, which is {task.state}{_because(task.reason)}"
        return Blocker(code="need_failed", text=text, fix=f"tt task reopen {task.id}", task=task.id)
    agent = {"assigned": f" to {task.assigned_to}", "running": f" on {task.assigned_to}"}.get(task.state, "")
    because = (
        task_blockers(task, situation, depth=depth - 1)
        if depth > 1 and task.state not in ("running", "verifying")
        else ()
    )
    text = f"waiting for task {_named(task)}, which is {task.state}{agent}"
    return Blocker(code="need_open", text=text, task=task.id, because=because)


def waiting_above(task: Task, tasks: Mapping[str, Task]) -> Task | None:
    """The task whose waiting makes this one wait, as the server decides it.

    It is the parent if that is put off to a time, or any task above that needs something other than its own parts. What is
    finished makes nothing wait.
    """
    for level, above in enumerate(_line(task, tasks)[1:]):
        if above.finished:
            return None
        is_put_off = level == 0 and above.held_until is not None
        if is_put_off or any(above not in _line(tasks[need], tasks) for need in above.open_needs if need in tasks):
            return above
    return None


def _line(task: Task, tasks: Mapping[str, Task]) -> list[Task]:
    """A task, the one that it is part of, and so on up."""
    line = [task]
    while (above := tasks.get(line[-1].parent or "")) is not None and above not in line:
        line.append(above)
    return line


def _part_of(above: Task, situation: Situation, depth: int) -> Blocker:
    """That a task waits with the one `above` it."""
    because = task_blockers(above, situation, depth=depth - 1) if depth > 1 else ()
    text = f"part of task {_named(above)}, which waits"
    return Blocker(code="parent_waits", text=text, task=above.id, because=because)


def _on_backlog(task: Task, situation: Situation, depth: int) -> tuple[Blocker, ...]:
    if above := waiting_above(task, situation.tasks):
        return (_part_of(above, situation, depth),)
    if not_picked_up := pickup_blocker(task, situation.agents, auto_claim=situation.auto_claim):
        code, text, fix = not_picked_up
        return (Blocker(code=code, text=f"it is on the backlog: {text}", fix=fix, task=task.id),)
    because: list[Blocker] = []
    fitting = matching_agents(task, situation.agents)
    for agent in fitting[:_BREADTH]:
        blockers = agent_blockers(agent, situation)
        if agent.desired_state == "drained":
            text = f"{agent.name} is draining: it finishes its work and takes no more"
            blockers = (Blocker(code="agent_draining", text=text, fix=f"tt resume {agent.name}", agent=agent.name),)
        if not blockers:
            text = f"{agent.name} handles its mail first" if agent.mail.total else f"{agent.name} is about to claim it"
            blockers = (Blocker(code="about_to_begin", text=text, agent=agent.name),)
        because += blockers
    if (more := len(fitting) - _BREADTH) > 0:
        because.append(Blocker(code="more_agents", text=f"and {counted(more, 'more matching agent')}"))
    text = f"it is on the backlog for an idle agent with {role_or_tags(task)}"
    return (Blocker(code="on_backlog", text=text, fix=claim_hint(task), task=task.id, because=tuple(because)),)


def _with_agent(task: Task, situation: Situation) -> tuple[Blocker, ...]:
    agent = situation.agent_by_id(task.agent_id)
    requeue = f"tt task requeue {brief_id(task.id)} returns it to the backlog"
    if agent is None:
        text = f"its agent {task.assigned_to} does not exist"
        return (Blocker(code="agent_gone", text=text, fix=requeue, task=task.id, agent=task.assigned_to),)
    blockers = list(agent_blockers(agent, situation))
    message = situation.assignments.get(task.id)

    def add(code: str, text: str, fix: str = "") -> None:
        blockers.append(Blocker(code=code, text=text, fix=fix, task=task.id, agent=agent.name))

    if _is_about_budget(task.reason):
        add("budget_spent", f"no round can start on it: {task.reason}", _RAISE_BUDGET)
    if message is None:
        add("order_missing", f"its assignment is not in the mailbox of {agent.name}", requeue)
    elif message.place == "delayed":
        add(
            "order_delayed",
            f"it is retried at {_moment(message.until, situation.now_ms)}{_because(task.reason)}",
            f"tt history {agent.name} --task {brief_id(task.id)}",
        )
    elif message.place == "queued" and message.ahead:
        add(
            "order_behind",
            f"{counted(message.ahead, 'message')} ahead of it in the mailbox of {agent.name}",
            f"tt inbox {agent.name}",
        )
    if not blockers:
        add("about_to_begin", f"{agent.name} is about to start it")
    return tuple(blockers)


def _declined(task: Task) -> tuple[Blocker, ...]:
    """Who had the task before its agent, and could not do it."""
    return tuple(
        Blocker(code="declined", text=f"taken over from {each}", task=task.id, agent=each.agent)
        for each in declined_by(task)
    )


def _is_about_budget(reason: str | None) -> bool:
    # The reason of an agent or a task is text only; budgets have no code there.
    return (reason or "").startswith(("budget ", "what is left of budget ", "the rest of budget "))


def _named(task: Task) -> str:
    return f"{brief_id(task.id)} ({shown(task.headline, 50)})"


def _because(reason: str | None) -> str:
    return f": {shown(reason, 300)}" if reason else ""


def _elapsed(at: str | None, now_ms: int) -> str:
    return "" if at is None else f" for {_span(now_ms - parse_rfc3339(at))}"


def _moment(at: str | None, now_ms: int) -> str:
    if at is None:
        return "a later time"
    left_ms = parse_rfc3339(at) - now_ms
    clock = datetime.fromisoformat(at).astimezone()
    return "now" if left_ms <= 0 else f"{clock:%H:%M:%S} (in {_span(left_ms)})"


def _span(ms: int) -> str:
    """A duration, roughly, in the largest unit that fits."""
    seconds = max(0, ms) / 1000
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
