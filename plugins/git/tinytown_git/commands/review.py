"""``tt approve``, ``reject``, ``diff`` and ``review``: a reviewer's view of the work on a task, and the verdict."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import entry_points

import click
from tinytown.errors import NotFound, UsageError
from tinytown.model.ids import SUPERVISOR
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown.model.time import rfc3339
from tinytown_cli.public import TASK, CliContext, TownClient, TownCommand, pass_cli_context, read_text

from tinytown_git.changes import Changes, read_changes
from tinytown_git.commands.merge import find_work, now_ms, work_lines, work_shape, write_work
from tinytown_git.commands.place import read_settings, run_in_place
from tinytown_git.review import with_review
from tinytown_git.reviewers import REVIEWED
from tinytown_git.work import PLUGIN, Review, Work, field_of, read_work

_TASK = click.argument("task_word", metavar="TASK", type=TASK)
_REASON_BYTES = 10_000
#: Entry points that find what else may be approved: from a town and a word to what does it and says so, or None.
_APPROVALS = "tinytown.approvals"


@click.command(
    cls=TownCommand, examples=["tt approve 1f3a", "tt approve 1f3a --reason 'reads well'"], scope="town.write"
)
@click.argument("task_word", metavar="TASK|QUESTION", type=TASK)
@click.option("--reason", default="", help="A remark (- reads standard input).")
@pass_cli_context
def approve(context: CliContext, task_word: str, reason: str) -> None:
    """Approve the work on a task that waits for a review, or what an agent asks permission for (tt questions).

    An author cannot approve its own work. tt reject sends work back, tt deny refuses a permission.
    """
    with context.open_town() as town:
        permits = [found for entry in entry_points(group=_APPROVALS) if (found := entry.load()(town, task_word))]
        if permits:
            with suppress(NotFound):
                work = find_work(town, task_word)
                raise UsageError(
                    f"both a question and the work on task {work.task} begin with {shown(task_word)!r}",
                    hint="write more of the id",
                    code="ambiguous",
                )
            context.emit(*permits[0]())
            return
    _say(context, task_word, approved=True, reason=reason)


@click.command(cls=TownCommand, examples=["tt reject 1f3a --reason 'no test for the empty list'"], scope="town.write")
@_TASK
@click.option("--reason", required=True, help="What has to change (- reads standard input).")
@pass_cli_context
def reject(context: CliContext, task_word: str, reason: str) -> None:
    """Send the work on a task back to its author, who gets the reason."""
    _say(context, task_word, approved=False, reason=reason)


def _say(context: CliContext, task_word: str, *, approved: bool, reason: str) -> None:
    text = read_text(reason).strip()[:_REASON_BYTES]
    with context.open_town() as town:
        work, caller = find_work(town, task_word), town.caller
        settings = read_settings(town.root, town.config)
        review = Review(
            by=caller.agent_name or SUPERVISOR,
            at=rfc3339(now_ms()),
            approved=approved,
            commit=work.commit,
            reason=text,
        )
        after = with_review(work, review, settings, now_ms())
        if caller.is_agent:
            # Its word is taken by the queue, which knows who says it and what that agent may say.
            members = {
                "task": work.task,
                "commit": work.commit,
                "approved": "yes" if approved else "no",
                "reason": text,
            }
            town.run(town.operations.emit(REVIEWED, members))
            after = work
        else:
            write_work(town, work, after)
    verb = "approved" if approved else "rejected"
    context.emit(work_shape(after), f"{verb} {work.task[:8]} ({work.title})")


@click.command(cls=TownCommand, examples=["tt diff 1f3a", "tt diff 1f3a --stat"], scope="town.read")
@_TASK
@click.option("--stat", is_flag=True, help="Only the names of the files, and how much of each has changed.")
@pass_cli_context
def diff(context: CliContext, task_word: str, stat: bool) -> None:
    """Show what was changed for a task: what was submitted, else what is in its worktree, committed or not."""
    with context.open_town() as town:
        task, work = _task_and_work(town, task_word)
    changes = _read_changes(context, task, work, stat)
    answer = {"task": task.id, "base": changes.base, "until": changes.until, "files": changes.files}
    context.emit(
        answer if stat else {**answer, "diff": changes.text}, changes.text.splitlines() or ["nothing was changed"]
    )


@click.command(cls=TownCommand, examples=["tt review 1f3a"], scope="town.read")
@_TASK
@click.option("--stat", is_flag=True, help="Without the changes themselves.")
@pass_cli_context
def review(context: CliContext, task_word: str, stat: bool) -> None:
    """Show what a reviewer needs in one view: the task, what was said, commits, checks, reviews and changes."""
    with context.open_town() as town:
        task, work = _task_and_work(town, task_word)
    changes = _read_changes(context, task, work, stat)
    lines = work_lines(work) if work else [f"{task.id[:8]}  {task.headline}", f"  state    {task.state}"]
    for heading, text in (("TASK", task.description), ("RESULT", task.result), ("SENT BACK BECAUSE", task.rejection)):
        lines += ["", heading, *(text or "").splitlines()] if text else []
    if changes.commits:
        lines += [
            "",
            "COMMITS",
            *(f"{each['commit'][:12]} {each['author']}: {each['subject']}" for each in changes.commits),
        ]
    lines += ["", "CHANGES", *(changes.text.splitlines() or ["none"])]
    if work and work.stage == "review":
        lines += ["", f"tt approve {task.id[:8]}    tt reject {task.id[:8]} --reason '...'"]
    context.emit(
        {
            "task": task.id,
            "state": task.state,
            "title": task.headline,
            "description": task.description,
            "result": task.result,
            "rejection": task.rejection,
            "work": work_shape(work) if work else None,
            "commits": changes.commits,
            "files": changes.files,
            **({} if stat else {"diff": changes.text}),
        },
        lines,
    )


def _task_and_work(town: TownClient, task_word: str) -> tuple[Task, Work | None]:
    task = town.run(town.operations.task(task_word))
    return task, read_work(town.run(town.operations.plugin_field(PLUGIN, field_of(task.id))))


def _read_changes(context: CliContext, task: Task, work: Work | None, stat: bool) -> Changes:
    return run_in_place(context, lambda place: read_changes(place.worktrees, task, work, stat=stat))
