"""What became of a run: what was given held against what the model saw, the commands wrote, git has and the ledger says.

The model and the commands know nothing of the town's records. The town is believed only where nobody else could know: when a
task was recorded as completed, how a round ended, and why a message was given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from tinytown.model.round_records import RoundRecord
from tinytown_ops.costs.ledger import CostRow

from .models import INPUT_TOKENS, OUTPUT_TOKENS, Asked
from .seats import Seat
from .work import Letter


@dataclass(frozen=True, slots=True)
class Bill:
    """An agent's rounds of one outcome: how many answers the model gave to them, and how many the ledger has."""

    agent: str
    outcome: str
    rounds: int
    answered: int
    booked: int


def unseen(letters: Iterable[Letter], seen: Mapping[tuple[str, str], float], written: set[str]) -> list[str]:
    """Words that no answered request had after they were sent. `written`: those that agents have sent."""
    expected = (each for each in letters if each.sent_at or each.word in written)
    return [
        f"{each.word} to {each.agent}, {each.priority}"
        for each in expected
        if seen.get((each.agent, each.word), -1.0) < each.sent_at
    ]


def seen_mid_round(
    records: Iterable[RoundRecord], letters: Iterable[Letter], seen: Mapping[tuple[str, str], float]
) -> int:
    """How many letters a model was shown inside of a round that had begun before they were sent."""
    spans = [(record.agent, *_span(record)) for record in records]
    return sum(
        any(agent == letter.agent and began < letter.sent_at < at < ended for agent, began, ended in spans)
        for letter in letters
        if letter.sent_at and (at := seen.get((letter.agent, letter.word)))
    )


def _span(record: RoundRecord) -> tuple[float, float]:
    """When a round began and ended, in seconds since 1970."""
    began, ended = (datetime.fromisoformat(text).timestamp() for text in (record.began_at, record.ended_at))
    return began, ended


def bills(
    records: Iterable[RoundRecord], asked: Sequence[Asked], seats: Iterable[Seat]
) -> tuple[list[Bill], list[str]]:
    """What each agent's rounds cost by both sides, and what is wrong with it.

    A finished round of a CLI that reports its usage has all of its answers booked, perhaps with what the CLI asked aside or
    what was begun and cut off.
    Answers to rounds that did not finish, or that were lost with their kernel (``not recorded``), may be missing, or be booked
    with a later round of the same session.
    """
    lines: list[Bill] = []
    wrong: list[str] = []
    ordered = sorted(records, key=_span)
    for seat in seats:
        mine = [each for each in asked if each.agent == seat.name]
        left = sorted(each.at for each in mine if each.answered and not each.aside)
        asides = sorted(each.at for each in mine if each.aside)
        totals: dict[str, list[int]] = {}
        carried = 0  # may be booked, and is not yet
        unsaid = 0  # output of answers that were booked as they began, before Claude Code said how long they became
        for record in (each for each in ordered if each.agent == seat.name):
            began, ended = _span(record)
            lost = sum(at < began for at in left)
            answered = sum(began <= at <= ended for at in left)
            totals.setdefault("not recorded", [0, 0, 0])[1] += lost
            carried += lost + sum(at <= ended for at in asides)
            left, asides = ([at for at in times if at > ended] for times in (left, asides))
            usage = record.usage or {}
            booked, rest = divmod(int(usage.get("input_tokens") or 0), INPUT_TOKENS)
            output = int(usage.get("output_tokens") or 0)
            if rest or not booked <= output <= booked * OUTPUT_TOKENS + unsaid:
                wrong.append(f"{seat.name} {record.round_id}: {dict(usage)} is no number of answers")
            least = answered if record.outcome == "finished" and seat.counts else 0
            if not least <= booked <= answered + carried:
                wrong.append(
                    f"{seat.name} {record.round_id} {record.outcome}: {answered} answers, {carried} before, {booked} booked"
                )
            carried = max(0, carried + answered - booked)
            unsaid = max(0, unsaid + booked * OUTPUT_TOKENS - output)
            for index, number in enumerate((1, answered, booked)):
                totals.setdefault(record.outcome, [0, 0, 0])[index] += number
        totals.setdefault("not recorded", [0, 0, 0])[1] += len(left)
        lines += [Bill(seat.name, outcome, *line) for outcome, line in sorted(totals.items()) if any(line)]
    return lines, wrong


