"""``tt sync``: carries a plan into its town, and how far the town is back into the plan. What to do is decided in `plans`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from tinytown.client import TownClient
from tinytown.errors import NotFound, Refused, TinytownError, UsageError
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.protocol import Operation
from tinytown_cli.atomic_files import replace_text_file
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_cli.kernel_process import start_where_needed
from tinytown_cli.params import no_start_option

from tinytown_plans.comparing import BASE, Pull, Push, compare_pull, compare_push, entry_of, remembered
from tinytown_plans.plan_command import file_option, load_plan, plan_path
from tinytown_plans.reading import Plan, PlanTask, read_plan

#: Calls in one write to the server.
_AT_ONCE = 100
_MANY_TASKS = 10_000

_VERBS = {"completed": "complete", "failed": "fail", "cancelled": "cancel"}


@click.command(
    cls=TownCommand,
    examples=["tt sync push --dry-run", "tt sync", "tt sync pull && git commit -m 'how far we are' tasks.toml"],
)
@click.argument("direction", type=click.Choice(["push", "pull"]), default="push")
@file_option
@click.option("-n", "--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--new", is_flag=True, help="With pull: add the town's tasks that the plan does not have.")
@no_start_option
@pass_cli_context
def sync(context: CliContext, direction: str, file: str | None, dry_run: bool, new: bool, no_start: bool) -> None:
    """Send the plan to the town (push), or write into it how far the town is (pull).

    A task of the plan has the same id in the town, so a push may be repeated: it makes what is missing, changes what
    is different and not being worked on, and gives out what has an agent. A pull writes status and agent of each task into
    the file and leaves everything else there as it is, comments and unsent changes included.
    """
    if new and direction == "push":
        raise UsageError("--new is for tt sync pull: a push makes what is missing anyway")
    path = plan_path(context, file)
    plan, text = load_plan(path)
    with context.open_town() as town:
        reader = _Reader(town, plan)
        known = reader.known_tasks()
        if direction == "push":
            pushes = compare_push(plan, known, reader.agent_name)
            reader.check_agents(pushes)
            if not dry_run:
                _run_all(town, [call for push in pushes for call in _calls(town, push)])
                if any(push.agent for push in pushes):
                    start_where_needed(context, town, may_start=not no_start)
            report = [(push.task.id, push.outcome, push.changes, push.reason) for push in pushes]
        else:
            pulls = compare_pull(plan, known, reader.agent_name)
            added = reader.unplanned() if new else ()
            if not dry_run:
                _write(path, text, plan, pulls, added)
                bases = {pull.id: pull.base for pull in pulls if pull.base}
                bases |= {task.id: remembered(task.status, plan.agent_of(task), task.held) for task in added}
                _run_all(town, [town.operations.set_task_meta(id_, BASE, base) for id_, base in bases.items()])
            report = [(pull.id, pull.outcome, tuple(pull.values), pull.reason) for pull in pulls]
            report += [(task.id, "created", (), "") for task in added]
    _answer(context, direction, path, report, dry_run=dry_run)


class _Reader:
    """What the town knows of a plan."""

    def __init__(self, town: TownClient, plan: Plan) -> None:
        self.town = town
        self.plan = plan
        self.names: dict[str, str] = {}
        self.stopped: set[str] = set()

    def known_tasks(self) -> dict[str, Task]:
        """The plan's tasks that are in the town, and in `names` the agents of both."""
        calls = self.town.operations
        ids = [task.id for task in self.plan.tasks]
        found = dict(zip(ids, _ask_all(self.town, [calls.task(id_) for id_ in ids]), strict=True))
        # A town takes the beginning of an id for the id; a plan means all of it.
        known = {id_: task for id_, task in found.items() if isinstance(task, Task) and task.id == id_}
        words = {self.plan.agent_of(task) for task in self.plan.tasks}
        words |= {str(task.meta.get(BASE, {}).get("agent", "")) for task in known.values()}
        spelled = sorted(words - {""})
        agents = _ask_all(self.town, [calls.agent(word) for word in spelled])
        for word, agent in zip(spelled, agents, strict=True):
            if isinstance(agent, Agent):
                self.names[word] = agent.name
                if agent.desired_state == "stopped":
                    self.stopped.add(word)
        return known

    def agent_name(self, word: str) -> str:
        return self.names.get(word, word)

    def check_agents(self, pushes: Sequence[Push]) -> None:
        """Before anything is changed: can whoever is to get a task take it? Raises: NotFound; Refused for a stopped one."""
        for push in pushes:
            if push.agent and push.agent not in self.names:
                raise NotFound(
                    f"task {push.task.id!r} is for {push.agent!r}, and the town has no such agent",
                    hint=f"tt spawn {push.agent}, or name another; nothing was sent",
                )
            if push.agent in self.stopped:
                raise Refused(
                    f"task {push.task.id!r} is for {push.agent!r}, who is stopped and takes no tasks",
                    hint=f"tt resume {push.agent}, or name another; nothing was sent",
                )

    def unplanned(self) -> tuple[PlanTask, ...]:
        """Entries for the town's tasks that the plan does not have, the oldest first."""
        ids = {task.id for task in self.plan.tasks}
        there = self.town.run(self.town.operations.tasks(limit=_MANY_TASKS))[::-1]
        all_ids = ids | {task.id for task in there}
        return tuple(entry_of(task, self.plan, all_ids) for task in there if task.id not in ids)


