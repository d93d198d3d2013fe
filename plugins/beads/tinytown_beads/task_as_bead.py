"""Tasks of the town as beads that `bd` accepts and keeps, and back: ids, and data without a bead field.

Data without a bead field is in ``metadata``, which `bd` stores and updates, under the key ``tinytown``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Literal

from tinytown.model.tasks import Task

from tinytown_beads.bead import Bead
from tinytown_beads.json_text import as_object

#: What `source_system` says of a bead that was a task first, and the key of ours in its metadata.
OURS = "tinytown"
#: The format that an origin names for a task that was a bead first.
FORMAT = "beads"
#: The table of a task's meta that holds fields as they are in a record: what a task has no place for, and a bead has.
TABLE = "bd"
#: What begins the `external_ref` of such a bead; the task's id follows.
REFERENCE = "tinytown:"

TITLE_LIMIT_BYTES = 500

PRIORITIES = {"urgent": 0, "high": 1, "normal": 2, "low": 3, "lowest": 4}

#: The ids that a town takes.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_HASH_LENGTH = 8


def bead_id_for(task_id: str, prefix: str) -> str:
    """The bead id of a task of our own; always the same for the same task.

    An id that a person chose is kept. A random one becomes the prefix and eight letters or digits.
    """
    if not _UUID.fullmatch(task_id):
        return task_id
    number = int.from_bytes(hashlib.sha256(task_id.encode()).digest()[:8])
    digits = ""
    for _ in range(_HASH_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        digits += _DIGITS[digit]
    return f"{prefix}-{digits}"


def task_id_for(bead: Bead) -> str:
    """The task id of a bead: the id of the task it was exported from, else the bead's own, made valid."""
    own = extras_of(bead).get("id")
    if not isinstance(own, str):
        own = _referenced(bead) or bead.id
    if _ID.fullmatch(own):
        return own
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", ".", own).lstrip("._-")[:100]
    return f"{cleaned or 'bead'}-{hashlib.sha256(own.encode('utf-8', 'replace')).hexdigest()[:8]}"


def is_ours(bead: Bead) -> bool:
    """Whether a bead was exported from a task. Old versions of `bd` keep the reference alone."""
    return bool(extras_of(bead) or _referenced(bead))


def _referenced(bead: Bead) -> str:
    reference = bead.text("external_ref")
    return reference.removeprefix(REFERENCE) if reference.startswith(REFERENCE) else ""


def extras_of(bead: Bead) -> Mapping[str, Any]:
    """Our entry in the bead's metadata; empty for other beads."""
    metadata = bead.record.get("metadata")
    return as_object((as_object(metadata) or {}).get(OURS)) or {} if metadata else {}


def extras_for(task: Task) -> dict[str, Any]:
    """The data of a task that its bead has no field for."""
    extras: dict[str, Any] = {"id": task.id}
    if task.finished:
        extras["state"] = task.state
    if task.title != bead_title(task):
        extras["title"] = task.title
    if task.parent in task.needs:
        extras["needs"] = [task.parent]  # a pair of beads has one edge
    if task.finished:
        extras |= {name: value for name, value in (("result", task.result), ("reason", task.reason)) if value}
    if task.origin and task.origin.get("format") != FORMAT:
        extras["origin"] = task.origin
    tables = {name: table for name, table in task.meta.items() if name != TABLE}
    extras |= {name: value for name, value in (("role", task.role), ("meta", tables)) if value}
    return extras


def own_title(bead: Bead) -> str:
    """The title of a task: the bead's, unless that was derived from a title that beads do not allow and is unchanged."""
    title = extras_of(bead).get("title")
    if isinstance(title, str) and cut_title(title, bead.text("description"), "") in (bead.title, ""):
        return title
    return bead.title


def bead_title(task: Task) -> str:
    """The title of a task's bead: never empty, and within the limit of `bd`."""
    return cut_title(task.title, task.description, task.id)


def cut_title(title: str, description: str, otherwise: str) -> str:
    """A title, or else the first line of a description, within the limit of `bd`."""
    text = title.strip() or description.strip().partition("\n")[0].strip() or otherwise
    if len(text.encode()) <= TITLE_LIMIT_BYTES:
        return text
    return text.encode()[: TITLE_LIMIT_BYTES - 3].decode("utf-8", "ignore") + "…"


def close_reason(state: str, outcome: str) -> str:
    """The close reason of a bead whose task ended in `state`."""
    if state == "completed":
        return outcome
    return f"{state}: {outcome}" if outcome else state


def own_outcome(bead: Bead) -> tuple[Literal["completed", "failed", "cancelled"], str] | None:
    """State and outcome of the task that a closed bead was exported from, unless it was closed again for another reason."""
    extras = extras_of(bead)
    state = extras.get("state")
    if state not in ("completed", "failed", "cancelled"):
        return None
    text = extras.get("result" if state == "completed" else "reason")
    outcome = text if isinstance(text, str) else ""
    return (state, outcome) if close_reason(state, outcome) == bead.text("close_reason") else None
