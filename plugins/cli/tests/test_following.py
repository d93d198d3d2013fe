"""``tt inbox --follow`` and ``tt events --notify``: what is printed as it happens, and when the terminal rings."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tinytown.model.events import (
    AgentStateChanged,
    BudgetSpent,
    Event,
    MessageSent,
    RoundEnded,
    TaskStateChanged,
)
from tinytown_cli.occasions import OCCASIONS, URGENT_OCCASIONS, occasion_of
from tinytown_testing.shell import Shell

DEADLINE_S = 60.0


@contextmanager
def following(shell: Shell, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A command whose stderr is a terminal, and the other end of it."""
    outside, inside = pty.openpty()
    process = subprocess.Popen(
        shell.argv(*words), cwd=shell.directory, env=shell.variables, stdout=subprocess.PIPE, stderr=inside, text=True
    )
    os.close(inside)
    try:
        yield process, outside
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)
        os.close(outside)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def rings(terminal: int, count: int) -> bool:
    """Whether the bell rings so often before the deadline."""
    until = time.monotonic() + DEADLINE_S
    heard = 0
    while heard < count and time.monotonic() < until:
        if select.select([terminal], [], [], 0.1)[0]:
            heard += os.read(terminal, 100).count(b"\a")
    return heard == count


def has_rung(terminal: int) -> bool:
    return bool(select.select([terminal], [], [], 0)[0])


def test_a_followed_inbox_prints_what_is_there_and_then_what_arrives_and_rings(in_town: Shell) -> None:
    in_town("send", "supervisor", "before", "--info")
    with following(in_town, "inbox", "--follow", "--json") as (process, terminal):
        assert json.loads(line_of(process))["summary"] == "before"
        assert not has_rung(terminal)
        in_town("spawn", "rita", "--cli", "echo", "--no-start")
        in_town("send", "rita", "not for me", "--info")
        in_town("send", "supervisor", "merge it?", "--query", "--urgent")
        entry = json.loads(line_of(process))
        assert (entry["question"], entry["place"], entry["priority"]) == ("merge it?", "queued", "urgent")
        assert rings(terminal, 1)
    in_town("inbox", "--remove", "all")


def test_a_followed_inbox_reads_well(in_town: Shell) -> None:
    with following(in_town, "inbox", "--follow") as (process, _):
        assert line_of(process) == "no mail for supervisor\n"
        sent = in_town("send", "supervisor", "two\nlines", "--query", "--urgent", "--json").json["message_id"]
        assert line_of(process)[10:] == f"supervisor -> supervisor: urgent query {sent[:8]}: two lines\n"
    in_town("inbox", "--remove", "all")
    in_town("spawn", "sid", "--cli", "echo", "--no-start")
    with following(in_town, "inbox", "sid", "--follow", "--full") as (process, _):
        assert line_of(process) == "no mail for sid\n"
        sent = in_town("send", "sid", "three\nlines", "--json").json["message_id"]
        assert line_of(process)[10:] == f"supervisor -> sid: task {sent[:8]}\n"
        assert [line_of(process) for _ in range(3)] == ["three\n", "lines\n", "\n"]


def test_followed_events_ring_when_a_person_is_needed(in_town: Shell) -> None:
    with following(in_town, "events", "--follow", "--limit", "0", "--notify", "--json") as (process, terminal):
        while not has_started(in_town, process):
            pass
        in_town("send", "supervisor", "for your information", "--info")
        in_town("send", "supervisor", "is it good?", "--query")
        assert rings(terminal, 1)
        assert not has_rung(terminal)
    in_town("inbox", "--remove", "all")


def has_started(shell: Shell, process: subprocess.Popen[str]) -> bool:
    """Whether it prints an event of the town's, of which one is made."""
    assert process.stdout is not None
    shell("send", "supervisor", "are you there?", "--info")
    return bool(select.select([process.stdout], [], [], 1.0)[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("inbox", "--follow", "--remove", "all"), "expected --follow without --remove"),
        (("events", "--notify"), "expected --notify with --follow"),
    ],
)
def test_what_cannot_be_followed_is_said(in_town: Shell, words: tuple[str, ...], message: str) -> None:
    assert message in in_town(*words, code=2).err


def test_following_needs_no_terminal(in_town: Shell) -> None:
    with in_town.start("inbox", "--follow", "--json") as process:
        in_town("send", "supervisor", "without a bell", "--query")
        assert json.loads(line_of(process))["question"] == "without a bell"
        process.terminate()
        assert process.communicate(timeout=DEADLINE_S)[1] == ""
    in_town("inbox", "--remove", "all")


def event(kind: type[Event], **members: object) -> Event:
    return kind(id="1-0", at="2026-01-31T09:30:00.125Z", **members)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("happened", "occasion"),
    [
        (event(MessageSent, message="m", sender="rita", recipient="supervisor", category="query"), "question"),
        (event(MessageSent, message="m", sender="rita", recipient="supervisor", category="task"), "approval"),
        (event(MessageSent, message="m", sender="rita", recipient="supervisor", category="confirmation"), "mail"),
        (event(MessageSent, message="m", sender="rita", recipient="ada", category="query"), None),
        (event(TaskStateChanged, task="t", old="running", new="failed"), "task_failed"),
        (event(TaskStateChanged, task="t", old="assigned", new="running"), None),
        (event(AgentStateChanged, agent="ada", old="working", new="error"), "agent_error"),
        (event(AgentStateChanged, agent="ada", old="error", new="error"), None),
        (event(BudgetSpent, budget="day_usd", spent=2.0, limit=1.0), "budget_spent"),
        (event(RoundEnded, agent="ada", round_id="r", outcome="failed"), None),
    ],
)
def test_an_event_is_an_occasion_to_call_a_person_or_none(happened: Event, occasion: str | None) -> None:
    assert occasion_of(happened) == occasion
    assert OCCASIONS.keys() > URGENT_OCCASIONS
