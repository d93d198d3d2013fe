"""Why a task is not being worked on, and why an agent works on nothing: each reason in words, with what to do about it.

Pure: decides by a `Situation`, which `task_why` and others gather from the town. One function for each kind of thing, and in
it one reason after the other, so that what is said here can be read beside what kernels do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from tinytown.model.agents import Agent
from tinytown.model.results import Freeze, Host
from tinytown.model.tasks import Task
from tinytown.model.text import counted, shown
from tinytown.model.time import parse_rfc3339
from tinytown.packages import install_hint
from tinytown_ops.costs.ledger import Account

_DEPTH = 12
_MORE_BUDGET = "tt budget shows them; more of it goes into [budgets] of tinytown.toml"
_BREADTH = 8


class Obstacle(msgspec.Struct, frozen=True, kw_only=True):
    """One reason: `code` for programs, `text` for people, `fix` a command or advice, or empty. `because` are the reasons
    behind it."""

    code: str
    text: str
    fix: str = ""
    task: str | None = None
    agent: str | None = None
    because: tuple[Obstacle, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """Where the message lies that carries a task to its agent: its place, until when, and how many come before it."""

    place: str
    until: str | None = None
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a town. `tasks` has at least the open needs of what is asked about, except those that are gone;
    `orders` those of assigned tasks that were found, by task."""

    now_ms: int
    agents: tuple[Agent, ...] = ()
    hosts: tuple[Host, ...] = ()
    tasks: Mapping[str, Task] = field(default_factory=dict[str, Task])
    orders: Mapping[str, Order] = field(default_factory=dict[str, Order])
    accounts: tuple[Account, ...] = ()
    auto_claim: bool = True
    frozen: Freeze | None = None

    def parked_account(self, agent: Agent) -> Account | None:
        """The agent's account if it is throttled."""
        name = agent.account or agent.cli
        return next((each for each in self.accounts if each.name == name and each.parked_until), None)

    def agent_by_id(self, agent_id: str | None) -> Agent | None:
        return next((each for each in self.agents if each.id == agent_id), None)


def why_task(task: Task, situation: Situation, *, depth: int = _DEPTH) -> tuple[Obstacle, ...]:
    """Why nobody works on the task at this moment, the most telling reason first. A task that is worked on or finished has
    one that says so."""
    match task.state:
        case "completed" | "failed" | "cancelled":
            fix = f"tt task reopen {task.id}" if task.state != "completed" else ""
            return (Obstacle(code=task.state, text=f"it is {task.state}{_why(task.reason)}", fix=fix, task=task.id),)
        case "running":
            since = _ago(task.since, situation.now_ms)
            return (
                Obstacle(
                    code="running",
                    text=f"{task.assigned_to} works on it{since}",
                    fix=f"tt logs {task.assigned_to} --follow",
                    task=task.id,
                    agent=task.assigned_to,
                ),
            )
        case "verifying":
            text = f"{task.assigned_to} says that it is done; gates are judging it{_ago(task.since, situation.now_ms)}"
            return (Obstacle(code="verifying", text=text, task=task.id, agent=task.assigned_to),)
        case "blocked":
            needs = [_need(need, situation, depth) for need in task.open_needs[:_BREADTH]]
            if task.held:
                until = f", until {_at(task.held_until, situation.now_ms)}" if task.held_until else ""
                text = f"it is held{_why(task.held)}{until}"
                needs.insert(0, Obstacle(code="held", text=text, fix=f"tt task release {task.id}", task=task.id))
            if (more := len(task.open_needs) - _BREADTH) > 0:
                needs.append(Obstacle(code="more_needs", text=f"and for {more} more", fix=f"tt task tree {task.id}"))
            return tuple(needs)
        case "pending":
            return _on_backlog(task, situation)
        case "assigned":
            return _with_agent(task, situation)


