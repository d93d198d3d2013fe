from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
from tinytown.model.round_records import RoundRecord
from tinytown_ops.costs.ledger import CostRow
from tinytown_testing.models.requests import read_request

from tests.endurance.findings import Bill, Findings, bills, compare_ledger, report, seen_mid_round, unseen
from tests.endurance.models import INPUT_TOKENS, OUTPUT_TOKENS, Asked, Models
from tests.endurance.seats import SEATS, installed_seats, whose
from tests.endurance.trial import BRISK, run_trial
from tests.endurance.work import Letter
from tests.real_clis.clis import DIRECTORIES_VARIABLE

ADA, FAY = SEATS[0], next(seat for seat in SEATS if not seat.has_shell)
DEADLINE_S = 270.0


@pytest.mark.real_clis
async def test_nothing_is_lost_while_real_clis_and_all_around_them_fail() -> None:
    seats = installed_seats()
    if not seats:
        pytest.skip(f"set {DIRECTORIES_VARIABLE} to the directories that hold real CLIs to run them")
    with trio.fail_after(DEADLINE_S):
        found = await run_trial(1, seats, harm_s=25.0, peace_s=180.0, pace=BRISK)
    print(*report(found), sep="\n")
    assert sorted(found.broken) == []
    assert found.tasks
    assert found.struck


def record(began: float, ended: float, *, booked: int = 0, output: int = 0, **members: Any) -> RoundRecord:
    times = [datetime.fromtimestamp(at, UTC).isoformat() for at in (began, ended)]
    usage = {"input_tokens": booked * INPUT_TOKENS, "output_tokens": output or booked * OUTPUT_TOKENS}
    given: dict[str, Any] = {"round_id": "r", "agent": "ada", "outcome": "finished", "usage": usage, **members}
    return RoundRecord(began_at=times[0], ended_at=times[1], **given)


def asked(*times: float, **members: Any) -> list[Asked]:
    return [Asked("ada", at, frozenset(), "", **{"answered": True, **members}) for at in times]


def test_a_letter_is_seen_if_its_agent_was_shown_it_after_it_was_sent() -> None:
    letters = [Letter("letter-1", "ada", "urgent", 10.0), Letter("letter-2", "ben", "normal", 0.0)]
    assert unseen(letters, {("ada", "letter-1"): 11.0}, set()) == []
    assert unseen(letters, {("ada", "letter-1"): 9.0}, set()) == ["letter-1 to ada, urgent"]
    assert unseen(letters, {("ben", "letter-1"): 11.0}, set()) == ["letter-1 to ada, urgent"]
    assert unseen(letters[1:], {}, {"letter-2"}) == ["letter-2 to ben, normal"]


def test_a_letter_that_comes_while_its_round_runs_is_seen_in_the_middle_of_it() -> None:
    rounds = [record(100.0, 200.0)]
    letters = [Letter(f"letter-{at:g}", "ada", "urgent", at) for at in (90.0, 150.0, 190.0)]
    seen = {("ada", "letter-90"): 110.0, ("ada", "letter-150"): 160.0, ("ada", "letter-190"): 210.0}
    assert seen_mid_round(rounds, letters, seen) == 1


@pytest.mark.parametrize(
    ("rounds", "answers", "is_wrong"),
    [
        ([record(10, 20, booked=2)], asked(11, 12), False),
        ([record(10, 20, booked=1)], asked(11, 12), True),
        ([record(10, 20, booked=3)], asked(11, 12), True),
        ([record(10, 20, booked=2)], asked(11) + asked(12, answered=False), True),
        ([record(10, 20, booked=2)], asked(11) + asked(12, aside=True), False),
        ([record(10, 20, booked=2)], asked(11) + asked(12, aside=True, answered=False), False),
        ([record(10, 20, booked=1, outcome="lost")], asked(11, 12), False),
        ([record(10, 20, outcome="lost", usage=None), record(30, 40, booked=2)], asked(11, 31), False),
        ([record(30, 40, booked=2)], asked(11, 31), False),
        ([record(30, 40, booked=1), record(50, 60, booked=3)], asked(11, 31, 51), True),
        ([record(10, 20, usage={"input_tokens": INPUT_TOKENS + 1, "output_tokens": OUTPUT_TOKENS})], asked(11), True),
        ([record(10, 20, booked=1, output=OUTPUT_TOKENS + 1)], asked(11), True),
        (
            [
                record(10, 20, booked=1, output=1, outcome="lost"),
                record(30, 40, booked=1, output=2 * OUTPUT_TOKENS - 1),
                record(50, 60, booked=1, output=OUTPUT_TOKENS + 1),
            ],
            asked(11, 31, 51),
            True,
        ),
        (
            [
                record(10, 20, booked=1, output=1, outcome="lost"),
                record(30, 40, booked=1, output=2 * OUTPUT_TOKENS - 1),
            ],
            asked(11, 31),
            False,
        ),
    ],
    ids=[
        "all is booked",
        "too little",
        "too much",
        "an answer that was cut off",
        "what it asked aside",
        "what was begun",
        "lost before its end",
        "a lost round is booked with the next",
        "so is one whose kernel was killed",
        "but not twice",
        "no number of answers",
        "more than an answer",
        "the rest of an answer, twice",
        "the rest of one that was booked as it began",
    ],
)
def test_a_finished_round_is_booked_as_the_model_has_answered_it(
    rounds: list[RoundRecord], answers: list[Asked], is_wrong: bool
) -> None:
    _, wrong = bills(rounds, answers, [ADA])
    assert bool(wrong) is is_wrong, wrong


