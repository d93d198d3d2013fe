"""A question that waits for an answer, as it is among this plugin's data in the town. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

PLUGIN = "ops"
_PREFIX = "question."


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent asks in the round `round_id`. The answer is one of `options`, if there are any."""

    id: str
    agent: str
    question: str
    options: tuple[str, ...] = ()
    task: str | None = None
    round_id: str | None = None
    answer: str | None = None

    @property
    def field(self) -> str:
        """Where it is kept."""
        return field_of(self.id)

    def chosen(self, text: str) -> str | None:
        """The answer that a person means: an option as it is written, its number from 1, or its beginning; None for none."""
        if not self.options:
            return text
        word = text.strip().lower()
        if word.isdecimal() and 1 <= int(word) <= len(self.options):
            return self.options[int(word) - 1]
        exact = [option for option in self.options if option.lower() == word]
        begun = [option for option in self.options if word and option.lower().startswith(word)]
        return exact[0] if exact else begun[0] if len(begun) == 1 else None


def field_of(question_id: str) -> str:
    """The field of a question by its id."""
    return f"{_PREFIX}{question_id}"


def questions_in(data: Mapping[str, Any]) -> tuple[Question, ...]:
    """The questions among the plugin's data that have no answer yet. What cannot be read is left out."""
    found: list[Question] = []
    for name, value in data.items():
        if name.startswith(_PREFIX):
            try:
                question = msgspec.convert(value, Question)
            except msgspec.ValidationError:
                continue
            if question.answer is None:
                found.append(question)
    return tuple(sorted(found, key=lambda question: (question.agent, question.id)))
