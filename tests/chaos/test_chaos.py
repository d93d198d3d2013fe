"""The chaos session in short, and that its checks see what they are there to see."""

from __future__ import annotations

import pytest
from tinytown.model.events import TaskStateChanged

from tests.chaos.findings import Findings, Given, completed_more_than_once, missing, out_of_order, read_log, repeated
from tests.chaos.trial import run_trial

GIVEN = [Given(1, "a", "normal"), Given(2, "a", "normal"), Given(3, "a", "high"), Given(4, "a", "normal", waits=True)]


@pytest.mark.faults
async def test_nothing_is_lost_or_done_twice_while_everything_fails_once() -> None:
    findings = await run_trial(11, tasks=120, faults=6, deadline_s=180)
    assert findings.broken.keys() <= {"taken_over_late_s"}, (
        findings.broken
    )  # times are for the session on a quiet machine
    assert len(findings.struck.keys() - {"agent killed", "tool killed"}) == 6
    assert findings.tasks == 120
    assert findings.takeovers_s


def test_what_no_line_tells_of_is_missing() -> None:
    log = read_log("note a normal 1\nbegun a normal 2\ndone a normal 2\n")
    assert missing(GIVEN, log.told) == [2, 3, 4]
    assert missing(GIVEN, log.done) == [1, 3, 4]


def test_order_counts_inside_a_priority_and_for_the_first_time_only() -> None:
    assert out_of_order(GIVEN, [("a", "normal", 1), ("a", "normal", 2), ("a", "normal", 1)]) == []
    assert out_of_order(GIVEN, [("a", "normal", 2), ("a", "high", 3), ("a", "normal", 1)]) == [1]
    assert out_of_order(GIVEN, [("a", "normal", 4), ("a", "normal", 1)]) == []  # 4 waits for others
    assert out_of_order(GIVEN, [("a", "normal", 2), ("b", "normal", 1)]) == []


def test_what_is_said_again_is_counted() -> None:
    assert repeated([("a", "normal", 1), ("a", "normal", 1), ("b", "normal", 1), ("a", "normal", 2)]) == 2


def test_a_second_completion_is_found() -> None:
    def moved(task: str, new: str) -> TaskStateChanged:
        return TaskStateChanged(id="1-0", at="", task=task, old="running", new=new)

    events = [moved("t1", "completed"), moved("t2", "completed"), moved("t1", "pending"), moved("t1", "completed")]
    assert completed_more_than_once(events) == ["t1"]


def test_a_log_that_somebody_else_wrote_into_is_refused() -> None:
    with pytest.raises((ValueError, KeyError)):
        read_log("something else\n")


def test_each_promise_can_break() -> None:
    good = {
        "seed": 1,
        "tasks": 1,
        "notes": 0,
        "duration_s": 1.0,
        "struck": {},
        "takeovers_s": (),
        "dead_letters": 0,
        "runs_repeated": 0,
        "notes_repeated": 0,
    }
    assert Findings(**good).broken == {}
    promises = [name for name in Findings.__dataclass_fields__ if name not in good]
    assert len(promises) == 11
    for name in promises:
        assert Findings(**good, **{name: ["x"]}).broken == {name: ["x"]}