def test_what_each_agents_rounds_cost_is_summed_by_how_they_ended() -> None:
    rounds = [record(10, 20, booked=2), record(30, 40, usage=None, outcome="lost"), record(50, 60, booked=1)]
    lines, _ = bills(rounds, asked(11, 12, 31, 45, 51), [ADA])
    assert lines == [
        Bill("ada", "finished", 2, 3, 3),
        Bill("ada", "lost", 1, 1, 0),
        Bill("ada", "not recorded", 0, 1, 0),
    ]


def test_the_ledger_has_every_round_that_took_place() -> None:
    rounds = [record(10, 20, booked=2), record(30, 40, usage=None, outcome="rate_limited")]
    total = CostRow(name="", rounds=1, input_tokens=2 * INPUT_TOKENS, output_tokens=2 * OUTPUT_TOKENS)
    assert compare_ledger(rounds, total) == []
    assert compare_ledger([*rounds, record(50, 60)], total)


def test_each_promise_can_break() -> None:
    good = {
        "seed": 1,
        "duration_s": 1.0,
        "agents": {},
        "tasks": 1,
        "letters": 1,
        "questions": 1,
        "seen_mid_round": 0,
        "begun_again": 0,
        "rounds": {},
        "requests": 1,
        "struck": {},
        "bills": (),
    }
    assert Findings(**good).broken == {}
    assert report(Findings(**good))[-1] == "all promises held"
    promises = [name for name in Findings.__dataclass_fields__ if name not in good]
    assert len(promises) == 13
    for name in promises:
        assert Findings(**good, **{name: ["x"]}).broken == {name: ["x"]}


def test_no_two_agents_ask_for_the_same_model() -> None:
    for seat in SEATS:
        assert whose(SEATS, seat.api, seat.model or "any") is seat
    assert whose(SEATS, FAY.api, f"{FAY.model}-mini") is FAY


def conversation(*said: tuple[str, str], tools: tuple[str, ...] = ("Bash", "mcp__town__send")) -> Any:
    messages: list[dict[str, Any]] = []
    for who, text in said:
        if who == "tool":
            content: Any = [{"type": "tool_result", "tool_use_id": "1", "content": text}]
        else:
            content = text
        messages.append({"role": "assistant" if who == "model" else "user", "content": content})
    body = {"model": "any", "messages": messages, "tools": [{"name": name} for name in tools]}
    return read_request("anthropic", "/v1/messages", body, str(body))


def test_the_model_writes_works_and_ends_and_repeats_what_has_failed() -> None:
    done: set[int] = set()
    models = Models(SEATS, "sh work", done)
    said = [("user", "[[task 7 1 ben letter-7]]")]
    results = ["error: the server is down", '{"message_id": "x"}', "the command was killed", "ok"]
    for result, expected in zip(results, ("mcp", "mcp", "shell", "shell"), strict=True):
        assert expected in models.choose(conversation(*said))
        said += [("model", ""), ("tool", result)]
    assert models.written == {"letter-7"}
    done.add(7)
    assert models.choose(conversation(*said))["text"].startswith("done")


def test_mail_in_the_middle_of_a_round_does_not_make_the_model_forget_its_task() -> None:
    models = Models(SEATS, "sh work", set())
    said = [("user", "[[task 7 1 - -]]"), ("model", ""), ("user", "Remember letter-8.")]
    assert "shell" in models.choose(conversation(*said[:1]))
    assert "shell" in models.choose(conversation(*said))


def test_while_the_model_is_in_trouble_everybody_gets_it() -> None:
    models = Models(SEATS, "sh work", set())
    models.trouble = {"status": 529}
    assert models.choose(conversation(("user", "[[task 7 1 - -]]")))["status"] == 529
    models.trouble = {"drop": "stream"}  # what does not stream has no middle
    assert models.choose(conversation(("user", "[[task 7 1 - -]]")))["drop"] == "start"


def test_a_word_counts_as_seen_once_its_request_was_answered() -> None:
    models = Models(SEATS, "sh work", set())
    entry = {"api": "anthropic", "model": "any", "tools": ["Bash"], "reply": {"text": "ok"}, "body": {"x": "letter-7"}}
    number = models.note(entry)
    assert models.seen == {}
    models.note_answered(number)
    assert models.seen["ada", "letter-7"] <= time.time()
    models.note({**entry, "tools": []})
    models.note({**entry, "api": FAY.api, "model": FAY.model, "tools": []})
    models.note({**entry, "api": FAY.api, "model": f"{FAY.model}-mini", "tools": []})
    assert [each.aside for each in models.asked] == [False, True, False, True]
    assert models.note({"api": "chat", "model": "no such model", "tools": [], "reply": {"text": "ok"}, "body": {}})
    assert models.strangers == ["chat no such model"]
