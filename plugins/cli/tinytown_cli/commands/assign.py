"""``tt assign``: one task for an agent, or many from a file in one step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import click
from tinytown.errors import Refused, UsageError
from tinytown.model.text import counted

from tinytown_cli.context import CliContext, pass_cli_context, start_where_needed
from tinytown_cli.framework import TownCommand
from tinytown_cli.new_task import TaskOptions, add_task, read_meta, task_options
from tinytown_cli.params import AGENT, no_start_option, read_text, split_list

if TYPE_CHECKING:
    from tinytown.model.results import Assigned
    from tinytown.protocol import Operation

    from tinytown_cli.client import TownClient
    from tinytown_cli.task_lines import TaskLine


@click.command(
    cls=TownCommand,
    examples=[
        "tt assign worker 'add a --dry-run option to the importer'",
        "tt assign rita - --title 'review the importer' --needs 1f3a < review.md",
        "tt assign worker 'list the modules without tests' --schema modules.json",
        "tt assign ben 'build the server' --fork-session-of ada   # it knows what ada has read and decided",
        "tt assign worker --file todo.txt   # one task per line",
        """echo '{"agent": "rita", "text": "review it", "key": "review-7"}' | tt assign -""",
    ],
)
@click.argument("agent", required=False, type=AGENT)
@click.argument("text", required=False)
@task_options(tags="Tags to find it by.", role="The role that the task is for.")
@click.option(
    "--fork-session-of",
    default="",
    metavar="AGENT",
    type=AGENT,
    help="Start it from a copy of the session that this agent has now.",
)
@click.option("--file", "file", metavar="FILE", help="Assign many tasks, one per line; - reads standard input.")
@click.option(
    "--key", default="", metavar="KEY", help="With --file: add a line of this key once, however often it is run."
)
@no_start_option
@pass_cli_context
def assign(
    context: CliContext,
    agent: str | None,
    text: str | None,
    fork_session_of: str,
    file: str | None,
    key: str,
    no_start: bool,
    **options: Unpack[TaskOptions],
) -> None:
    """Assign a task to AGENT, described by TEXT (- reads standard input).

    With --file, or with - alone, many tasks at once: each line is the text of a task for AGENT, or a JSON object with text and,
    as needed, agent, key, title, priority, needs, tags, role and parent. The options are defaults for all of them. A line with
    a key is added once: the key is the id of its task, and others need it by that. A line that is not valid refuses them all.

    With --fork-session-of, the model begins with everything that the other agent's has read and decided by then, and that agent
    continues in its own session. Both need the same CLI; a task whose copy cannot be made fails.
    """
    if file is None and agent == "-" and text is None:
        agent, file = None, "-"
    if file is not None:
        _assign_all(context, file, agent or "", text, key, fork_session_of, options, no_start=no_start)
        return
    if agent is None or text is None or key:
        raise UsageError(
            f"expected an agent and a text, or --file{' with --key' * bool(key)}",
            hint="tt assign worker 'what to do', or tt assign worker --file FILE",
        )
    description = read_text(text)
    with context.open_town() as town:
        tables = _fork(town, fork_session_of, [agent]) if fork_session_of else {}
        assigned = add_task(context, town, description, agent=agent, tables=tables, **options)
        start_where_needed(context, town, may_start=not no_start)
    task = assigned.task
    context.emit(
        {"task_id": task.id, "agent": task.assigned_to, "message_id": assigned.message_id, "state": task.state},
        f"task {task.id} is {task.state} to {task.assigned_to}" + (f": {task.reason}" if task.reason else ""),
    )


def _assign_all(
    context: CliContext,
    path: str,
    agent: str,
    text: str | None,
    key: str,
    fork_session_of: str,
    options: TaskOptions,
    *,
    no_start: bool,
) -> None:
    from tinytown.errors import TinytownError

    from tinytown_cli.bulk import add_all
    from tinytown_cli.task_lines import read_task_lines

    if text is not None or options["title"] or options["hold"] is not None or options["hold_until"] is not None:
        raise UsageError("expected no text, --title or --hold with --file: each line is a task of its own")
    defaults: dict[str, Any] = {
        "agent": agent,
        "priority": options["priority"],
        "needs": split_list(options["needs"]),
        "tags": split_list(options["tags"]),
        "role": options["role"],
        "parent": options["parent"],
        "meta": read_meta(options["schema"]),
    }
    lines = read_task_lines(path, key=key, defaults=defaults)
    with context.open_town() as town:
        agents = dict.fromkeys(line.task["agent"] for line in lines)
        known = town.run_all([town.operations.agent(name) for name in agents])  # one error, not one for each line
        ids = dict(zip(agents, (found.id for found in known), strict=True))
        tables = _fork(town, fork_session_of, agents) if fork_session_of else {}
        adding = _operations(town, lines, ids, tables)
        with context.progress("assigning") as progress:
            results = add_all(town, adding, on_progress=lambda done: progress.update(done=done, total=len(adding)))
        start_where_needed(context, town, may_start=not no_start)
    problems = [
        {"line": line.number, "error": result.message}
        for line, result in zip(lines, results, strict=True)
        if isinstance(result, TinytownError) and result.code != "exists"
    ]
    shapes = [*_shapes(lines, results)]
    created = sum(shape["created"] for shape in shapes)
    counts = f"assigned {counted(created, 'task')}, {len(shapes) - created:,} already there"
    problem_lines = [f"line {problem['line']}: {problem['error']}" for problem in problems]
    context.emit(
        {"created": created, "known": len(shapes) - created, "tasks": shapes, "problems": problems},
        [counts, *problem_lines],
    )
    if problems:
        raise Refused(
            f"{counted(len(problems), 'line')} of {len(lines):,} could not be assigned; the others are",
            hint="fix them, and run it again with --key, or with a key in each line",
            code="partly_done",
        )


def _fork(town: TownClient, source: str, agents: Iterable[str]) -> dict[str, Any]:
    """The table of tasks that start from a copy of the source's session. Raises: Refused if one of the agents cannot do that."""
    from tinytown_cli.session_forks import check_forks, fork_table

    having, *others = town.run_all([town.operations.agent(name) for name in (source, *agents)])
    table = fork_table(having)
    check_forks(town, having, others)
    return table


def _operations(
    town: TownClient, lines: Sequence[TaskLine], ids: Mapping[str, str], tables: Mapping[str, Any]
) -> list[Operation[Assigned]]:
    """What adds each line's task; `ids` are those of the agents, `tables` are beside each task.

    Raises: UsageError that names the lines that are not valid.
    """
    operations: list[Operation[Assigned]] = []
    problems: list[str] = []
    for line in lines:
        try:
            details: dict[str, Any] = {**line.task, "agent": ids[line.task["agent"]]}
            details["meta"] = {**details["meta"], **tables}
            operations.append(town.operations.add_task(**details))
        except UsageError as error:
            problems.append(f"line {line.number}: {error}")
    if problems:
        from tinytown_cli.task_lines import refuse_lines

        refuse_lines(problems)
    return operations


def _shapes(lines: Sequence[TaskLine], results: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """Each task that is there now."""
    for line, result in zip(lines, results, strict=True):
        if hasattr(result, "task"):
            task = result.task
            found = {
                "task_id": task.id,
                "agent": task.assigned_to,
                "state": task.state,
                "message_id": result.message_id,
            }
            yield {"line": line.number, "created": True, **found}
        elif result.code == "exists":
            yield {"line": line.number, "created": False, "task_id": line.task["task_id"]}
