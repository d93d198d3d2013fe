"""``tt sling``: work for an agent, which is added if it does not exist, and a kernel that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import click
from tinytown.errors import NotFound, Refused, TinytownError
from tinytown.model.messages import Informational
from tinytown.model.tasks import Task
from tinytown_cli.public import (
    TASK,
    CliContext,
    TownClient,
    TownCommand,
    add_agent,
    no_start_option,
    pass_cli_context,
    read_text,
    start_where_needed,
)

from tinytown_gastown.formulas.commands import planned_run, run_lines
from tinytown_gastown.formulas.library import FormulaLibrary
from tinytown_gastown.formulas.run import Run, create_run
from tinytown_gastown.verbs.addresses import last_name
from tinytown_gastown.verbs.choose_agent import free_name, idle_agent


@click.command(
    cls=TownCommand,
    examples=[
        "tt sling 1f3a worker",
        "tt sling 1f3a 77b0 worker",
        "tt sling 1f3a --args 'keep the old flag working'",
        "tt sling feature rita --var feature='a --dry-run option'",
        "tt sling review --on 1f3a --var branch=topic",
    ],
)
@click.argument("words", nargs=-1, required=True, metavar="TASK...|FORMULA [AGENT]")
@click.option(
    "--on", "on_task", default="", type=TASK, metavar="TASK", help="The task that the formula's run is part of."
)
@click.option("--formula", "formula_name", default="", help="The formula to run on the task.")
@click.option("--var", "values", multiple=True, metavar="NAME=VALUE", help="Set a variable of the formula.")
@click.option("--name", "run_name", metavar="RUN", help="The name of the formula's run.")
@click.option(
    "-a", "--args", "note", default="", metavar="TEXT", help="A message for the agent; - reads standard input."
)
@click.option("-s", "--subject", default="", help="The first line of the message.")
@click.option("-m", "--message", default="", metavar="TEXT", help="The same as --args.")
@click.option("--stdin", is_flag=True, help="Read the message from standard input.")
@click.option("--cli", "--agent", "cli", default="", metavar="KIND", help="The kind of an agent that is created.")
@click.option("--role", default="", help="The role of the agent that is chosen or created.")
@click.option("--crew", default="", metavar="AGENT", help="The same as AGENT.")
@click.option("--review-only", is_flag=True, help="Tell the agent to change nothing.")
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--create", "--force", "--no-convoy", "--owned", "--no-merge", "--no-boot", "--hook-raw-bead", "--ralph", "flag",
              is_flag=True, help="Has no effect.")  # fmt: skip
@click.option("--merge", "--base-branch", "--account", "--max-concurrent", "setting", help="Has no effect.")
@no_start_option
@pass_cli_context
def sling(
    context: CliContext, words: tuple[str, ...], on_task: str, formula_name: str, values: tuple[str, ...], run_name: str | None,
    note: str, subject: str, message: str, stdin: bool, cli: str, role: str, crew: str, review_only: bool, dry_run: bool,
    flag: bool, setting: str | None, no_start: bool,
) -> None:  # fmt: skip
    """Assign TASK, several tasks, or all tasks of FORMULA, to AGENT, and start it.

    A missing AGENT is created. Without AGENT an idle agent is chosen for each task, or a new one created. An address such as
    shop/polecats/nux means the agent nux.
    """
    parts = [subject.strip(), read_text("-" if stdin else note or message).strip() if note or message or stdin else ""]
    parts += ["This is for review only: change nothing, and report what you find."] if review_only else []
    note_text = "\n\n".join(part for part in parts if part)
    with context.open_town() as town:
        work, agent = _split_target(town, words, crew)
        if formula_name:
            (on_task,), work = work, [formula_name]
        lines: list[str] = []
        answer: dict[str, Any] = {"agent": None, "spawned": False, "run": None, "dry_run": dry_run, "task_ids": ()}
        for word in work:
            task = _task_or_none(town, word) if not (values or on_task or run_name) else None
            wanted_role = role or (task.role if task else "") or ""
            taker = _Taker(*_taker(town, agent, task, cli=cli, role=role), cli, wanted_role)
            answer |= {"agent": taker.name, "spawned": answer["spawned"] or (taker.is_new and not dry_run)}
            if task is not None:
                answer["task_ids"] = (*answer["task_ids"], task.id)
                lines.append(_sling_task(context, town, task, taker, note_text, dry_run=dry_run))
            else:
                planned, shown = _sling_formula(
                    context, town, word, run_name, values, taker, note_text, on=on_task, dry_run=dry_run
                )
                lines += shown
                ids = tuple(planned_task.id for planned_task in planned.tasks)
                answer |= {"run": planned.name, "task_ids": (*answer["task_ids"], *ids)}
        if not dry_run:
            answer["kernel"] = start_where_needed(context, town, may_start=not no_start)
    context.emit(answer, lines)


def _split_target(town: TownClient, words: Sequence[str], crew: str) -> tuple[list[str], str]:
    """The work and the agent's name, '' for any: the last of several words is the agent unless it is work itself."""
    *work, last = words
    if not work or (last in FormulaLibrary(town.root).files() and len(words) > 2) or _is_task(town, last):
        work, last = list(words), ""
    name = last_name(crew or last)
    # A rig of Gastown is a town: its name leaves the choice to the town.
    return work, "" if name == town.config.name else name


