"""The options of commands that add a task, and the addition itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict, TypeVar, Unpack

import click
from tinytown.errors import UsageError
from tinytown.model.messages import Priority
from tinytown.model.results import Assigned
from tinytown.model.text import shown
from tinytown.model.time import rfc3339

from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext
from tinytown_cli.params import MOMENT, PRIORITY, ROLE, TAG, TASK, Moment, split_list

F = TypeVar("F", bound=Callable[..., Any])


class TaskOptions(TypedDict):
    """The values of `task_options`."""

    title: str
    priority: Priority
    needs: tuple[str, ...]
    tags: tuple[str, ...]
    role: str
    parent: str
    hold: str | None
    hold_until: Moment | None
    schema: str | None


def task_options(*, tags: str, role: str) -> Callable[[F], F]:
    """The options of a command that adds a task, with the help texts of ``--tags`` and ``--role``."""
    options = [
        click.option("--title", default="", help="The title shown in lists.  [default: the first line of the text]"),
        click.option(
            "--priority",
            type=PRIORITY,
            default="normal",
            show_default=True,
            help="Tasks of higher priority are done first.",
        ),
        click.option(
            "--needs", multiple=True, type=TASK, metavar="TASK,..", help="Tasks that must be completed before this one."
        ),
        click.option("--tags", multiple=True, type=TAG, metavar="TAG,..", help=tags),
        click.option("--role", default="", type=ROLE, help=role),
        click.option("--parent", default="", type=TASK, metavar="TASK", help="The parent task."),
        click.option("--hold", metavar="REASON", help="Hold the task for this reason until tt task release."),
        click.option(
            "--hold-until", type=MOMENT, metavar="TIME", help="With --hold: release it after 10m, 2h, 3d, or at a date."
        ),
        click.option(
            "--schema", metavar="FILE", help="A JSON schema that the result must fit, which is then a JSON value."
        ),
    ]

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def add_task(
    context: CliContext,
    town: TownClient,
    description: str,
    *,
    agent: str = "",
    tables: Mapping[str, Any] | None = None,
    **options: Unpack[TaskOptions],
) -> Assigned:
    """Add a task for `agent`, or for the backlog, with these `tables` beside it and those that its options need.

    Raises: UsageError for a wrong ``--hold``; the errors of `TownOperations.add_task`.
    """
    held, held_until = _read_hold(options["hold"], options["hold_until"], town.now_ms)
    parent = options["parent"]
    added = town.run(
        town.operations.add_task(
            description,
            agent=agent,
            title=options["title"],
            priority=options["priority"],
            needs=split_list(options["needs"]),
            tags=split_list(options["tags"]),
            role=options["role"],
            parent=town.run(town.operations.task(parent)).id if parent else "",
            held=held,
            held_until=held_until,
            meta={**(tables or {}), **read_meta(options["schema"])},
        )
    )
    if options["role"]:
        from tinytown_cli.commands.roles import warn_of_role  # late: it reads the settings

        warn_of_role(context, town.config, options["role"])
    return added


def read_meta(schema: str | None) -> dict[str, Any]:
    """The tables beside a task whose result has to fit the schema in a file; empty without one.

    What checks results (an entry point of the group ``tinytown.result_schemas``) checks the schema, too. Raises: UsageError.
    """
    if schema is None:
        return {}
    from importlib.metadata import entry_points
    from pathlib import Path

    from tinytown.packages import install_hint

    from tinytown_cli.text_files import read_file

    checks = {entry.name: entry for entry in entry_points(group="tinytown.result_schemas")}
    if "check" not in checks:
        raise UsageError(
            "nothing here checks results by a schema", hint=install_hint("parts", "result_schemas"), code="no_schemas"
        )
    raw = read_file(Path(schema))
    if raw is None:
        raise UsageError(f"no such file: {shown(schema)}", hint="name a file with a JSON schema")
    try:
        return {"results": {"schema": checks["check"].load()(raw)}}
    except ValueError as error:
        raise UsageError(f"{shown(schema)} is no JSON schema: {error}") from error


def _read_hold(hold: str | None, until: Moment | None, now_ms: Callable[[], int]) -> tuple[str, str]:
    """The two options as `TownOperations.add_task` takes them: a reason and a time, or empty. `now_ms` is called if needed.

    Raises: UsageError.
    """
    if hold is None:
        if until is not None:
            raise UsageError("expected --hold REASON with --hold-until", hint="--hold 'until the design is agreed'")
        return "", ""
    if not hold.strip():
        raise UsageError("expected a reason, got an empty text", hint="--hold 'until the design is agreed'")
    if until is None:
        return hold, ""
    now = now_ms()
    if (moment := until.ahead_ms(now)) <= now:
        raise UsageError(
            "expected a time in the future for --hold-until", hint="leave it out to hold the task until tt task release"
        )
    return hold, rfc3339(moment)
