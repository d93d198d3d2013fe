"""``tt sling``, ``tt hook``, ``tt prime``, ``tt done`` and ``tt handoff``: giving out work, having it, ending it.

Inside a round they act as the agent whose round it is, with its token; nothing here decides what is legal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import click
from tinytown.errors import NotFound, Refused, TinytownError, UsageError
from tinytown.model.agents import Agent
from tinytown.model.messages import Informational, Query
from tinytown.model.tasks import Task
from tinytown_beads.groups.record import PLUGIN
from tinytown_beads.notes import note_sections
from tinytown_cli.public import (
    AGENT,
    TASK,
    CliContext,
    TownClient,
    TownCommand,
    add_agent,
    no_start_option,
    pass_cli_context,
    read_text,
    start_where_needed,
    task_shape,
)

from tinytown_gastown.formulas.commands import planned_run, run_lines
from tinytown_gastown.formulas.reading import Shelf
from tinytown_gastown.formulas.running import Run, make_run
from tinytown_gastown.verbs.choosing import free_name, idle_agent


@click.command(
    cls=TownCommand,
    examples=[
        "tt sling 1f3a worker",
        "tt sling 1f3a --args 'keep the old flag working'",
        "tt sling feature rita --var feature='a --dry-run option'",
        "tt sling review --on 1f3a --var branch=topic",
    ],
)
@click.argument("work", metavar="TASK|FORMULA")
@click.argument("agent", required=False, default="")
@click.option(
    "--on", "on_task", default="", type=TASK, metavar="TASK", help="The task that the formula is a way to do."
)
@click.option("--var", "words", multiple=True, metavar="NAME=VALUE", help="A value for one of the formula's variables.")
@click.option("--name", "run_name", metavar="RUN", help="What the formula's run is called.")
@click.option(
    "--args", "note", default="", metavar="TEXT", help="What the agent is to know besides; - reads standard input."
)
@click.option("--cli", default="", metavar="KIND", help="The kind of an agent that has to be added.")
@click.option("--role", default="", help="What an agent has to be for, or is added for.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@no_start_option
@pass_cli_context
def sling(
    context: CliContext,
    work: str,
    agent: str,
    on_task: str,
    words: tuple[str, ...],
    run_name: str | None,
    note: str,
    cli: str,
    role: str,
    dry_run: bool,
    no_start: bool,
) -> None:
    """Give TASK, or all tasks of FORMULA, to AGENT, and see that it begins.

    An AGENT that is not there is added. Without AGENT it is one that has nothing to do, else a new one.
    """
    told = read_text(note).strip() if note else ""
    with context.open_town() as town:
        task = _task_or_none(town, work) if not (words or on_task or run_name) else None
        taker = _Taker(*_taker(town, agent, task, cli=cli, role=role), cli, role or (task.role if task else "") or "")
        answer: dict[str, Any] = {
            "agent": taker.name, "spawned": taker.is_new and not dry_run, "run": None, "dry_run": dry_run,
        }  # fmt: skip
        if task is not None:
            answer["task_ids"] = (task.id,)
            lines = [_sling_task(context, town, task, taker, told, dry_run=dry_run)]
        else:
            planned, lines = _sling_formula(
                context, town, work, run_name, words, taker, told, on=on_task, dry_run=dry_run
            )
            answer |= {"run": planned.name, "task_ids": tuple(each.id for each in planned.tasks)}
        if not dry_run:
            answer["kernel"] = start_where_needed(context, town, may_start=not no_start)
    context.emit(answer, lines)


class _Taker(NamedTuple):
    """Who gets the work: an agent of the town, or one that has to be added for it."""

    name: str
    is_new: bool
    cli: str
    role: str


def _sling_task(context: CliContext, town: TownClient, task: Task, taker: _Taker, told: str, *, dry_run: bool) -> str:
    if task.finished or task.state in ("running", "verifying"):
        raise Refused(f"task {task.id} is {task.state} and cannot be given away", hint=f"tt task show {task.id}")
    if dry_run:
        return f"task {task.id} would go to {taker.name}{', a new agent' if taker.is_new else ''}"
    _add(context, town, taker)
    _tell(town, taker.name, told, f"task {task.id}")
    given = town.run(town.operations.assign_task(task.id, taker.name)).task
    return f"task {given.id} is {given.state}, for {taker.name}" + (f": {given.reason}" if given.reason else "")


def _sling_formula(
    context: CliContext,
    town: TownClient,
    name: str,
    run_name: str | None,
    words: Sequence[str],
    taker: _Taker,
    told: str,
    *,
    on: str,
    dry_run: bool,
) -> tuple[Run, list[str]]:
    # Everything is looked at with nobody's name first: a formula that cannot run adds no agent.
    planned = planned_run(context, town, name, run_name, words, on=on)
    created = existing = 0
    if not dry_run:
        _add(context, town, taker)
        planned = planned_run(context, town, name, run_name, words, agent=taker.name, on=on)
        made = make_run(town, planned, owner=town.caller.agent_name or town.caller.address)
        created, existing = len(made.created), len(made.existing)
        _tell(town, taker.name, told, planned.name)
    lines = run_lines(planned, created=created, existing=existing, dry_run=dry_run)
    return planned, [*lines, f"all of it {'would go' if dry_run else 'goes'} to {taker.name}"]


def _task_or_none(town: TownClient, word: str) -> Task | None:
    """The task that `word` means; None when it is a formula's name. A task with just this id goes before a formula of the
    name, and that before a task whose id only begins so: the tasks of a run begin with its formula's name."""
    (found,) = town.client.run_all([town.operations.task(word)])
    if isinstance(found, Task) and found.id == word:
        return found
    if word in Shelf(town.root).files() or isinstance(found, NotFound):
        return None
    if isinstance(found, TinytownError):
        raise found
    nearest: Task = found
    return nearest


