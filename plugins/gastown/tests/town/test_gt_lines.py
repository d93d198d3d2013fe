"""Lines that people and prompts of Gastown type, with ``alias gt=tt``."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from tinytown_testing.shell import Shell


@pytest.fixture
def gt(in_town: Shell) -> Any:
    """Runs a line as it is typed; what it prints as JSON."""

    def run(line: str, **options: Any) -> Any:
        program, *words = shlex.split(line)
        assert program == "gt"
        return in_town.json(*words, **options) if "code" not in options else in_town(*words, **options)

    return run


def bead(shell: Shell, id_: str) -> str:
    """An issue with this id."""
    return shell(
        "create", f"title of {id_}", "--id", id_, "--silent", program=("-m", "tinytown_gastown.bd")
    ).out.strip()


def test_the_lines_of_the_guide_run(gt: Any, in_town: Shell) -> None:
    bead(in_town, "gt-abc12")
    slung = gt("gt sling gt-abc12 gastown/polecats/Toast --agent echo --create --no-start")
    assert (slung["agent"], slung["spawned"], slung["task_ids"]) == ("Toast", True, ["gt-abc12"])
    convoy = gt('gt convoy create "Feature X" gt-abc12 --notify mayor/')
    assert (convoy["name"], convoy["description"], convoy["total"]) == ("feature-x", "Feature X", 1)
    assert gt('gt convoy create "Feature X" gt-abc12')["name"] == "feature-x-2"
    assert gt("gt convoy status feature-x")["name"] == "feature-x"
    assert gt("gt hook show gastown/polecats/Toast")["task"]["id"] == "gt-abc12"
    assert gt("gt hook Toast")["agent"] == "Toast"
    assert gt("gt prime gastown/polecats/Toast --hook")["agent"] == "Toast"
    assert gt("gt peek gastown/polecats/Toast 50")["agent"] == "Toast"
    gt('gt convoy create "!!!"', code=2)


def test_several_beads_are_slung_at_once(gt: Any, in_town: Shell) -> None:
    ids = [bead(in_town, f"gt-s{number}") for number in range(3)]
    slung = gt(
        f"gt sling {' '.join(ids)} shop/crew/sue --agent echo -s Hello -m 'be quick' --merge direct --no-convoy --no-start"
    )
    assert slung["task_ids"] == ids
    assert [task["assigned_to"] for task in in_town.json("task", "list")["tasks"] if task["id"] in ids] == ["sue"] * 3
    assert all("be quick" in letter["body"] for letter in gt("gt mail inbox shop/crew/sue")["messages"])
    other = bead(in_town, "gt-any")
    assert gt(f"gt sling {other} shared --agent echo --dry-run")["agent"] != "shared", (
        "a rig leaves the choice to the town"
    )


def test_mail_goes_to_agents_and_people(gt: Any, in_town: Shell) -> None:
    in_town("spawn", "nux", "--cli", "echo")
    gt("gt mail send shop/polecats/nux -s Rebase -m 'before you push' --urgent --no-start")
    (letter,) = gt("gt mail inbox shop/polecats/nux")["messages"]
    assert (letter["subject"], letter["body"], letter["priority"]) == ("Rebase", "Rebase\n\nbefore you push", "urgent")
    assert gt(f"gt mail read {letter['id'][:8]} --identity nux")["body"] == letter["body"]
    sent = gt("gt mail send mayor/ -s Stuck --stdin --type task --no-start", given=b"the key is missing")["sent"]
    assert [row["to"] for row in sent] == ["supervisor"]
    (mine,) = [each for each in gt("gt mail inbox")["messages"] if each["subject"] == "Stuck"]
    assert gt(f"gt mail archive {mine['id']}")["archived"] == [mine["id"]]
    assert mine["id"] not in [each["id"] for each in gt("gt mail inbox --unread")["messages"]]
    assert gt("gt mail check --inject --identity nux")["unread"] == 1
    gt("gt mail send nobody/at/all -s x", code=3)
    gt("gt mail send --human", code=2)
    gt("gt mail read nothing", code=3)
    assert gt("gt nudge shop/polecats/nux -m 'look at main' --mode immediate --no-start")["to"] == "nux"


def test_escalations_are_listed(gt: Any) -> None:
    gt("gt escalate 'main is broken' -s HIGH --reason 'since noon' --related gt-1")
    (row,) = [each for each in gt("gt escalate list")["escalations"] if "main is broken" in each["text"]]
    assert (row["severity"], "since noon" in row["text"], "gt-1" in row["text"]) == ("high", True, True)
    gt("gt escalate", code=2)


def test_work_is_put_off_without_a_reason(gt: Any, in_town: Shell) -> None:
    id_ = bead(in_town, "gt-later")
    ended = gt(f"gt done --issue {id_} --status DEFERRED --cleanup-status clean --pre-verified --target main")
    assert (ended["state"], ended["held"]) == ("blocked", "deferred: no reason given")


def test_a_formula_takes_the_flags_of_gt(gt: Any) -> None:
    planned = gt("gt formula run review --set branch=topic --pr 12 --files a.py,b.py --dry-run")
    assert planned["tasks"]