def why_agent(agent: Agent, situation: Situation) -> tuple[Obstacle, ...]:
    """What keeps the agent from taking up work that is given to it now; nothing when it would begin at once."""
    found: list[Obstacle] = []

    def add(code: str, text: str, fix: str = "") -> None:
        found.append(Obstacle(code=code, text=text, fix=fix, agent=agent.name))

    since = _ago(agent.since, situation.now_ms)
    if agent.state == "error":
        add(
            "agent_error",
            f"{agent.name} is in error{since}{_why(agent.reason)}",
            f"mend that, then tt resume {agent.name}",
        )
    elif agent.desired_state == "stopped":
        add("agent_stopped", f"{agent.name} is stopped{since}{_why(agent.reason)}", f"tt resume {agent.name}")
    elif agent.desired_state == "paused":
        add("agent_paused", f"{agent.name} is paused{since}{_why(agent.reason)}", f"tt resume {agent.name}")
    elif agent.state == "working":
        task = situation.tasks.get(agent.current_task or "")
        what = (
            f"task {_named(task)}" if task else f"task {agent.current_task[:8]}" if agent.current_task else "its mail"
        )
        add("agent_busy", f"{agent.name} works on {what}{since}", f"tt logs {agent.name} --follow")
    elif situation.frozen:
        add("town_frozen", f"the town is frozen{_why(situation.frozen.reason)}", "tt thaw")
    elif account := situation.parked_account(agent):
        until = _at(account.parked_until, situation.now_ms)
        add(
            "account_parked",
            f"the account {account.name} is throttled; it may be used again at {until}",
            f"tt accounts unpark {account.name}",
        )
    elif agent.state in ("idle", "draining") and _tells_of_budget(agent.reason):
        add("budget_spent", f"{agent.name} may begin nothing: {agent.reason}", _MORE_BUDGET)
    elif agent.state == "idle" and agent.reason:
        add("agent_waits", f"{agent.name} waits: {agent.reason}")
    if not agent.host and agent.desired_state != "stopped" and agent.state != "error":
        found += _without_host(agent, situation)
    return tuple(found)


def nothing_to_do(agent: Agent) -> str:
    """Why an agent that could work does not, as far as its own record tells; empty when it works."""
    if agent.state == "working":
        return ""
    if agent.mail.leased or agent.mail.queued:
        return "it is about to begin"
    if agent.mail.delayed:
        return f"{_messages(agent.mail.delayed)} later"
    if agent.open_tasks:
        return f"what it has waits for something else ({agent.open_tasks} open)"
    return "nothing is given to it"


def _without_host(agent: Agent, situation: Situation) -> list[Obstacle]:
    def obstacle(code: str, text: str, fix: str) -> list[Obstacle]:
        return [Obstacle(code=code, text=text, fix=fix, agent=agent.name)]

    if not situation.hosts:
        return obstacle("no_kernel", "no kernel runs", "tt start --background")
    fitting = [host for host in situation.hosts if agent.cli in host.backends]
    if not fitting:
        names = ", ".join(sorted({host.name for host in situation.hosts}))
        return obstacle(
            "no_backend",
            f"no kernel has a backend of the kind {agent.cli} (they run on {names})",
            f"install its plugin there ({install_hint('kinds', agent.cli, 'see tt plugins')}) and restart the kernel",
        )
    fitting = [host for host in fitting if set(agent.labels) <= set(host.labels)]
    if not fitting:
        return obstacle(
            "no_label",
            f"no kernel with the kind {agent.cli} has all of its labels: {', '.join(agent.labels)}",
            "tt hosts shows their labels; [host] labels or TINYTOWN_HOST_LABELS gives a machine more",
        )
    held = {host.id: sum(each.host == host.id for each in situation.agents) for host in fitting}
    if all(host.capacity and held[host.id] >= host.capacity for host in fitting):
        return obstacle(
            "no_room",
            f"every kernel that has the kind {agent.cli} holds as many agents as it may",
            "raise capacity, or run another kernel",
        )
    if agent.asleep:
        return obstacle("agent_asleep", f"{agent.name} sleeps until there is work for it", "")
    return obstacle("no_host", f"{agent.name} waits for a kernel to take it up{_why(agent.reason)}", "")


def _need(need: str, situation: Situation, depth: int) -> Obstacle:
    task = situation.tasks.get(need)
    if task is None:
        return Obstacle(
            code="need_gone",
            text=f"waits for task {need}, which is not in the town",
            fix="tt task cancel what waits for it, or add it again under this id",
            task=need,
        )
    who = (
        f" to {task.assigned_to}"
        if task.state == "assigned"
        else f", by {task.assigned_to}"
        if task.state == "running"
        else ""
    )
    if task.state in ("failed", "cancelled"):
        text = f"waits for task {_named(task)}, which is {task.state}{_why(task.reason)}"
        return Obstacle(code="need_failed", text=text, fix=f"tt task reopen {task.id}", task=task.id)
    because = (
        why_task(task, situation, depth=depth - 1) if depth > 1 and task.state not in ("running", "verifying") else ()
    )
    text = f"waits for task {_named(task)}, which is {task.state}{who}"
    return Obstacle(code="need_open", text=text, task=task.id, because=because)


def why_nobody_takes(task: Task, agents: Sequence[Agent], *, auto_claim: bool) -> Obstacle | None:
    """Why no agent will take this task from the backlog by itself, as things are; None when one will."""
    fix = _giving(task)
    if not auto_claim:
        code, text = "no_auto_claim", "agents take nothing by themselves (auto_claim)"
    elif not _words(task):
        code, text = "no_words", "it has neither role nor tags by which an agent would take it"
    elif not _fitting(task, agents):
        code, text = "nobody_fits", f"no agent has {_named_words(task)}"
        fix = f"tt spawn NAME {f'--role {task.role}' if task.role else f'--tags {task.tags[0]}'}; {fix}"
    else:
        return None
    return Obstacle(code=code, text=text, fix=fix, task=task.id)


