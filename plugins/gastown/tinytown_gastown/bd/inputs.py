"""What the commands of ``tt-bd`` that change issues take from the command line: options, texts, labels, agents."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import click
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.model.messages import Priority
from tinytown_beads.bead import kind_of
from tinytown_beads.view import tag_of
from tinytown_cli.public import TownClient, read_text

from tinytown_gastown.bd.output import Output, priority_of

_UNFIT = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
PRIORITIES: tuple[Priority, ...] = ("urgent", "high", "normal", "low", "low")
PRIORITY = click.option("-p", "--priority", callback=priority_of, help="0 (critical) to 4, or P0 to P4.")
DESCRIPTION = click.option("-d", "--description", "--body", help="The description; - reads standard input.")
ASSIGNEE = click.option("-a", "--assignee", help="The assignee.")


def actor_of(out: Output, town: TownClient) -> str:
    """The name of the actor."""
    actor = out.actor or os.environ.get("BD_ACTOR") or os.environ.get("BEADS_ACTOR")
    return actor or town.caller.agent_name or town.caller.address


def clean_input(text: str) -> str:
    """A text, or for ``-`` standard input. Raises: UsageError for control characters and invalid UTF-8."""
    words = read_text(text)
    if _UNFIT.search(words):
        raise UsageError("expected UTF-8 text without control characters")
    return words


def split_values(values: Sequence[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def find_agent(town: TownClient, name: str) -> str:
    """The agent that an assignee names, '' if there is none: then the name is only recorded."""
    try:
        return town.run(town.operations.agent(name.rpartition("/")[2])).name
    except (NotFound, UsageError, Refused):
        return ""


def tags_for(labels: Sequence[str], issue_type: str) -> list[str]:
    """The tags of a task whose bead has these labels and this type, as an import creates them."""
    kind = kind_of(labels, issue_type)
    tags = [tag_of(label) for label in labels] + ([tag_of(kind)] if kind != "task" else [])
    return list(dict.fromkeys(tag for tag in tags if tag))
