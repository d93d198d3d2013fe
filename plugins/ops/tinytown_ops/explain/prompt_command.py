"""``tt prompt``: the prompt of an agent's next round. Reads only, claims nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import click
import msgspec
from tinytown.contracts import NEEDED_SHOWN, PromptParts
from tinytown.errors import NotFound
from tinytown.kernel import build_prompt
from tinytown.model.agents import Agent
from tinytown.model.messages import Message, TaskAssign
from tinytown.model.results import MailboxEntry
from tinytown.model.tasks import Task
from tinytown_cli.backlog_pickup import matching_agents
from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import AGENT, TASK

_BACKLOG_LIMIT = 100_000


@click.command(
    cls=TownCommand,
    examples=["tt prompt worker", "tt prompt rita --task 1f3a", "tt prompt worker --json"],
    scope="town.read",
)
@click.argument("agent", type=AGENT)
@click.option("--task", "task_word", type=TASK, metavar="TASK", help="As if the round were for this task.")
@pass_cli_context
def prompt(context: CliContext, agent: str, task_word: str | None) -> None:
    """Show the prompt that the next round of AGENT would get now. Nothing is claimed."""
    from tinytown_cli.plugin_commands import load_town_plugins

    with context.open_town() as town:
        record = town.run(town.operations.agent(agent))
        messages = next_batch(town.run(town.operations.peek(record.id)).messages, town.config.round.notes)
        task = town.run(town.operations.task(task_word)) if task_word else _next_task(town, record, messages)
        if task_word:
            messages = tuple(message for message in messages if not isinstance(message.body, TaskAssign))
        idle = task is None and not messages
        if task is not None and task.state != "running":
            task = msgspec.structs.replace(task, attempts=task.attempts + 1)
        colleagues = town.run(town.operations.agents())
        plugins = load_town_plugins(town.root, town.config)
        data = {name: town.run(town.operations.plugin_data(name)) for name in plugins.plugins_wanting_data}
        parts = PromptParts(
            record,
            task,
            messages,
            needed=_needed(town, task),
            colleagues=colleagues,
            sections=plugins.prompt_sections(record, task, data),
        )
        text = build_prompt(plugins, parts)
    shape = {
        "agent": record.name,
        "task_id": task and task.id,
        "messages": [message.id for message in messages],
        "prompt": text,
    }
    context.emit(shape, text.splitlines())
    if idle:
        waiting = f" (tt task list --agent {record.name} lists its waiting tasks)" if record.open_tasks else ""
        context.warn(f"note: {record.name} has nothing to do now{waiting}; this prompt is without a task or mail")


def next_batch(entries: Sequence[MailboxEntry], count: int) -> tuple[Message, ...]:
    """The messages that a round would claim from a mailbox: at most `count`, and one assignment. Pure."""
    batch: list[Message] = []
    assignments = 0
    for entry in [entry for entry in entries if entry.place == "queued"][:count]:
        if entry.message is None:
            continue
        assignments += entry.message.category == "task"
        if assignments > 1:
            break
        batch.append(entry.message)
    return tuple(batch)


def _next_task(town: TownClient, agent: Agent, messages: Sequence[Message]) -> Task | None:
    """The task that the batch assigns; without any message, the one that the agent would claim from the backlog."""
    for message in messages:
        if isinstance(message.body, TaskAssign):
            with suppress(NotFound):
                return town.run(town.operations.task(message.body.task_id))
    if messages or not town.config.auto_claim:
        return None
    backlog = town.run(town.operations.tasks(state="backlog", limit=_BACKLOG_LIMIT))
    may_claim = (task for task in backlog if matching_agents(task, [agent]))
    return next((task for task in may_claim if task.role or task.tags or town.config.auto_claim != "tagged"), None)


def _needed(town: TownClient, task: Task | None) -> list[Task]:
    needed: list[Task] = []
    for need in task.needs[:NEEDED_SHOWN] if task else ():
        with suppress(NotFound):
            needed.append(town.run(town.operations.task(need)))
    return needed