def _giving(task: Task) -> str:
    return f"tt backlog claim {task.id[:8]} AGENT gives it to one"


def _words(task: Task) -> set[str]:
    return {task.role or "", *task.tags} - {""}


def _named_words(task: Task) -> str:
    return " or ".join([f"the role {task.role}"] * bool(task.role) + [f"the tag {tag}" for tag in task.tags])


def _fitting(task: Task, agents: Sequence[Agent]) -> list[Agent]:
    words = _words(task)
    return [each for each in agents if words & {each.role or "", *each.tags}]


def _on_backlog(task: Task, situation: Situation) -> tuple[Obstacle, ...]:
    if never := why_nobody_takes(task, situation.agents, auto_claim=situation.auto_claim):
        return (msgspec.structs.replace(never, text=f"it is on the backlog, and {never.text}"),)
    because: list[Obstacle] = []
    fitting = _fitting(task, situation.agents)
    for agent in fitting[:_BREADTH]:
        reasons = why_agent(agent, situation)
        if agent.desired_state == "drained":
            text = f"{agent.name} finishes what it has and takes nothing more"
            reasons = (Obstacle(code="agent_draining", text=text, fix=f"tt resume {agent.name}", agent=agent.name),)
        if not reasons:
            text = f"{agent.name} is about to take it" if not agent.mail.total else f"{agent.name} has mail to do first"
            reasons = (Obstacle(code="about_to_begin", text=text, agent=agent.name),)
        because += reasons
    if (more := len(fitting) - _BREADTH) > 0:
        because.append(Obstacle(code="more_agents", text=f"and {counted(more, 'more fitting agent')}"))
    text = f"it is on the backlog, for an idle agent that has {_named_words(task)}"
    return (Obstacle(code="on_backlog", text=text, fix=_giving(task), task=task.id, because=tuple(because)),)


def _with_agent(task: Task, situation: Situation) -> tuple[Obstacle, ...]:
    agent = situation.agent_by_id(task.agent_id)
    requeue = f"tt task requeue {task.id[:8]} puts it onto the backlog"
    if agent is None:
        text = f"its agent {task.assigned_to} is not in the town"
        return (Obstacle(code="agent_gone", text=text, fix=requeue, task=task.id, agent=task.assigned_to),)
    found = list(why_agent(agent, situation))
    order = situation.orders.get(task.id)

    def add(code: str, text: str, fix: str = "") -> None:
        found.append(Obstacle(code=code, text=text, fix=fix, task=task.id, agent=agent.name))

    if _tells_of_budget(task.reason):
        add("budget_spent", f"no round may begin on it: {task.reason}", _MORE_BUDGET)
    if order is None:
        add("order_missing", f"its order is not in the mailbox of {agent.name}", requeue)
    elif order.place == "delayed":
        add(
            "order_delayed",
            f"its order comes again at {_at(order.until, situation.now_ms)}{_why(task.reason)}",
            f"tt history {agent.name} --task {task.id[:8]}",
        )
    elif order.place == "queued" and order.ahead:
        add(
            "order_behind",
            f"{_messages(order.ahead)} before it in the mailbox of {agent.name}",
            f"tt inbox {agent.name}",
        )
    if not found:
        add("about_to_begin", f"{agent.name} is about to begin")
    return tuple(found)


def _messages(count: int) -> str:
    return counted(count, "message") + (" comes" if count == 1 else " come")


def _tells_of_budget(reason: str | None) -> bool:
    # Budgets say so in words only: what agents and tasks wait for is a sentence everywhere.
    return (reason or "").startswith(("budget ", "what is left of budget "))


def _named(task: Task) -> str:
    return f"{task.id[:8]} ({shown(task.headline, 50)})"


def _why(reason: str | None) -> str:
    return f": {shown(reason, 300)}" if reason else ""


def _ago(at: str | None, now_ms: int) -> str:
    return "" if at is None else f" for {_length(now_ms - parse_rfc3339(at))}"


def _at(at: str | None, now_ms: int) -> str:
    if at is None:
        return "later"
    left_ms = parse_rfc3339(at) - now_ms
    clock = datetime.fromisoformat(at).astimezone()
    return "now" if left_ms <= 0 else f"{clock:%H:%M:%S}, in {_length(left_ms)}"


def _length(ms: int) -> str:
    """A length of time, roughly, in the largest unit that fits."""
    seconds = max(0, ms) / 1000
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