#: Rounds that ended so cost nothing unless their backend says otherwise.
_NO_ROUND = ("rate_limited", "unauthorized", "unavailable")


def compare_ledger(records: Sequence[RoundRecord], total: CostRow) -> list[str]:
    """What the ledger says otherwise than the records of all rounds: how many there were, and their tokens."""
    counted = sum(record.usage is not None or record.outcome not in _NO_ROUND for record in records)
    tokens = [
        sum(int((record.usage or {}).get(name) or 0) for record in records)
        for name in ("input_tokens", "output_tokens")
    ]
    recorded, booked = (counted, *tokens), (total.rounds, total.input_tokens, total.output_tokens)
    return [] if recorded == booked else [f"rounds, input and output: {recorded} recorded, {booked} in the ledger"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """A run. The first block are promises: each is empty or the run has failed."""

    lost_tasks: list[str] = field(default_factory=list[str])
    completed_twice: list[str] = field(default_factory=list[str])
    at_once: list[str] = field(default_factory=list[str])
    not_merged: list[str] = field(default_factory=list[str])
    lost_letters: list[str] = field(default_factory=list[str])
    lost_answers: list[str] = field(default_factory=list[str])
    dead_letters: list[str] = field(default_factory=list[str])
    wrong_costs: list[str] = field(default_factory=list[str])
    agents_in_error: list[str] = field(default_factory=list[str])
    accounts_parked: list[str] = field(default_factory=list[str])
    stray_keys: list[str] = field(default_factory=list[str])
    bad_exits: list[str] = field(default_factory=list[str])
    left: list[str] = field(default_factory=list[str])

    seed: int
    duration_s: float
    agents: Mapping[str, str]
    tasks: int
    letters: int
    questions: int
    seen_mid_round: int
    begun_again: int
    rounds: Mapping[str, int]
    requests: int
    struck: Mapping[str, int]
    bills: Sequence[Bill]

    @property
    def broken(self) -> dict[str, list[str]]:
        """The promises that did not hold, and by what."""
        promises = tuple(Findings.__dataclass_fields__)[:13]
        return {name: value for name in promises if (value := getattr(self, name))}

    def record(self) -> dict[str, Any]:
        """The run as JSON."""
        plain = replace(self, struck=dict(self.struck), rounds=dict(self.rounds))  # asdict makes no Counter again
        return asdict(plain) | {"broken": sorted(self.broken)}


def report(found: Findings) -> list[str]:
    """The run for people."""
    lines = [f"{name:>34}  {count:>5}" for name, count in sorted(found.struck.items())]
    lines += ["", *(f"{f'rounds {outcome}':>34}  {count:>5}" for outcome, count in sorted(found.rounds.items()))]
    facts = ("tasks", "letters", "questions", "seen_mid_round", "begun_again", "requests")
    lines += ["", *(f"{name.replace('_', ' '):>34}  {getattr(found, name):>5}" for name in facts)]
    lines += ["", f"{'agent':>8} {'rounds that ended':>20} {'rounds':>7} {'answered':>9} {'booked':>7}"]
    lines += [f"{b.agent:>8} {b.outcome:>20} {b.rounds:>7} {b.answered:>9} {b.booked:>7}" for b in found.bills]
    lines += ["", *(f"BROKEN {name}: {len(what)}: {what[:10]}" for name, what in found.broken.items())]
    return lines + ([] if found.broken else ["all promises held"])
