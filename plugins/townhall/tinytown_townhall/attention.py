"""What needs a person, the most pressing first. Pure: decides by what was read of the town."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from tinytown.model.results import MailboxEntry, Status
from tinytown.model.tasks import Task
from tinytown.model.text import counted, shown
from tinytown_cli.administration import DeadLetter
from tinytown_ops.costs.ledger import Account, Budget
from tinytown_ops.questions.record import Question

Kind = Literal[
    "frozen", "no_kernel", "question", "held", "error", "budget", "dead", "failed", "message", "parked", "other"
]
TEXT_CHARACTERS = 4_000


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that waits for a person. `id` names what it is about: a message, a task, an agent, a dead letter.

    A question whose `round_waits` was asked in the middle of a round; its answer is one of `options`, if there are any.
    What a plugin says is ``other``: `label` says in a word what it is, `link` where in the page it is decided.
    """

    kind: Kind
    id: str
    title: str
    text: str = ""
    since: str | None = None
    agent: str | None = None
    task: str | None = None
    options: Sequence[str] = ()
    round_waits: bool = False
    label: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """What is looked at. `questions` are those of rounds, `held` blocked tasks on hold, `failed` the latest that failed; `others`
    is what plugins say."""

    status: Status
    inbox: Sequence[MailboxEntry] = ()
    questions: Sequence[Question] = ()
    dead: Sequence[DeadLetter] = ()
    held: Sequence[Task] = ()
    failed: Sequence[Task] = ()
    budgets: Sequence[Budget] = ()
    accounts: Sequence[Account] = ()
    kernel_running: bool = True
    others: Sequence[Attention] = ()


def attention(found: Findings) -> list[Attention]:
    """What waits for a person, the most pressing first, each kind by its age."""
    return [
        *_of_town(found),
        *_of_rounds(found),
        *_messages(found, questions=True),
        *found.others,
        *_held(found),
        *_agents(found),
        *_budgets(found),
        *_dead(found),
        *_failed(found),
        *_messages(found, questions=False),
        *_accounts(found),
    ]


def _of_town(found: Findings) -> Iterator[Attention]:
    if frozen := found.status.frozen:
        yield Attention(kind="frozen", id="town", title="The town is frozen", text=frozen.reason, since=frozen.since)
    if not found.kernel_running and (agents := found.status.agents):
        yield Attention(
            kind="no_kernel",
            id="kernel",
            title="No kernel is running",
            text=f"{counted(len(agents), 'agent')} cannot work before one starts",
        )


def _of_rounds(found: Findings) -> Iterator[Attention]:
    letters = {entry.message.id: entry.message for entry in found.inbox if entry.message}
    for question in found.questions:
        letter = letters.get(question.id)
        yield Attention(
            kind="question",
            id=question.id,
            title=f"{question.agent} asks, and its round waits",
            text=question.question[:TEXT_CHARACTERS],
            since=letter.created_at or None if letter else None,
            agent=question.agent,
            task=question.task,
            options=question.options,
            round_waits=True,
        )


def _messages(found: Findings, *, questions: bool) -> Iterator[Attention]:
    of_rounds = {question.id for question in found.questions}
    for entry in found.inbox:
        message = entry.message
        if message is None or message.id in of_rounds:
            continue
        if (message.category == "query" or message.priority == "urgent") != questions:
            continue
        yield Attention(
            kind="question" if questions else "message",
            id=message.id,
            title=f"{message.sender} asks" if message.category == "query" else f"{message.sender} writes",
            text=message.text[:TEXT_CHARACTERS],
            since=message.created_at or None,
            agent=message.sender,
        )


def _held(found: Findings) -> Iterator[Attention]:
    for task in found.held:
        yield Attention(
            kind="held",
            id=task.id,
            title=shown(task.headline, 120),
            text=task.held or "",
            since=task.since,
            agent=task.assigned_to,
            task=task.id,
        )


def _agents(found: Findings) -> Iterator[Attention]:
    for agent in found.status.agents:
        if agent.state == "error":
            yield Attention(
                kind="error",
                id=agent.name,
                title=f"{agent.name} is in error",
                text=agent.reason or "",
                since=agent.since,
                agent=agent.name,
                task=agent.current_task,
            )


def _budgets(found: Findings) -> Iterator[Attention]:
    for budget in found.budgets:
        if budget.left is not None and budget.left <= 0 < budget.limit:
            whose = f" of {budget.agent}" if budget.agent else ""
            yield Attention(
                kind="budget",
                id=f"{budget.budget} {budget.agent or ''}".strip(),
                title=f"Budget {budget.budget}{whose} is spent",
                text=f"{budget.spent:g} of {budget.limit:g}; no round starts on it",
                agent=budget.agent,
            )


def _dead(found: Findings) -> Iterator[Attention]:
    for letter in found.dead:
        text = letter.message.text if letter.message else letter.raw.decode("utf-8", "replace")
        yield Attention(
            kind="dead",
            id=letter.id,
            title=f"Undeliverable to {letter.agent}: {shown(letter.reason, 120)}",
            text=text[:TEXT_CHARACTERS],
            since=letter.at,
            agent=letter.agent,
        )


def _failed(found: Findings) -> Iterator[Attention]:
    for task in found.failed:
        yield Attention(
            kind="failed",
            id=task.id,
            title=shown(task.headline, 120),
            text=task.reason or "",
            since=task.since,
            agent=task.assigned_to,
            task=task.id,
        )


def _accounts(found: Findings) -> Iterator[Attention]:
    for account in found.accounts:
        if account.parked_until:
            yield Attention(
                kind="parked",
                id=account.name,
                title=f"Account {account.name} is rate limited",
                text=f"{counted(account.agents, 'agent')} wait until {account.parked_until}",
            )
