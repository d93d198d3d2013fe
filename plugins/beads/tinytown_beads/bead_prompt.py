"""What a bead says beyond its task's text, for the prompt of whoever works on it: design, acceptance, notes, comments. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinytown.tasks import Task

from tinytown_beads.json_text import as_list, as_object, decode
from tinytown_beads.kept import kept_fields, laid_over
from tinytown_beads.own_beads import FORMAT

_HEADINGS = {"design": "Design", "acceptance_criteria": "Acceptance criteria", "notes": "Notes"}
_COMMENTS_SHOWN = 10
_TEXT_BYTES = 20_000


def bead_sections(task: Task | None) -> list[str]:
    """Paragraphs of Markdown from the bead that a task was made of, and from what `tt-bd` has set; none for other tasks."""
    if task is None:
        return []
    fields = laid_over(_record(task), kept_fields(task))
    sections = [
        f"## {heading}\n\n{_cut(text)}"
        for key, heading in _HEADINGS.items()
        if isinstance(text := fields.get(key), str) and text.strip()
    ]
    comments = [as_object(each) or {} for each in as_list(fields.get("comments")) or []]
    said = [f"- {each.get('author', '?')}: {each['text']}" for each in comments if isinstance(each.get("text"), str)]
    if said:
        sections.append("## Comments\n\n" + _cut("\n".join(said[-_COMMENTS_SHOWN:])))
    return sections


def _record(task: Task) -> Mapping[str, Any]:
    """The record of the bead that a task was made of; empty for a task that was none."""
    origin = task.origin or {}
    record = origin.get("record")
    if origin.get("format") != FORMAT or not isinstance(record, str):
        return {}
    try:
        return as_object(decode(record)) or {}
    except ValueError:
        return {}


def _cut(text: str) -> str:
    raw = text.strip().encode("utf-8", "replace")
    return raw.decode() if len(raw) <= _TEXT_BYTES else raw[:_TEXT_BYTES].decode("utf-8", "ignore") + "…"
