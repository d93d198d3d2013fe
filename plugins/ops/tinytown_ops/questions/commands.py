"""``tt questions``, ``tt answer`` and ``tt deny``: what agents ask in the middle of a round, and the answer.

``tt approve`` is the command of whoever has work to approve; it finds `find_permission` by an entry point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import click
import msgspec
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.model.ids import short_id
from tinytown.model.text import shown
from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand

from tinytown_ops.questions.record import PLUGIN, Question, questions_in

#: The options of a question that is about a permission.
_ALLOW, _DENY = "allow", "deny"


@click.command(cls=TownCommand, examples=["tt questions", "tt questions --json"])
@pass_cli_context
def questions(context: CliContext) -> None:
    """List what agents ask; the rounds that ask wait for tt answer."""
    with context.open_town() as town:
        found = _open_questions(town)
    lines = [line for question in found for line in _lines(question)] or ["no agent asks anything"]
    context.emit({"questions": found}, lines)


@click.command(cls=TownCommand, examples=["tt answer 1f3a yes", "tt answer 1f3a 2"])
@click.argument("question")
@click.argument("answer")
@pass_cli_context
def answer(context: CliContext, question: str, answer: str) -> None:
    """Answer QUESTION, by its id or the beginning of it. ANSWER is an option, its number, or any text if there are no options."""
    with context.open_town() as town:
        _refuse_agents(town)
        context.emit(*_give(town, _find(_open_questions(town), question), answer))


@click.command(cls=TownCommand, examples=["tt deny 1f3a"], scope="town.write")
@click.argument("question")
@pass_cli_context
def deny(context: CliContext, question: str) -> None:
    """Refuse what an agent asks permission for in QUESTION, by its id or the beginning of it. tt approve permits it."""
    with context.open_town() as town:
        _refuse_agents(town)
        context.emit(*_give(town, _find(_permissions(town), question), _DENY))


def find_permission(town: TownClient, word: str) -> Callable[[], tuple[Mapping[str, str], str]] | None:
    """What permits what an agent asks for in the question that `word` names, for ``tt approve``; None if it names none.

    Raises: UsageError for a beginning of several ids.
    """
    try:
        return partial(_give, town, _find(_permissions(town), word), _ALLOW)
    except NotFound:
        return None


def _permissions(town: TownClient) -> tuple[Question, ...]:
    """The open questions that are about a permission."""
    return tuple(question for question in _open_questions(town) if {_ALLOW, _DENY} <= {*question.options})


def _refuse_agents(town: TownClient) -> None:
    """Raises: Refused to an agent."""
    if town.caller.is_agent:
        raise Refused("questions of agents are answered by people", hint="ask the supervisor: tt send supervisor TEXT")


def _give(town: TownClient, asked: Question, answer: str) -> tuple[Mapping[str, str], str]:
    """Answer a question; what to print of it. Raises: Refused to an agent; UsageError; NotFound if it is open no more."""
    _refuse_agents(town)
    chosen = asked.chosen(answer)
    if chosen is None:
        raise UsageError(
            f"expected one of {', '.join(map(repr, asked.options))}, got {shown(answer)!r}",
            hint=f"or a number from 1 to {len(asked.options)}",
        )
    kept = town.run(town.operations.plugin_field(PLUGIN, asked.field))
    answered = {**msgspec.to_builtins(asked), "answer": chosen}
    call = town.operations.set_plugin_field(PLUGIN, asked.field, answered, expected=kept)
    if kept is None or not town.run(call):
        raise NotFound(
            f"question {short_id(asked.id)} was answered or withdrawn meanwhile",
            hint="tt questions lists those that are open",
        )
    shape = {"question": asked.id, "agent": asked.agent, "answer": chosen}
    return shape, f"{asked.agent} gets the answer: {shown(chosen, 200)}"


def _open_questions(town: TownClient) -> tuple[Question, ...]:
    """The questions whose rounds still wait."""
    data, agents = town.run_all([town.operations.plugin_data(PLUGIN), town.operations.agents()])
    rounds = {agent.name: agent.round_id for agent in agents}
    return tuple(question for question in questions_in(data) if rounds.get(question.agent) == question.round_id)


def _find(found: tuple[Question, ...], reference: str) -> Question:
    """Raises: NotFound, or UsageError for a beginning of several ids."""
    matching = [question for question in found if reference and question.id.startswith(reference.lower())]
    if not matching:
        raise NotFound(f"no open question {shown(reference)!r}", hint="tt questions lists those that are open")
    if len(matching) > 1:
        ids = ", ".join(question.id for question in matching)
        raise UsageError(
            f"more than one question begins with {shown(reference)!r}: {ids}", hint="write more of it", code="ambiguous"
        )
    return matching[0]


def _lines(question: Question) -> list[str]:
    about = f" (task {short_id(question.task)})" if question.task else ""
    options = [f"      {number}. {shown(option, 200)}" for number, option in enumerate(question.options, 1)]
    return [f"{short_id(question.id)}  {question.agent}{about}: {shown(question.question, 500)}", *options]
