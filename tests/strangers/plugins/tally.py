"""The command `tt tally`, a section of the status, and one of prompts: how many tasks there are."""

import click
from tinytown.hookspecs import hookimpl
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown_cli.client import TownClient
from tinytown_cli.contracts import Command, SectionContent, StatusSection
from tinytown_cli.public import CliContext, TownCommand, pass_cli_context

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_commands() -> list[Command]:
    return [Command("tally", "Count the tasks.", f"{__name__}:tally")]


@hookimpl
def tinytown_status_sections() -> list[StatusSection]:
    return [Section()]


@hookimpl
def tinytown_prompt_sections(agent: Agent, task: Task | None) -> list[str]:
    return [f"## Tally\n\n{agent.name} has 1 task."] if task else []


def count(town: TownClient) -> int:
    return len(town.run(town.operations.tasks(limit=10_000)))


class Section(StatusSection):
    name = "tally"

    def read(self, town: TownClient) -> SectionContent | None:
        found = count(town)
        return SectionContent("Tally", (f"{found} tasks",), {"tasks": found})


@click.command(cls=TownCommand, examples=["tt tally", "tt tally --json"])
@pass_cli_context
def tally(context: CliContext) -> None:
    """Count the tasks."""
    with context.open_town() as town:
        found = count(town)
    context.emit({"tasks": found}, [f"{found} tasks"])


def scenarios(sandbox: object) -> dict[str, object]:
    return {}
