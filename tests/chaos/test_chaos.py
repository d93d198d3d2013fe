"""The chaos session in short, and that its checks see what they are there to see."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tinytown.model.events import TaskStateChanged

from tests.chaos.findings import Findings, Given, completed_more_than_once, missing, out_of_order, read_log, repeated
from tests.chaos.harm import VERBS
from tests.chaos.stage import WORKER, without_messages
from tests.chaos.trial import run_trial

GIVEN = [Given(1, "a", "normal"), Given(2, "a", "normal"), Given(3, "a", "high"), Given(4, "a", "normal", waits=True)]


@pytest.mark.faults
async def test_nothing_is_lost_or_done_twice_while_everything_fails_once() -> None:
    findings = await run_trial(11, tasks=120, faults=6, deadline_s=180)
    assert findings.broken.keys() <= {"taken_over_late_s"}, (
        findings.broken
    )  # times are for the session on a quiet machine
    small = {"agent killed", "tool killed", *(f"{verb} by an operator" for verb in VERBS)}
    assert len(findings.struck.keys() - small) == 6
    assert findings.tasks == 120
    assert findings.takeovers_s


def test_what_no_line_tells_of_is_missing() -> None:
    log = read_log("note a normal 1\nbegun a normal 2\ndone a normal 2\n")
    assert missing(GIVEN, log.reported) == [2, 3, 4]
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
        "histories": (),
    }
    assert Findings(**good).broken == {}
    promises = [name for name in Findings.__dataclass_fields__ if name not in good]
    assert len(promises) == 13
    for name in promises:
        assert Findings(**good, **{name: ["x"]}).broken == {name: ["x"]}


@pytest.mark.parametrize("size", range(1, 60))
def test_a_deaf_gate_loses_notifications_and_nothing_else(size: int) -> None:
    message = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\n\r\n>\r\n"
    replies = [b"+OK\r\n", b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", b"$3\r\n>3\r\r\n", b"*1\r\n$1\r\n>\r\n"]
    data = message.join([b"", *replies, b""])
    passed = held = b""
    for begin in range(0, len(data), size):
        more, held = without_messages(held + data[begin : begin + size])
        passed += more
    assert (passed, held) == (b"".join(replies), b"")


def test_two_processes_on_one_task_are_seen(tmp_path: Path) -> None:
    log, worker = tmp_path / "log", tmp_path / "worker.sh"
    worker.write_text(WORKER)
    (tmp_path / "log.d").mkdir()
    environment = {
        "PATH": os.environ["PATH"], "CHAOS_LOG": str(log), "TINYTOWN_AGENT_NAME": "a", "TINYTOWN_TASK_ID": "t",
    }  # fmt: skip

    def start(duration_s: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["sh", str(worker)], env=environment, stdin=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdin
        process.stdin.write(f"chaos-task 7 high {duration_s} plain\n")
        process.stdin.close()
        return process

    first = start("600")
    try:
        while not log.exists() or "begun" not in log.read_text():
            time.sleep(0.01)
        assert start("0").wait(60) == 0
        assert read_log(log.read_text()).at_once == (("a", "high", 7),)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    assert start("0").wait(60) == 0
    assert len(read_log(log.read_text()).at_once) == 1