def _taker(town: TownClient, agent: str, task: Task | None, *, cli: str, role: str) -> tuple[str, bool]:
    """The name of the agent that gets the work, and whether it has to be added."""
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
        context.warn(f"{agent.name} has joined, of the kind {agent.cli}")


def _tell(town: TownClient, agent: str, text: str, about: str) -> None:
    if text:
        body = Informational(summary=f"About {about}: {text}")
        town.run(town.operations.send(agent, body, sender=town.caller.address))


@click.command(cls=TownCommand, examples=["tt hook", "tt hook worker"])
@click.argument("agent", required=False, type=AGENT, default="")
@pass_cli_context
def hook(context: CliContext, agent: str) -> None:
    """Show what AGENT has to do: the task it works on or begins next, and what waits behind it. Inside a round: yours."""
    with context.open_town() as town:
        found = _whose(town, agent)
        task, others = _work_of(town, found)
    answer = {
        "agent": found.name,
        "task": task_shape(task) if task else None,
        "waiting": [task_shape(each) for each in others],
    }
    lines = (
        [f"on the hook of {found.name}: {task.id}, {task.state}", task.title or "", task.description] if task else []
    )
    lines = [line for line in lines if line] or [f"nothing is on the hook of {found.name}"]
    lines += [f"then {each.id}, {each.state}: {each.headline}" for each in others]
    context.emit(answer, lines)


def _whose(town: TownClient, agent: str) -> Agent:
    if not (agent or town.caller.agent):
        raise UsageError("expected an agent: outside of a round there is no own one", hint="tt list shows them")
    return town.run(town.operations.agent(agent or town.caller.agent))


def _work_of(town: TownClient, agent: Agent) -> tuple[Task | None, list[Task]]:
    """The task that an agent works on or begins next, and its other open ones in their order."""
    open_tasks = [task for task in town.run(town.operations.tasks(agent=agent.id, limit=1000)) if not task.finished]
    rank = {"running": 0, "verifying": 1, "assigned": 2}
    urgency = ("urgent", "high", "normal", "low")
    open_tasks.reverse()  # the oldest first, inside what is alike
    order = sorted(open_tasks, key=lambda each: (rank.get(each.state, 3), urgency.index(each.priority)))
    if order and order[0].state in rank:
        return order[0], order[1:]
    return None, order


@click.command(cls=TownCommand, examples=["tt prime", "tt prime worker"])
@click.argument("agent", required=False, type=AGENT, default="")
@pass_cli_context
def prime(context: CliContext, agent: str) -> None:
    """Print what AGENT has to know to go on: who it is, its task, its mail, notes. Inside a round: for yourself.

    It is made from what the town knows now, so it can be asked for again whenever something was forgotten.
    """
    with context.open_town() as town:
        found = _whose(town, agent)
        task, others = _work_of(town, found)
        mail = town.run(town.operations.peek(found.id, limit=50)).messages
        others_here = [each.name for each in town.run(town.operations.agents()) if each.id != found.id]
        data = town.run(town.operations.plugin_data(PLUGIN))
    parts = [
        f"# You are {found.name}{f', {found.role}' if found.role else ''}, an agent of the town {town.config.name}"
    ]
    if task:
        parts.append(
            f"## On your hook: task {task.id}, {task.state}\n\n{task.title}\n\n{task.description}".replace(
                "\n\n\n\n", "\n\n"
            )
        )
        parts += [f"Why it is there: {task.reason}"] if task.reason else []
    else:
        parts.append("## Nothing is on your hook\n\n`tt ready` shows what could be done, `tt inbox` your mail.")
    if others:
        parts.append("## Behind it\n\n" + "\n".join(f"- {each.id} ({each.state}): {each.headline}" for each in others))
    letters = [each.message for each in mail if each.message is not None and each.message.type != "task_assign"]
    if letters:
        told = [f"- {each.type} from {each.sender}: {each.text.strip()[:500]}" for each in letters]
        parts.append("## Your mail\n\n" + "\n".join(told))
    parts += note_sections(found, data)
    if others_here:
        parts.append(f"## Who else is here\n\n{', '.join(others_here[:30])}")
    parts.append(
        "## What to type\n\n"
        "`tt done --result TEXT` when it is done, `tt done --status escalated --result WHY` when a person has to look at it, "
        "`tt handoff -m TEXT` to go on afresh, `tt escalate TEXT` for help, `tt remember TEXT` for what others should know."
    )
    text = "\n\n".join(part.strip() for part in parts)
    answer = {
        "agent": found.name, "role": found.role, "town": town.config.name, "text": text,
        "task": task_shape(task) if task else None, "waiting": [each.id for each in others], "mail": len(letters),
    }  # fmt: skip
    context.emit(answer, text)


