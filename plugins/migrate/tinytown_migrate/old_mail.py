"""Mail of Tinytown 0.10 as mail of today. Pure.

The encoding is the same, and so are most kinds. What only Tinytown 0.10 sent (reports on tasks and states, pings, requests to
stop) becomes a question or news with the same text.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from tinytown.model.messages import Message, decode_message

#: By the old kind: the kind of today, and the form of its text, with the members of the old one.
_TEXTS: dict[str, tuple[Literal["query", "informational"], str]] = {
    "task_done": ("informational", "task {task_id} done: {result}"),
    "task_failed": ("informational", "task {task_id} failed: {error}"),
    "status_request": ("query", "how are you getting on?"),
    "status_response": ("informational", "{state}{current_task}"),
    "ping": ("informational", "ping"),
    "pong": ("informational", "pong"),
    "shutdown": ("informational", "please finish and stop"),
}


def read_old_message(raw: bytes) -> Message:
    """The message that `raw` holds. Raises: ValueError for anything else."""
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Any])
    except RecursionError as error:
        raise ValueError("expected a message, got JSON that is nested too deeply") from error
    kind = fields.get("type")
    if not isinstance(kind, str) or kind not in _TEXTS:
        return decode_message(raw)
    new, form = _TEXTS[kind]
    task = fields.get("current_task")
    members = {"result": "", "error": "", **fields, "current_task": f", working on {task}" if task else ""}
    try:
        text = form.format_map(members)
    except KeyError as error:
        raise ValueError(f"expected a {kind} with {error}") from error
    return decode_message(
        msgspec.json.encode({**fields, "type": new, "question" if new == "query" else "summary": text})
    )
