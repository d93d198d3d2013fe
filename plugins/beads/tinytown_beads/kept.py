"""What a bead can say and a task cannot, when it was said through `tt-bd`: kept beside the task, in the table ``bd``. Pure.

It is laid over the record that the task was made of whenever that is shown. It is not written into bead files: there a
field belongs to whoever writes the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinytown.tasks import Task

from tinytown_beads.json_text import as_object

#: The table of a task's meta.
TABLE = "bd"


def kept_fields(task: Task) -> Mapping[str, Any]:
    """The fields that are kept beside a task; None for one that was taken out."""
    return as_object(task.meta.get(TABLE)) or {}


def laid_over(record: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """A record with what is kept."""
    return {key: value for key, value in {**record, **kept}.items() if key not in kept or value is not None}
