"""What the commands of ``tt-bd`` that change issues take from the command line: options, texts, labels, agents."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.model.messages import Priority
from tinytown_beads.bead import kind_of
from tinytown_beads.fields import CORE_TYPES, GASTOWN_TYPES, normal_type
from tinytown_beads.files import read_file
from tinytown_beads.view import tag_of
from tinytown_cli.public import TownClient, read_text

from tinytown_gastown.bd.board import Board
from tinytown_gastown.bd.output import Output, priority_of

_UNFIT = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_FILE_BYTES = 4 << 20
PRIORITIES: tuple[Priority, ...] = ("urgent", "high", "normal", "low", "low")
PRIORITY = click.option("-p", "--priority", callback=priority_of, help="0 (critical) to 4, or P0 to P4.")
DESCRIPTION = click.option("-d", "--description", "--body", help="The description; - reads standard input.")
BODY_FILE = click.option(
    "--body-file", "--description-file", metavar="FILE", help="Read the description from a file; - is standard input."
)
STDIN = click.option("--stdin", is_flag=True, help="Read the description from standard input.")
DESIGN_FILE = click.option("--design-file", metavar="FILE", help="Read the design notes from a file.")
ASSIGNEE = click.option("-a", "--assignee", help="The assignee.")


def actor_of(out: Output, town: TownClient) -> str:
    """The name of the actor."""
    actor = out.actor or os.environ.get("BD_ACTOR") or os.environ.get("BEADS_ACTOR")
    return actor or town.caller.agent_name or town.caller.address


def clean_input(text: str, *, literal: bool = False) -> str:
    """A text, or for ``-`` standard input. Raises: UsageError for control characters and invalid UTF-8."""
    words = text if literal else read_text(text)
    if _UNFIT.search(words):
        raise UsageError("expected UTF-8 text without control characters")
    return words


def text_of_file(path: str) -> str:
    """The text of a file, or for ``-`` of standard input. Raises: UsageError."""
    if path == "-":
        return clean_input("-")
    content = read_file(Path(path), limit_bytes=_FILE_BYTES)
    if content is None:
        raise UsageError(f"no file {path[:200]}")
    return clean_input(content.decode("utf-8", "surrogateescape"), literal=True)


def given_description(description: str | None, body_file: str | None, stdin: bool) -> str | None:
    """The description from one of its three places. Raises: UsageError for more than one."""
    if sum((description is not None, body_file is not None, stdin)) > 1:
        raise UsageError("cannot combine --description, --body-file and --stdin")
    if body_file is not None or stdin:
        return text_of_file(body_file or "-")
    return None if description is None else clean_input(description)


def json_object(text: str) -> dict[str, Any]:
    """The JSON object in `text`, or in the file that ``@FILE`` names. Raises: UsageError."""
    words = text_of_file(text[1:]) if text.startswith("@") else text
    try:
        return msgspec.json.decode(words, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(f"invalid metadata: expected a JSON object: {error}") from error


def metadata_value(text: str) -> Any:
    """The value of ``KEY=VALUE``, as bd stores it: numbers, true and false are themselves."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float) else text


def valid_type(board: Board, word: str) -> str:
    """A type in bd's spelling. Raises: UsageError for one that neither bd nor this town knows."""
    type_ = normal_type(word)
    known = {
        *CORE_TYPES,
        *GASTOWN_TYPES,
        *board.store.settings.types,
        *(bead.issue_type for bead in board.beads.values()),
    }
    if type_ not in known and type_ not in board.words("types.custom"):
        raise UsageError(
            f"invalid issue type {word[:60]!r}. Valid types: {', '.join(CORE_TYPES)}",
            hint="add others with types in [plugins.beads]",
        )
    return type_


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