def _is_task(town: TownClient, word: str) -> bool:
    (answer,) = town.client.run_all([town.operations.task(word)])
    return isinstance(answer, Task) and answer.id == word


class _Taker(NamedTuple):
    """The agent for the work: an existing one, or one that has to be created."""

    name: str
    is_new: bool
    cli: str
    role: str


def _sling_task(context: CliContext, town: TownClient, task: Task, taker: _Taker, note: str, *, dry_run: bool) -> str:
    if task.finished or task.state in ("running", "verifying"):
        raise Refused(f"task {task.id} is {task.state} and cannot be reassigned", hint=f"tt task show {task.id}")
    if dry_run:
        return f"task {task.id} would be assigned to {taker.name}{' (a new agent)' if taker.is_new else ''}"
    _add(context, town, taker)
    _notify(town, taker.name, note, f"task {task.id}")
    given = town.run(town.operations.assign_task(task.id, taker.name)).task
    return f"task {given.id} is {given.state}, for {taker.name}" + (f": {given.reason}" if given.reason else "")


def _sling_formula(
    context: CliContext,
    town: TownClient,
    name: str,
    run_name: str | None,
    words: Sequence[str],
    taker: _Taker,
    note: str,
    *,
    on: str,
    dry_run: bool,
) -> tuple[Run, list[str]]:
    # Everything is checked before an agent is chosen: a formula that cannot run adds no agent.
    planned = planned_run(context, town, name, run_name, words, on=on)
    created = existing = 0
    if not dry_run:
        _add(context, town, taker)
        planned = planned_run(context, town, name, run_name, words, agent=taker.name, on=on)
        made = create_run(town, planned, owner=town.caller.agent_name or town.caller.address)
        created, existing = len(made.created), len(made.existing)
        _notify(town, taker.name, note, planned.name)
    lines = run_lines(planned, created=created, existing=existing, dry_run=dry_run)
    return planned, [*lines, f"all tasks {'would be' if dry_run else 'are'} assigned to {taker.name}"]


def _task_or_none(town: TownClient, word: str) -> Task | None:
    """The task that `word` refers to; None for a formula's name. An exact task id wins over a formula, and that over the
    beginning of a task id: the ids of a run begin with its formula's name.
    """
    (answer,) = town.client.run_all([town.operations.task(word)])
    if isinstance(answer, Task) and answer.id == word:
        return answer
    if word in FormulaLibrary(town.root).files() or isinstance(answer, NotFound):
        return None
    if isinstance(answer, TinytownError):
        raise answer
    nearest: Task = answer
    return nearest


def _taker(town: TownClient, agent: str, task: Task | None, *, cli: str, role: str) -> tuple[str, bool]:
    """The name of the agent for the work, and whether it has to be created."""
    agents = town.run(town.operations.agents())
    if agent:
        try:
            return town.run(town.operations.agent(agent)).name, False
        except NotFound:
            return agent, True
    chosen = idle_agent(agents, task, cli=cli, role=role)
    return (chosen.name, False) if chosen else (free_name(agents), True)


def _add(context: CliContext, town: TownClient, taker: _Taker) -> None:
    if taker.is_new:
        agent, _ = add_agent(context, town, taker.name, cli=taker.cli or None, role=taker.role)
        context.warn(f"{agent.name} created, kind {agent.cli}")


def _notify(town: TownClient, agent: str, text: str, about: str) -> None:
    if text:
        body = Informational(summary=f"About {about}: {text}")
        town.run(town.operations.send(agent, body, sender=town.caller.address))
