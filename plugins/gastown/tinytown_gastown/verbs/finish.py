"""``tt done`` and ``tt handoff``. Inside a round they act as its agent, with its token; the town decides what is legal."""

from __future__ import annotations

from typing import Any, Literal

import click
from tinytown.errors import Refused, UsageError
from tinytown.model.messages import Informational, Query
from tinytown.model.tasks import Task
from tinytown_cli import administration
from tinytown_cli.public import (
    AGENT,
    TASK,
    CliContext,
    TownClient,
    TownCommand,
    pass_cli_context,
    read_text,
    task_shape,
)

from tinytown_gastown.verbs.addresses import find_agent

Status = Literal["completed", "escalated", "deferred"]


@click.command(
    cls=TownCommand,
    examples=["tt done --result 'see src/count.py'", "tt done --status escalated --result 'the API key is missing'"],
)
@click.argument("task_word", metavar="[TASK]", required=False, default="", type=TASK)
@click.option("--issue", default="", type=TASK, metavar="TASK", help="The same as TASK.")
@click.option("--status", type=click.Choice(["completed", "escalated", "deferred"], case_sensitive=False), default="completed",
              show_default=True, help="How it ended.")  # fmt: skip
@click.option("--result", default="", metavar="TEXT", help="The result, or the reason; - reads standard input.")
@click.option(
    "--pre-verified", "--resume", "verified", is_flag=True, help="Has no effect: the town's gates verify work."
)
@click.option(
    "--target", "--cleanup-status", "-p", "--priority", "target", help="Has no effect: there is no merge queue."
)
@pass_cli_context
def done(
    context: CliContext, task_word: str, issue: str, status: Status, result: str, verified: bool, target: str | None
) -> None:
    """Report how a task ended. Inside a round, its own task by default.

    completed: it is done, subject to the town's gates. escalated: a person has to decide; the supervisor is
    asked, and the task is held. deferred: not now; the task is held until tt task release.
    """
    words = read_text(result)
    with context.open_town() as town:
        caller = town.caller
        word = task_word or issue or caller.task_id
        if not word:
            raise UsageError("expected a task (there is no default outside of a round)", hint="tt task list shows them")
        if status == "completed":
            settle = town.operations.settle_task
            ended = (
                settle("submit", word, text=words, by=caller.agent, token=caller.task_token)
                if caller.is_agent
                else settle("complete", word, text=words)
            )
            task = town.run(ended)
        else:
            if not words.strip() and status == "escalated" and not caller.is_agent:
                raise UsageError("expected --result with the question that a person has to decide")
            words = words.strip() or "no reason given"
            task = _put_off(town, town.run(town.operations.task(word)), status, words)
    context.emit(task_shape(task), f"task {task.id} is {task.state}" + (f": {task.reason}" if task.reason else ""))


def _put_off(town: TownClient, task: Task, status: str, words: str) -> Task:
    """Hold a task, and ask a person if it is escalated. In one batch: holding it may end the round that we run in."""
    calls: list[Any] = []
    if status == "escalated":
        question = Query(question=f"{task.headline} ({task.id}) needs a decision: {words}")
        calls.append(town.operations.send("supervisor", question, sender=town.caller.address, priority="urgent"))
    calls.append(administration.hold_task(town.operations.keys, task.id, reason=f"{status}: {words}"[:1000]))
    held: Task = town.run_all(calls)[-1]
    return held


@click.command(
    cls=TownCommand,
    examples=[
        "tt handoff -m 'the parser is done, the tests of the writer fail'",
        "tt handoff --to rita -m 'needs your eyes'",
    ],
)
@click.option("-m", "--message", default="", metavar="TEXT", help="Notes for the next round; - reads standard input.")
@click.option("-s", "--subject", default="", help="The first line of the message.")
@click.option("--stdin", is_flag=True, help="Read the notes from standard input.")
@click.option("-r", "--reason", default="", help="Why, added to the message.")
@click.option("-c", "--collect", is_flag=True, help="Add the other tasks of the agent to the message.")
@click.option("--auto", "--cycle", "-y", "--yes", "--no-git-check", "auto", is_flag=True, help="Has no effect.")
@click.option(
    "--to", "taker", default="", type=AGENT, metavar="AGENT", help="Who continues.  [default: the current agent]"
)
@click.option(
    "--task", "task_word", default="", type=TASK, metavar="TASK", help="The task.  [default: the one of this round]"
)
@pass_cli_context
def handoff(
    context: CliContext,
    message: str,
    subject: str,
    stdin: bool,
    reason: str,
    collect: bool,
    auto: bool,
    taker: str,
    task_word: str,
) -> None:
    """End the round of a task and continue it in a new one, of the same or another agent, with a message."""
    text = read_text("-" if stdin else message).strip() if message or stdin else ""
    parts = [subject, text, f"Reason: {reason}" if reason else ""]
    with context.open_town() as town:
        word = task_word or town.caller.task_id
        if not word:
            raise UsageError("expected --task (there is no default outside of a round)", hint="tt task list shows them")
        task = town.run(town.operations.task(word))
        taker_agent = find_agent(town, taker or task.agent_id or "") if taker or task.agent_id else None
        if taker_agent is None:
            raise Refused(f"task {task.id} has no agent", hint="name one with --to AGENT")
        if collect:
            others = town.run(town.operations.tasks(agent=taker_agent.id, limit=100))
            parts += [
                f"- {other.id} is {other.state}: {other.headline}"
                for other in others
                if not other.finished and other.id != task.id
            ]
        words = "\n\n".join(part for part in parts if part)
        # All at once: the first of these may end the round that we run in.
        calls: list[Any] = [administration.hold_task(town.operations.keys, task.id, reason="handed over")]
        if words:
            note = Informational(summary=f"Handoff: {task.headline} ({task.id}): {words}")
            calls.insert(0, town.operations.send(taker_agent.id, note, sender=town.caller.address, priority="high"))
        if taker_agent.id != task.agent_id:
            calls.append(town.operations.assign_task(task.id, taker_agent.id))
        calls.append(administration.release_task(town.operations.keys, task.id))
        given: Task = town.run_all(calls)[-1]
    context.emit(
        {
            "task_id": given.id,
            "agent": given.assigned_to,
            "state": given.state,
            "message_sent": bool(words),
            "told": bool(words),
        },
        f"task {given.id} is {given.state}, for {given.assigned_to}",
    )
