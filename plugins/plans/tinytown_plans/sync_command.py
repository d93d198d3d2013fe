"""``tt sync``: pushes a plan to its town and pulls progress back. What to change is decided in `comparison`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from tinytown.errors import NotFound, Refused, TinytownError, UsageError
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.protocol import Operation
from tinytown_cli import administration
from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext, pass_cli_context, start_where_needed
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import no_start_option
from tinytown_cli.text_files import replace_text_file

from tinytown_plans.comparison import BASE, Pull, Push, base_table, compare_pull, compare_push, entry_of
from tinytown_plans.plan_command import file_option, load_plan, plan_path
from tinytown_plans.plan_file import Plan, PlanTask, read_plan

#: Operations in one write to the server.
_AT_ONCE = 100
_MANY_TASKS = 10_000

#: Where tasks come from whose plan Tinytown 0.10 has pushed, with the entry's id in a tag; see `tt migrate`.
_MIGRATED_FROM = "tinytown 0.10"

_VERBS = {"completed": "complete", "failed": "fail", "cancelled": "cancel"}


@click.command(
    cls=TownCommand,
    examples=["tt sync push --dry-run", "tt sync", "tt sync pull && git commit -m 'update the plan' tasks.toml"],
    scope="town.write",
    local_options=["file"],
)
@click.argument("direction", type=click.Choice(["push", "pull"]), default="push")
@file_option
@click.option("-n", "--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--new", is_flag=True, help="With pull: add the town's tasks that the plan does not have.")
@no_start_option
@pass_cli_context
def sync(context: CliContext, direction: str, file: str | None, dry_run: bool, new: bool, no_start: bool) -> None:
    """Push the plan to the town, or pull progress back into the plan.

    A task has the same id in the plan and in the town, so a push can be repeated: it creates missing tasks, updates those
    that are not being worked on, and assigns tasks that name an agent. A pull writes status and agent of each task into the
    file and leaves everything else as it is, including comments and changes that are not pushed.
    """
    if new and direction == "push":
        raise UsageError("--new is for tt sync pull: a push always creates missing tasks")
    path = plan_path(context, file)
    plan, text = load_plan(path)
    with context.open_town() as town:
        reader = _Reader(town, plan)
        known = reader.known_tasks()
        if direction == "push":
            pushes = tuple(reader.without_migrated(compare_push(plan, known, reader.agent_name)))
            reader.check_agents(pushes)
            if not dry_run:
                _run_all(town, [operation for push in pushes for operation in _steps(town, push)])
                if any(push.agent for push in pushes):
                    start_where_needed(context, town, may_start=not no_start)
            report = [(push.task.id, push.outcome, push.changes, push.reason) for push in pushes]
        else:
            pulls = compare_pull(plan, known, reader.agent_name)
            added = reader.unplanned() if new else ()
            if not dry_run:
                _write(path, text, plan, pulls, added)
                bases = {pull.id: pull.base for pull in pulls if pull.base}
                bases |= {task.id: base_table(task.status, plan.agent_of(task), task.held) for task in added}
                _run_all(
                    town,
                    [
                        administration.set_task_meta(town.operations.keys, id_, BASE, base)
                        for id_, base in bases.items()
                    ],
                )
            report = [(pull.id, pull.outcome, tuple(pull.values), pull.reason) for pull in pulls]
            report += [(task.id, "created", (), "") for task in added]
    _answer(context, direction, path, report, dry_run=dry_run)


class _Reader:
    """The tasks and agents of a plan as the town has them."""

    def __init__(self, town: TownClient, plan: Plan) -> None:
        self.town = town
        self.plan = plan
        self.names: dict[str, str] = {}
        self.stopped: set[str] = set()

    def known_tasks(self) -> dict[str, Task]:
        """The plan's tasks that are in the town; fills `names` and `stopped` with the agents of both."""
        operations = self.town.operations
        ids = [task.id for task in self.plan.tasks]
        answers = dict(zip(ids, _ask_all(self.town, [operations.task(id_) for id_ in ids]), strict=True))
        # The town accepts a prefix of an id; a plan means the whole id.
        known = {id_: task for id_, task in answers.items() if isinstance(task, Task) and task.id == id_}
        words = {self.plan.agent_of(task) for task in self.plan.tasks}
        words |= {str(task.meta.get(BASE, {}).get("agent", "")) for task in known.values()}
        spelled = sorted(words - {""})
        agents = _ask_all(self.town, [operations.agent(word) for word in spelled])
        for word, agent in zip(spelled, agents, strict=True):
            if isinstance(agent, Agent):
                self.names[word] = agent.name
                if agent.desired_state == "stopped":
                    self.stopped.add(word)
        return known

    def agent_name(self, word: str) -> str:
        return self.names.get(word, word)

    def check_agents(self, pushes: Sequence[Push]) -> None:
        """Check the agents before anything is changed. Raises: NotFound; Refused for a stopped agent."""
        for push in pushes:
            if push.agent and push.agent not in self.names:
                raise NotFound(
                    f"task {push.task.id!r} names the agent {push.agent!r}, which does not exist",
                    hint=f"run tt spawn {push.agent}, or name another agent; nothing was pushed",
                )
            if push.agent in self.stopped:
                raise Refused(
                    f"task {push.task.id!r} names the agent {push.agent!r}, which is stopped",
                    hint=f"run tt resume {push.agent}, or name another agent; nothing was pushed",
                )

    def without_migrated(self, pushes: Sequence[Push]) -> Iterator[Push]:
        """The pushes, but for entries that Tinytown 0.10 had pushed: their tasks were migrated, with ids and a tag of its own."""
        new = [push.task.id for push in pushes if push.outcome == "created"]
        found = _ask_all(
            self.town, [self.town.operations.tasks(tag=_migrated_tag(id_), limit=_MANY_TASKS) for id_ in new]
        )
        migrated = {
            id_: task.id
            for id_, tasks in zip(new, found, strict=True)
            for task in tasks or ()
            if task.origin and task.origin.get("from") == _MIGRATED_FROM
        }
        for push in pushes:
            needs = [migrated.get(need, need) for need in push.fields.get("needs", ())]
            if push.task.id in migrated:
                reason = f"Tinytown 0.10 pushed it as task {migrated[push.task.id]}"
                yield Push(task=push.task, outcome="skipped", reason=reason)
            else:
                yield msgspec.structs.replace(push, fields={**push.fields, "needs": needs}) if needs else push

    def unplanned(self) -> tuple[PlanTask, ...]:
        """Entries for the town's tasks that the plan does not have, the oldest first."""
        ids = {task.id for task in self.plan.tasks}
        town_tasks = self.town.run(self.town.operations.tasks(limit=_MANY_TASKS))[::-1]
        all_ids = ids | {task.id for task in town_tasks}
        return tuple(entry_of(task, self.plan, all_ids) for task in town_tasks if task.id not in ids)


