"""What a prompt says of the form of a result. Pure."""

from __future__ import annotations

import msgspec
from tinytown.model.tasks import Task
from tinytown.model.text import fenced

from tinytown_results.table import schema_of

_SCHEMA_LENGTH = 64 * 1024


def section(task: Task) -> str:
    """A paragraph about the result of a task that has a schema."""
    schema = msgspec.json.format(msgspec.json.encode(schema_of(task)), indent=1).decode()
    return "\n\n".join(
        [
            "## The form of the result",
            "The result of your task has to be one JSON value that is valid by this JSON schema, and nothing else: no text before"
            " or after it. It is checked; an invalid one comes back to you.",
            fenced(schema, _SCHEMA_LENGTH, ""),
        ]
    )
