"""What agents ask in the middle of a round: which questions are open, and their answers, as by ``tt answer``."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from tinytown.errors import NotFound, UsageError
from tinytown.model.agents import Agent
from tinytown.model.ids import short_id
from tinytown.model.text import shown
from tinytown.town import Town
from tinytown_ops.questions.record import PLUGIN, Question, field_of, questions_in


async def open_questions(town: Town, agents: Iterable[Agent]) -> tuple[Question, ...]:
    """The questions of these agents whose rounds still wait. Raises: ServerUnreachable."""
    rounds = {agent.name: agent.round_id for agent in agents}
    data = await town.run(town.operations.plugin_data(PLUGIN))
    return tuple(question for question in questions_in(data) if rounds.get(question.agent) == question.round_id)


async def answer_question(town: Town, question_id: str, text: str) -> Question | None:
    """Answer the open question with this id; the question with its answer, or None if there is none.

    Raises: UsageError for an answer that is none of its options; NotFound if it was answered or withdrawn meanwhile.
    """
    kept = await town.run(town.operations.plugin_field(PLUGIN, field_of(question_id)))
    asked = next(iter(questions_in({field_of(question_id): kept})), None) if kept is not None else None
    if asked is None:
        return None
    chosen = asked.chosen(text)
    if chosen is None:
        raise UsageError(f"expected one of {', '.join(map(repr, asked.options))}, got {shown(text)!r}")
    answered = msgspec.structs.replace(asked, answer=chosen)
    call = town.operations.set_plugin_field(PLUGIN, asked.field, msgspec.to_builtins(answered), expected=kept)
    if not await town.run(call):
        raise NotFound(f"question {short_id(asked.id)} was answered or withdrawn meanwhile")
    return answered