def _migrated_tag(id_: str) -> str:
    return re.sub(r"[^A-Za-z0-9 ._-]+", "-", f"plan:{id_}")[:63]


def _steps(town: TownClient, push: Push) -> list[Operation[Any]]:
    """The operations of one step of a push, in order."""
    operations, id_ = town.operations, push.task.id
    if push.outcome == "created":
        return [
            operations.add_task(
                **push.fields, task_id=id_, agent=push.agent, finished=push.finish, meta={BASE: push.base or {}}
            )
        ]
    steps: list[Operation[Any]] = []
    if push.fields:
        steps.append(administration.update_task(operations, id_, **push.fields))
    if push.agent:
        steps.append(operations.assign_task(id_, push.agent))
    if push.requeue:
        steps.append(administration.requeue_task(operations.keys, id_, reason="the plan no longer names an agent"))
    if push.hold:
        steps.append(administration.hold_task(operations.keys, id_, reason=push.hold, until=push.task.held_until))
    elif push.hold is not None:
        steps.append(administration.release_task(operations.keys, id_))
    if push.finish:
        verb: Any = _VERBS[push.finish]
        steps.append(operations.settle_task(verb, id_, text="settled by the plan"))
    if push.base is not None:
        steps.append(administration.set_task_meta(operations.keys, id_, BASE, push.base))
    return steps


def _ask_all(town: TownClient, operations: Sequence[Operation[Any]]) -> list[Any]:
    """The town's answers; None for what it does not have, and for ambiguous names."""
    answers: list[Any] = []
    for begin in range(0, len(operations), _AT_ONCE):
        answers += town.client.run_all(operations[begin : begin + _AT_ONCE])
    for answer in answers:
        if isinstance(answer, TinytownError) and answer.code not in ("not_found", "ambiguous", "refused"):
            raise answer
    return [None if isinstance(answer, TinytownError) else answer for answer in answers]


def _run_all(town: TownClient, operations: Sequence[Operation[Any]]) -> None:
    """Raises the first error; earlier operations stay done, and repeating the command continues."""
    for begin in range(0, len(operations), _AT_ONCE):
        town.run_all(operations[begin : begin + _AT_ONCE])


def _write(path: Path, text: str, plan: Plan, pulls: Sequence[Pull], added: Sequence[PlanTask]) -> None:
    from tinytown_plans.plan_update import write_back  # late: a push does not need tomlkit

    written = write_back(text, plan, {pull.id: pull.values for pull in pulls if pull.values}, added)
    if written != text:
        read_plan(written, str(path))  # a task that a plan cannot express is an error before the file is changed
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
    lines = table(("outcome", "task", "changes", "reason"), rows) if rows else []
    totals_text = ", ".join(f"{number} {outcome}" for outcome, number in totals.items())
    lines.append(f"{totals_text}: {direction} of {path}" + (" (dry run: nothing was changed)" if dry_run else ""))
    shape = {"direction": direction, "file": str(path), "dry_run": dry_run, **totals, "tasks": tasks}
    context.emit(shape, lines)
