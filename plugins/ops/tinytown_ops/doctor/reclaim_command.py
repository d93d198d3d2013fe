"""``tt reclaim`` and ``tt prune``: what agents that do not work any more have goes to others; and they leave the town.

Nothing is lost by either: tasks go to another agent or onto the backlog, mail to another agent or to the dead letters.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import click
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.model.agents import Agent
from tinytown.model.results import MailboxEntry
from tinytown.model.tasks import Task
from tinytown.model.time import parse_rfc3339
from tinytown_cli import administration
from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import AGENT, MOMENT, Moment

from tinytown_ops.doctor.reclaim_operation import Reclaimed, reclaim_from

_OVER = ("stopped", "error")
_MANY = 10_000
_LEFT_SHOWN = 3
_STOP_S = 60.0


class Done(NamedTuple):
    """What was taken back of an agent, and what was not: of which task, or "" for all that it has, and why."""

    what: Reclaimed
    left: tuple[tuple[str, Refused], ...] = ()


@click.command(
    cls=TownCommand,
    examples=[
        "tt reclaim",
        "tt reclaim --to-backlog",
        "tt reclaim --from worker --to rita",
        "tt reclaim --orphan-tasks --cancel",
    ],
    scope="agent.manage",
)
@click.option(
    "--from",
    "sources",
    multiple=True,
    type=AGENT,
    metavar="AGENT",
    help="Only what this agent has.  [default: all that are stopped or in error]",
)
@click.option("--to", "receiver", type=AGENT, metavar="AGENT", help="Give tasks and mail to this agent.")
@click.option(
    "--to-backlog",
    is_flag=True,
    help="Put tasks onto the backlog, and orders in free text as new tasks; other mail stays.",
)
@click.option("--orphan-tasks", is_flag=True, help="Only the tasks; the mail stays.")
@click.option("--cancel", is_flag=True, help="With --orphan-tasks: cancel them.")
@click.option("--delete", is_flag=True, help="With --orphan-tasks: forget them for good.")
@pass_cli_context
def reclaim(
    context: CliContext,
    sources: tuple[str, ...],
    receiver: str | None,
    to_backlog: bool,
    orphan_tasks: bool,
    cancel: bool,
    delete: bool,
) -> None:
    """Take back what agents have that are stopped or in error. Without a destination it is shown, and nothing is changed.

    A kernel that dies needs none of this: what it held is free again by itself. What is being worked on stays where it is.
    What cannot be taken back is left as it is and reported; the rest is done all the same, and the command ends with exit code 4.
    """  # fmt: skip
    ends = [
        name
        for name, chosen in (
            ("--to", receiver),
            ("--to-backlog", to_backlog),
            ("--cancel", cancel),
            ("--delete", delete),
        )
        if chosen
    ]
    if len(ends) > 1:
        raise UsageError(f"expected one destination, got {' and '.join(ends)}")
    if (cancel or delete) and not orphan_tasks:
        raise UsageError(f"{ends[0]} is for --orphan-tasks: mail is moved, never deleted")
    with context.open_town() as town:
        agents = _sources(town, sources, receiver)
        if receiver is None and not to_backlog:
            done = [Done(_held_by(town, agent, with_mail=not orphan_tasks)) for agent in agents]
            if ends:
                done = _end_tasks(town, done, delete=delete)
        else:
            done = _move(town, agents, receiver or "", with_mail=not orphan_tasks)
    to_shown = receiver or ("backlog" if to_backlog else None)
    action = {"--cancel": "cancelled", "--delete": "deleted"}.get(ends[0], "moved") if ends else "preview"
    rows = [{"agent": each.name, "state": each.state, **_shape(what)} for each, what in zip(agents, done, strict=True)]
    context.emit({"action": action, "to": to_shown, "agents": rows}, _lines(rows, action, to_shown))
    if left := [row for what in done for row in what.left]:
        raise Refused(
            f"what is listed above is done, this could not be: {'; '.join(error.message for _, error in left[:_LEFT_SHOWN])}",
            hint=left[0][1].hint,
            code="partly_done",
        )


def _sources(town: TownClient, named: Sequence[str], receiver: str | None) -> list[Agent]:
    if named:
        return town.run_all([town.operations.agent(name) for name in named])
    to = town.run(town.operations.agent(receiver)).id if receiver else None
    return [agent for agent in town.run(town.operations.agents()) if agent.state in _OVER and agent.id != to]


def _held_by(town: TownClient, agent: Agent, *, with_mail: bool) -> Reclaimed:
    """What an agent has that could be taken from it now."""
    tasks, inbox = town.run_all(
        [town.operations.tasks(agent=agent.id, limit=_MANY), town.operations.peek(agent.id, limit=_MANY)]
    )
    return Reclaimed(
        tasks=tuple(task.id for task in tasks if _may_be_taken(task)),
        messages=tuple(
            message.message.id for message in inbox.messages if with_mail and message.message and _is_free(message)
        ),
    )


def _may_be_taken(task: Task) -> bool:
    return not task.finished and task.state not in ("running", "verifying")


def _is_free(lying: MailboxEntry) -> bool:
    """Mail that is not leased, except orders of tasks, which go with their task."""
    is_order = lying.message is not None and lying.message.type == "task_assign"
    return lying.place != "leased" and not is_order


def _move(town: TownClient, agents: Sequence[Agent], to: str, *, with_mail: bool) -> list[Done]:
    """Move what the agents have, as far as it goes. Raises: Refused when nothing of anybody could be moved."""
    done: list[Done] = []
    for agent in agents:
        try:
            done.append(
                Done(
                    town.run(
                        reclaim_from(town.operations.keys, agent.id, tasks_to=to, mail_to=to if with_mail else None)
                    )
                )
            )
        except Refused as error:
            done.append(Done(Reclaimed(), (("", error),)))
    if done and all(done_task.left for done_task in done):
        raise done[0].left[0][1]
    return done


def _end_tasks(town: TownClient, found: Sequence[Done], *, delete: bool) -> list[Done]:
    """Cancel or delete the tasks that were found, as far as it goes: a task that another one needs goes after that one."""
    open_ = [id_ for agent in found for id_ in agent.what.tasks]
    errors: dict[str, Refused] = {}
    while open_:
        errors = {}
        for id_ in open_:
            try:
                if delete:
                    town.run(administration.delete_task(town.operations.keys, id_))
                else:
                    town.run(town.operations.settle_task("cancel", id_, text="its agent does not work any more"))
            except Refused as error:
                errors[id_] = error
            except NotFound:  # another caller was quicker
                continue
        if len(errors) == len(open_):
            break
        open_ = list(errors)
    return [
        Done(
            Reclaimed(tasks=tuple(id_ for id_ in agent.what.tasks if id_ not in errors)),
            tuple((id_, errors[id_]) for id_ in agent.what.tasks if id_ in errors),
        )
        for agent in found
    ]


def _shape(done: Done) -> dict[str, Any]:
    left = [{"task": id_ or None, "reason": error.message} for id_, error in done.left]
    return {"tasks": done.what.tasks, "messages": done.what.messages, "made": done.what.made, "left": left}


def _lines(rows: Sequence[dict[str, Any]], action: str, to: str | None) -> list[str]:
    if not any(row["tasks"] or row["messages"] or row["made"] for row in rows):
        return ["nothing to take back"]
    reported = [
        (row["agent"], row["state"], str(len(row["tasks"])), str(len(row["messages"])), str(len(row["made"])))
        for row in rows
    ]
    lines = table(("agent", "state", "tasks", "messages", "made into tasks"), reported)
    if action == "preview":
        return [*lines, "nothing was changed: --to-backlog, --to AGENT take it back"]
    return [*lines, f"{action} to {'the backlog' if to == 'backlog' else to}" if to else f"the tasks are {action}"]


@click.command(
    cls=TownCommand,
    examples=["tt prune --dry-run", "tt prune", "tt prune --older-than 7d --mail-to rita", "tt prune worker --force"],
    scope="agent.manage",
)
@click.argument("agents", nargs=-1, type=AGENT, metavar="[AGENT...]")
@click.option(
    "--all-stopped",
    is_flag=True,
    help="All that are stopped or in error, beside those named.  [default: without names]",
)
@click.option(
    "--older-than", type=MOMENT, metavar="TIME", help="Only those stopped longer than this: 90s, 10m, 2h, 3d."
)
@click.option("--mail-to", type=AGENT, metavar="AGENT", help="Who gets their mail.  [default: the dead letters]")
@click.option("--force", is_flag=True, help="Stop agents first that still live.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would go, and change nothing.")
@pass_cli_context
def prune(
    context: CliContext,
    agents: tuple[str, ...],
    all_stopped: bool,
    older_than: Moment | None,
    mail_to: str | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Take agents out of the town that are stopped or in error. Their tasks go onto the backlog first; no mail is lost."""
    with context.open_town() as town:
        chosen = _chosen(town, agents, all_stopped or not agents, older_than)
        if mail_to and town.run(town.operations.peek(mail_to, limit=1)).agent in {event.name for event in chosen}:
            raise UsageError(f"{mail_to} is to be pruned itself", hint="name another agent for the mail")
        if not force and (live := [event.name for event in chosen if event.state not in _OVER]):
            raise Refused(
                f"expected agents that are stopped or in error; {', '.join(live)} still live",
                hint="tt kill them, or use --force",
            )
        held = [_held_by(town, event, with_mail=True) for event in chosen]
        if not dry_run:
            _stop(context, town, [event for event in chosen if event.state not in _OVER])
            for event in chosen:
                if mail_to:
                    town.run(reclaim_from(town.operations.keys, event.id, mail_to=mail_to))
                town.run(administration.remove_agent(town.operations.keys, event.id, force=True))
    going = list(zip(chosen, held, strict=True))
    rows = [
        {"agent": each.name, "state": each.state, "tasks": what.tasks, "messages": what.messages}
        for each, what in going
    ]
    reported = [(each.name, each.state, str(len(what.tasks)), str(len(what.messages))) for each, what in going]
    lines = table(("agent", "was", "tasks", "messages"), reported) if reported else ["no agent to prune"]
    if reported:
        where = f"their tasks to the backlog, their mail to {mail_to or 'the dead letters'}"
        lines.append(f"would go, {where} (a dry run: nothing was changed)" if dry_run else f"are gone, {where}")
    context.emit({"dry_run": dry_run, "mail_to": mail_to, "agents": rows}, lines)


def _chosen(town: TownClient, named: Sequence[str], all_stopped: bool, older_than: Moment | None) -> list[Agent]:
    found = {agent.id: agent for agent in town.run_all([town.operations.agent(name) for name in named])}
    if all_stopped:
        found |= {agent.id: agent for agent in town.run(town.operations.agents()) if agent.state in _OVER}
    if older_than is None:
        return list(found.values())
    before_ms = older_than.ms(town.now_ms())
    return [agent for agent in found.values() if agent.since and parse_rfc3339(agent.since) <= before_ms]


def _stop(context: CliContext, town: TownClient, live: Sequence[Agent]) -> None:
    if live:
        from tinytown_cli.waiting import await_agents

        for agent in live:
            town.run(town.operations.set_desired_state(agent.id, "stopped", now=True, reason="to be pruned"))
        await_agents(context, town, [agent.id for agent in live], "stopped", until=time.monotonic() + _STOP_S)