def _calls(town: TownClient, push: Push) -> list[Operation[Any]]:
    """The calls that carry out one step of a push, in order."""
    calls, id_ = town.operations, push.task.id
    if push.outcome == "created":
        return [
            calls.add_task(
                **push.fields, task_id=id_, agent=push.agent, finished=push.finish, meta={BASE: push.base or {}}
            )
        ]
    wanted: list[Operation[Any]] = []
    if push.fields:
        wanted.append(calls.update_task(id_, **push.fields))
    if push.agent:
        wanted.append(calls.assign_task(id_, push.agent))
    if push.requeue:
        wanted.append(calls.requeue_task(id_, reason="the plan names no agent any more"))
    if push.hold:
        wanted.append(calls.hold_task(id_, reason=push.hold, until=push.task.held_until))
    elif push.hold is not None:
        wanted.append(calls.release_task(id_))
    if push.finish:
        verb: Any = _VERBS[push.finish]
        wanted.append(calls.settle_task(verb, id_, text="said by the plan"))
    if push.base is not None:
        wanted.append(calls.set_task_meta(id_, BASE, push.base))
    return wanted


def _ask_all(town: TownClient, calls: Sequence[Operation[Any]]) -> list[Any]:
    """What the town answers; None in the place of what it does not have, or what a word is no clear name of."""
    answers: list[Any] = []
    for begin in range(0, len(calls), _AT_ONCE):
        answers += town.client.run_all(calls[begin : begin + _AT_ONCE])
    for answer in answers:
        if isinstance(answer, TinytownError) and answer.code not in ("not_found", "ambiguous", "refused"):
            raise answer
    return [None if isinstance(answer, TinytownError) else answer for answer in answers]


def _run_all(town: TownClient, calls: Sequence[Operation[Any]]) -> None:
    """Raises the first error; what was done before it stays done, and the same again goes on from there."""
    for begin in range(0, len(calls), _AT_ONCE):
        town.run_all(calls[begin : begin + _AT_ONCE])


def _write(path: Path, text: str, plan: Plan, pulls: Sequence[Pull], added: Sequence[PlanTask]) -> None:
    from tinytown_plans.writing import write_back  # late: a push does without the module that changes files

    written = write_back(text, plan, {pull.id: pull.values for pull in pulls if pull.values}, added)
    if written != text:
        read_plan(written, str(path))  # a task of the town that no plan can hold is an error before the file is touched
        replace_text_file(path, written, was=text)


def _answer(
    context: CliContext,
    direction: str,
    path: Path,
    report: Sequence[tuple[str, str, Sequence[str], str]],
    *,
    dry_run: bool,
) -> None:
    counts = Counter(outcome for _, outcome, _, _ in report)
    totals = {outcome: counts[outcome] for outcome in ("created", "updated", "unchanged", "skipped")}
    tasks = [
        {"id": id_, "outcome": outcome, "changes": list(changes), "reason": reason}
        for id_, outcome, changes, reason in report
    ]
    rows = [
        (outcome, id_, ", ".join(changes), reason) for id_, outcome, changes, reason in report if outcome != "unchanged"
    ]
    lines = table(("what", "task", "changes", "why"), rows) if rows else []
    said = ", ".join(f"{number} {outcome}" for outcome, number in totals.items())
    lines.append(f"{said}: {direction} of {path}" + (" (a dry run: nothing was changed)" if dry_run else ""))
    shape = {"direction": direction, "file": str(path), "dry_run": dry_run, **totals, "tasks": tasks}
    context.emit(shape, lines)
