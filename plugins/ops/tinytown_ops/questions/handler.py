"""Asks the supervisor what a session wants to know: keeps the question in the town, sends a letter, waits for ``tt answer``.

Once nobody waits any more, neither question nor letter is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec
import trio
from tinytown.contracts import QuestionHandler, WorkContext
from tinytown.errors import TinytownError
from tinytown.model.ids import SUPERVISOR, new_id, short_id
from tinytown.model.messages import Query
from tinytown_cli import administration

from tinytown_ops.questions.record import PLUGIN, Question, questions_in

_CLEAN_UP_S = 2.0


class SupervisorQuestions(QuestionHandler):
    """The last handler: a person."""

    name = "supervisor"

    async def ask(self, work: WorkContext, question: str, options: Sequence[str]) -> str | None:
        """The answer of a person. Until there is one, `tt questions` lists it."""
        town, operations, agent = work.town, work.town.operations, work.agent
        asked = Question(
            id=new_id(),
            agent=agent.name,
            question=question,
            options=tuple(options),
            task=work.task.id if work.task else None,
            round_id=work.round_id,
        )
        for left in questions_in(await town.run(operations.plugin_data(PLUGIN))):  # by a kernel that was killed
            if left.agent == agent.name:
                await town.run(operations.set_plugin_field(PLUGIN, left.field, None))
        about = {"agent": agent.name, "question": asked.id, "text": question}
        try:
            kept = operations.set_plugin_field(
                PLUGIN, asked.field, msgspec.to_builtins(asked), event=("question_asked", about)
            )
            await town.run(kept)
            await town.send(SUPERVISOR, Query(question=_letter(asked)), sender=agent.name, message_id=asked.id)
            answered = await town.wait_until(
                lambda: town.run(operations.plugin_field(PLUGIN, asked.field)),
                lambda value: value is None or value.get("answer") is not None,
            )
            return answered and str(answered["answer"])
        finally:
            with trio.CancelScope(shield=True, relative_deadline=_CLEAN_UP_S), suppress(TinytownError):
                await town.run(operations.set_plugin_field(PLUGIN, asked.field, None))
                # Last: who answered may have taken the letter out already.
                await town.run(administration.remove_message(operations.keys, SUPERVISOR, asked.id))


def _letter(question: Question) -> str:
    lines = [question.question, *(f"  {number}. {option}" for number, option in enumerate(question.options, 1))]
    return "\n".join(
        [*lines, f"(its round waits: tt answer {short_id(question.id)} {'1' if question.options else 'TEXT'})"]
    )
