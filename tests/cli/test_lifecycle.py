"""Holding tasks, as it is typed."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Shell


def test_a_task_is_held_for_a_while_and_released(in_town: Shell) -> None:
    id_ = in_town("backlog", "add", "work", "--json").json["task_id"]
    held = in_town("task", "hold", id_, "--reason", "wait for the design", "--until", "2h", "--json").json
    assert (held["state"], held["reason"]) == ("blocked", "held: wait for the design")
    assert held["held_until"] > held["since"]
    assert "held: wait for the design" in in_town("task", "show", id_).out
    assert id_ not in in_town("backlog", "list").out
    assert in_town("task", "release", id_[:8]).out.startswith(f"task {id_} is pending")
    assert in_town("task", "release", id_, "--json", code=4).error["code"] == "refused"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--reason", ""), 2),
        ((), 2),
        (("--reason", "x", "--until", "soon"), 2),
        (("--reason", "x", "--until", "2001-01-01"), 2),
        (("--reason", "x\x07"), 2),
        (("--reason", "x" * 10_001), 2),
    ],
)
def test_a_hold_without_a_good_reason_or_moment_is_an_error_in_one_line(
    in_town: Shell, words: tuple[str, ...], code: int
) -> None:
    id_ = in_town("backlog", "add", "work", "--json").json["task_id"]
    assert "Traceback" not in in_town("task", "hold", id_, *words, code=code).err
    assert in_town("task", "show", id_, "--json").json["state"] == "pending"


def test_a_town_is_frozen_and_thawed_and_says_so(in_town: Shell) -> None:
    told = in_town("estop", "--reason", "the bill", "--json").json
    assert (told["was_frozen"], told["frozen"]["reason"], told["hosts"]) == (False, "the bill", [])
    assert "was frozen already" in in_town("estop").out
    assert "the bill; tt thaw lets it go on" in in_town("status").out
    assert in_town("status", "--json").json["frozen"]["reason"] == "the bill"
    assert in_town("thaw", "--json").json == {"was_frozen": True}
    assert "was not frozen" in in_town("thaw").out
    assert in_town("status", "--json").json["frozen"] is None