Status = Literal["completed", "escalated", "deferred"]


@click.command(
    cls=TownCommand,
    examples=["tt done --result 'see src/count.py'", "tt done --status escalated --result 'the API key is missing'"],
)
@click.argument("task_word", metavar="[TASK]", required=False, default="", type=TASK)
@click.option("--status", type=click.Choice(["completed", "escalated", "deferred"]), default="completed", show_default=True,
              help="How it ended.")  # fmt: skip
@click.option(
    "--result", default="", metavar="TEXT", help="What came of it, or why it did not; - reads standard input."
)
@pass_cli_context
def done(context: CliContext, task_word: str, status: Status, result: str) -> None:
    """Say how a task ended. Inside a round: the round's own by default.

    completed: it is done; the town's gates may have to agree. escalated: a person has to look at it; the supervisor is
    asked, and the task is held. deferred: not now; the task is held until tt task release.
    """
    words = read_text(result)
    with context.open_town() as town:
        caller = town.caller
        word = task_word or caller.task_id
        if not word:
            raise UsageError(
                "expected a task: outside of a round there is no current one", hint="tt task list shows them"
            )
        if status == "completed":
            settle = town.operations.settle_task
            ended = (
                settle("submit", word, text=words, by=caller.agent, token=caller.task_token)
                if caller.is_agent
                else settle("complete", word, text=words)
            )
            task = town.run(ended)
        else:
            if not words.strip():
                raise UsageError(f"expected --result with the reason why it is {status}")
            task = _put_off(town, town.run(town.operations.task(word)), status, words)
    context.emit(task_shape(task), f"task {task.id} is {task.state}" + (f": {task.reason}" if task.reason else ""))


def _put_off(town: TownClient, task: Task, status: str, words: str) -> Task:
    """Hold a task, and tell a person when one has to look. In one go: holding it ends the round that we may run in."""
    calls: list[Any] = []
    if status == "escalated":
        question = Query(question=f"{task.headline} ({task.id}) needs a person: {words}")
        calls.append(town.operations.send("supervisor", question, sender=town.caller.address, priority="urgent"))
    calls.append(town.operations.hold_task(task.id, reason=f"{status}: {words}"[:1000]))
    held: Task = town.run_all(calls)[-1]
    return held


@click.command(
    cls=TownCommand,
    examples=[
        "tt handoff -m 'the parser is done, the tests of the writer fail'",
        "tt handoff --to rita -m 'needs your eyes'",
    ],
)
@click.option(
    "-m", "--message", default="", metavar="TEXT", help="What whoever goes on has to know; - reads standard input."
)
@click.option("-s", "--subject", default="", help="A line to begin it with.")
@click.option("--to", "taker", default="", type=AGENT, metavar="AGENT", help="Who goes on.  [default: who has it]")
@click.option(
    "--task", "task_word", default="", type=TASK, metavar="TASK", help="The task.  [default: the round's own]"
)
@pass_cli_context
def handoff(context: CliContext, message: str, subject: str, taker: str, task_word: str) -> None:
    """End the round on a task and have it go on in another one, with what you leave as mail: yours, or another agent's."""
    words = "\n\n".join(part for part in (subject, read_text(message).strip() if message else "") if part)
    with context.open_town() as town:
        word = task_word or town.caller.task_id
        if not word:
            raise UsageError(
                "expected --task: outside of a round there is no current one", hint="tt task list shows them"
            )
        task = town.run(town.operations.task(word))
        found = town.run(town.operations.agent(taker or task.agent_id or "")) if taker or task.agent_id else None
        if found is None:
            raise Refused(f"task {task.id} is nobody's", hint="--to AGENT gives it to somebody")
        # All at once: the first of these may end the round that we run in.
        calls: list[Any] = [town.operations.hold_task(task.id, reason="is handed over")]
        if words:
            note = Informational(summary=f"Handed over, {task.headline} ({task.id}): {words}")
            calls.insert(0, town.operations.send(found.id, note, sender=town.caller.address, priority="high"))
        if found.id != task.agent_id:
            calls.append(town.operations.assign_task(task.id, found.id))
        calls.append(town.operations.release_task(task.id))
        given: Task = town.run_all(calls)[-1]
    context.emit(
        {"task_id": given.id, "agent": given.assigned_to, "state": given.state, "told": bool(words)},
        f"task {given.id} is {given.state}, for {given.assigned_to}",
    )
