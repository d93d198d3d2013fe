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
from tinytown.model.tasks import Task, only_task
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
        plugins = load_town_plugins(town.root, town.config)
        backend = plugins.backends.get(record.cli)
        can_report = backend is not None and backend.offers_town_tools is not None
        batch = town.config.tasks_per_round(record.role, record.cli) if can_report else 1
        entries = town.run(town.operations.peek(record.id)).messages
        messages = next_batch(entries, max(town.config.round.notes, batch), batch)
        tasks = [town.run(town.operations.task(task_word))] if task_word else _next_tasks(town, record, messages, batch)
        if task_word:
            messages = tuple(message for message in messages if not isinstance(message.body, TaskAssign))
        tasks = [
            task if task.state == "running" else msgspec.structs.replace(task, attempts=task.attempts + 1)
            for task in tasks
        ]
        task, idle = only_task(tasks), not tasks and not messages
        colleagues = town.run(town.operations.agents())
        data = {name: town.run(town.operations.plugin_data(name)) for name in plugins.plugins_wanting_data}
        parts = PromptParts(
            record,
            task,
            messages,
            needed=_needed(town, task),
            colleagues=colleagues,
            sections=[section for each in tasks or (None,) for section in plugins.prompt_sections(record, each, data)],
            tasks=tasks,
        )
        text = build_prompt(plugins, parts)
    shape = {
        "agent": record.name,
        "task_id": tasks[0].id if tasks else None,
        "task_ids": [each.id for each in tasks],
        "messages": [message.id for message in messages],
        "prompt": text,
    }
    context.emit(shape, text.splitlines())
    if idle:
        waiting = f" (tt task list --agent {record.name} lists its waiting tasks)" if record.open_tasks else ""
        context.warn(f"note: {record.name} has nothing to do now{waiting}; this prompt is without a task or mail")


def next_batch(entries: Sequence[MailboxEntry], count: int, orders: int = 1) -> tuple[Message, ...]:
    """The messages that a round would claim from a mailbox: at most `count`, with at most so many `orders`. Pure."""
    batch: list[Message] = []
    assignments = 0
    for entry in [entry for entry in entries if entry.place == "queued"][:count]:
        if entry.message is None:
            continue
        assignments += entry.message.category == "task"
        if assignments > orders:
            break
        batch.append(entry.message)
    return tuple(batch)


def _next_tasks(town: TownClient, agent: Agent, messages: Sequence[Message], batch: int) -> list[Task]:
    """The tasks that the mail assigns; without any message, those that the agent would claim from the backlog."""
    assigned: list[Task] = []
    for message in messages:
        if isinstance(message.body, TaskAssign):
            with suppress(NotFound):
                assigned.append(town.run(town.operations.task(message.body.task_id)))
    if messages or not town.config.auto_claim:
        return assigned
    backlog = town.run(town.operations.tasks(state="backlog", limit=_BACKLOG_LIMIT))
    may_claim = (task for task in backlog if matching_agents(task, [agent]))
    return [task for task in may_claim if task.role or task.tags or town.config.auto_claim != "tagged"][:batch]


def _needed(town: TownClient, task: Task | None) -> list[Task]:
    needed: list[Task] = []
    for need in task.needs[:NEEDED_SHOWN] if task else ():
        with suppress(NotFound):
            needed.append(town.run(town.operations.task(need)))
    return needed
