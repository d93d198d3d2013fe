"""The fields of a bead without a task field, for the agent's prompt: design, acceptance criteria, notes, comments. Pure."""

from __future__ import annotations

from tinytown.model.tasks import Task

from tinytown_beads.extra_fields import record_of
from tinytown_beads.json_text import as_list, as_object

_HEADINGS = {"design": "Design", "acceptance_criteria": "Acceptance criteria", "notes": "Notes"}
_COMMENTS_SHOWN = 10
_TEXT_BYTES = 20_000


def bead_sections(task: Task | None) -> list[str]:
    """Paragraphs of Markdown with the fields of a bead that its task lacks."""
    if task is None:
        return []
    fields = record_of(task)
    sections = [
        f"## {heading}\n\n{_cut(text)}"
        for key, heading in _HEADINGS.items()
        if isinstance(text := fields.get(key), str) and text.strip()
    ]
    comments = [as_object(item) or {} for item in as_list(fields.get("comments")) or []]
    entries = [
        f"- {comment.get('author', '?')}: {comment['text']}"
        for comment in comments
        if isinstance(comment.get("text"), str)
    ]
    if entries:
        sections.append("## Comments\n\n" + _cut("\n".join(entries[-_COMMENTS_SHOWN:])))
    return sections


def _cut(text: str) -> str:
    raw = text.strip().encode("utf-8", "replace")
    return raw.decode() if len(raw) <= _TEXT_BYTES else raw[:_TEXT_BYTES].decode("utf-8", "ignore") + "…"
