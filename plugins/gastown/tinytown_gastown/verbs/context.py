"""``tt hook`` and ``tt prime``: the work of an agent, and everything it needs to resume."""

from __future__ import annotations

import click
from tinytown.errors import UsageError
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown_beads.groups.record import PLUGIN
from tinytown_beads.notes import note_sections
from tinytown_cli.public import (
    AGENT,
    CliContext,
    TownClient,
    TownCommand,
    pass_cli_context,
    task_shape,
)

from tinytown_gastown.verbs.addresses import find_agent


@click.command(cls=TownCommand, examples=["tt hook", "tt hook worker", "tt hook show shop/polecats/nux"])
@click.argument("words", nargs=-1, metavar="[show|status] [AGENT]", type=AGENT)
@pass_cli_context
def hook(context: CliContext, words: tuple[str, ...]) -> None:
    """Show the current or next task of AGENT, and its queue. Inside a round, your own."""
    rest = words[1:] if words and words[0] in ("show", "status") else words
    if len(rest) > 1:
        raise UsageError(f"expected one agent, got {len(rest)} words", hint="tt sling TASK AGENT puts work onto a hook")
    agent = rest[0] if rest else ""
    with context.open_town() as town:
        owner = _whose(town, agent)
        task, others = _work_of(town, owner)
    answer = {
        "agent": owner.name,
        "task": task_shape(task) if task else None,
        "waiting": [task_shape(other) for other in others],
    }
    lines = [f"hook of {owner.name}: {task.id}, {task.state}", task.title or "", task.description] if task else []
    lines = [line for line in lines if line] or [f"no work assigned to {owner.name}"]
    lines += [f"then {other.id}, {other.state}: {other.headline}" for other in others]
    context.emit(answer, lines)


def _whose(town: TownClient, agent: str) -> Agent:
    if not (agent or town.caller.agent):
        raise UsageError("expected an agent (there is no default outside of a round)", hint="tt list shows them")
    return find_agent(town, agent or town.caller.agent)


def _work_of(town: TownClient, agent: Agent) -> tuple[Task | None, list[Task]]:
    """The current or next task of an agent, and its other open ones in order."""
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
@click.option("--hook", "--state", "--explain", "--dry-run", "hooked", is_flag=True, help="Has no effect.")
@pass_cli_context
def prime(context: CliContext, agent: str, hooked: bool) -> None:
    """Print the context that AGENT needs to resume: identity, task, mail, notes. Inside a round, your own.

    It is built from the current state, so it can be printed again at any time.
    """
    with context.open_town() as town:
        owner = _whose(town, agent)
        task, others = _work_of(town, owner)
        mail = town.run(town.operations.peek(owner.id, limit=50)).messages
        others_here = [item.name for item in town.run(town.operations.agents()) if item.id != owner.id]
        data = town.run(town.operations.plugin_data(PLUGIN))
    parts = [
        f"# You are {owner.name}{f', {owner.role}' if owner.role else ''}, an agent of the town {town.config.name}"
    ]
    if task:
        parts.append(
            f"## On your hook: task {task.id}, {task.state}\n\n{task.title}\n\n{task.description}".replace(
                "\n\n\n\n", "\n\n"
            )
        )
        parts += [f"Reason: {task.reason}"] if task.reason else []
    else:
        parts.append("## No work is assigned to you\n\n`tt ready` lists ready tasks, `tt inbox` your mail.")
    if others:
        parts.append(
            "## Your queue\n\n" + "\n".join(f"- {other.id} ({other.state}): {other.headline}" for other in others)
        )
    letters = [item.message for item in mail if item.message is not None and item.message.type != "task_assign"]
    if letters:
        letter_lines = [f"- {letter.type} from {letter.sender}: {letter.text.strip()[:500]}" for letter in letters]
        parts.append("## Your mail\n\n" + "\n".join(letter_lines))
    parts += note_sections(owner, data)
    if others_here:
        parts.append(f"## Other agents\n\n{', '.join(others_here[:30])}")
    parts.append(
        "## Commands\n\n"
        "`tt done --result TEXT` when it is done, `tt done --status escalated --result WHY` when a person has to decide, "
        "`tt handoff -m TEXT` to continue in a new round, `tt escalate TEXT` for help, `tt remember TEXT` for a note to all."
    )
    text = "\n\n".join(part.strip() for part in parts)
    answer = {
        "agent": owner.name, "role": owner.role, "town": town.config.name, "text": text,
        "task": task_shape(task) if task else None, "waiting": [other.id for other in others], "mail": len(letters),
    }  # fmt: skip
    context.emit(answer, text)
