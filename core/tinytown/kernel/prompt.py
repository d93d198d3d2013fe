"""The prompt of a round as a plugin makes it, or else the least that an agent needs: its task and its mail, verbatim."""

from __future__ import annotations

from tinytown.contracts import PromptParts
from tinytown.model.messages import TaskAssign
from tinytown.model.text import fenced, shown
from tinytown.plugin import Plugins

_LENGTH = 300_000  # of the task, of all mail, and of all sections, in characters


def build_prompt(plugins: Plugins, parts: PromptParts) -> str:
    """The prompt for a round, Markdown, below a million characters unless a plugin makes it longer."""
    made = plugins.first_answer("tinytown_prompt", {"parts": parts}, str, "a text")
    if made is not None:
        return made
    mail = [message for message in parts.messages if not isinstance(message.body, TaskAssign)]
    tasks = parts.tasks or ([parts.task] if parts.task else [])
    paragraphs = [f"# Task {task.id}\n\n{fenced(task.description, _LENGTH // len(tasks))}" for task in tasks]
    for message in mail:
        paragraphs += [f"# Message from {shown(repr(message.sender))}", fenced(message.text, _LENGTH // len(mail))]
    return "\n\n".join([*paragraphs, "\n\n".join(parts.sections)[:_LENGTH]]).strip() + "\n"
