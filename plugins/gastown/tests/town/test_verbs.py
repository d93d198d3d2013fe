"""The words of Gastown as a person types them, in a town without a kernel, and as agents do, in one with a kernel."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tinytown_gastown.plugin import tinytown_commands
from tinytown_gastown.verbs.choose_agent import NAMES


def add(tt: Any, text: str, *options: str) -> str:
    return str(tt.json("backlog", "add", text, *options)["task_id"])


# -- without a kernel ------------------------------------------------------------------------------------


def test_work_goes_to_the_agent_that_is_named_and_it_is_added_when_it_is_not_there(in_town: Any) -> None:
    task = add(in_town, "do it")
    answer = in_town.json("sling", task[:8], "sly", "--cli", "echo", "--args", "keep it short")
    assert (answer["agent"], answer["spawned"], answer["task_ids"]) == ("sly", True, [task])
    assert in_town.json("task", "show", task)["assigned_to"] == "sly"
    hooked = in_town.json("hook", "sly")
    assert hooked["task"]["id"] == task
    assert "About task" in in_town("inbox", "sly", "--full").out
    again = in_town.json("sling", task, "sly")
    assert not again["spawned"]


def test_without_a_name_work_goes_to_whoever_is_idle_else_to_somebody_new(in_town: Any) -> None:
    first = in_town.json("sling", add(in_town, "a", "--role", "welder"), "--cli", "echo")
    assert first["spawned"]
    assert first["agent"] in NAMES
    second = in_town.json("sling", add(in_town, "b", "--role", "welder"), "--cli", "echo")
    assert second["spawned"]
    assert second["agent"] != first["agent"], "the first one has something to do"
    dry = in_town.json("sling", add(in_town, "c", "--role", "welder"), "--cli", "echo", "--dry-run")
    assert not dry["spawned"]
    in_town("list")
    assert dry["agent"] not in [agent["name"] for agent in in_town.json("list")["agents"]]


def test_a_formula_is_slung_as_a_whole_and_one_that_cannot_run_adds_nobody(in_town: Any) -> None:
    before = [agent["name"] for agent in in_town.json("list")["agents"]]
    assert "needs a value for feature" in in_town("sling", "feature", "fay", code=2).err
    assert [agent["name"] for agent in in_town.json("list")["agents"]] == before
    answer = in_town.json("sling", "feature", "fay", "--var", "feature=undo", "--cli", "echo", "--name", "f1")
    assert answer["run"] == "f1"
    assert {in_town.json("task", "show", id_)["assigned_to"] for id_ in answer["task_ids"]} == {"fay"}
    (in_town.directory / "formulas").mkdir(exist_ok=True)
    (in_town.directory / "formulas" / "f1.formula.toml").write_text(
        'formula = "f1"\n[[steps]]\nid = "a"\ntitle = "A"\n'
    )
    again = in_town.json("sling", "f1", "fay", "--dry-run")
    assert again["run"] == "f1-1", "its tasks begin with the formula's name, and are not meant"
    error = in_town("sling", "nothing-like-it", code=3).err
    assert "no formula called 'nothing-like-it'" in error


def test_what_is_ready_and_what_waits(in_town: Any) -> None:
    low, high = (
        add(in_town, "low", "--priority", "low", "--tags", "r"),
        add(in_town, "high", "--priority", "high", "--tags", "r"),
    )
    later = add(in_town, "later", "--needs", low, "--tags", "r")
    assert [each["id"] for each in in_town.json("ready", "--tag", "r")["tasks"]] == [high, low]
    in_town("dep", "add", low, high)
    assert [each["id"] for each in in_town.json("ready", "--tag", "r")["tasks"]] == [high]
    assert in_town("dep", "tree", later).out.splitlines()[2].startswith(f"    {high}")
    tree = in_town.json("dep", "tree", later)
    assert tree["needs"][0]["needs"][0]["task_id"] == high
    assert "cycle" in in_town("dep", "add", high, later, code=4).err
    assert in_town.json("dep", "cycles")["cycle"] == []
    in_town("dep", "remove", low, high[:8])
    assert len(in_town.json("ready", "--tag", "r")["tasks"]) == 2
    in_town("spawn", "cleo", "--cli", "echo")
    claimed = in_town.json("ready", "--claim", "--agent", "cleo", "--tag", "r")["tasks"]
    assert [each["id"] for each in claimed] == [high]
    assert "does not need" in in_town("dep", "remove", low, high, code=3).err


def test_nudges_and_cries_for_help_are_mail(in_town: Any) -> None:
    in_town("spawn", "nell", "--cli", "echo")
    in_town("nudge", "nell", "wake up", "--now")
    assert "urgent" in in_town("inbox", "nell").out
    answer = in_town.json("escalate", "the key is gone", "--severity", "critical")
    assert answer["severity"] == "critical"
    assert "[critical] the key is gone" in in_town("inbox", "--full").out
    assert in_town.json("peek", "nell")["lines"] == []
    in_town("nudge", "nell", " ", code=2)
    in_town("nudge", "nobody", "x", code=3)


def test_a_person_puts_work_off_and_hands_it_over(in_town: Any) -> None:
    in_town("spawn", "hal", "--cli", "echo")
    in_town("spawn", "ida", "--cli", "echo")
    task = add(in_town, "x")
    assert "has no agent" in in_town("handoff", "--task", task, code=4).err
    in_town("assign", "hal", "-", given=b"y")
    in_town("sling", task, "hal")
    answer = in_town.json("handoff", "--task", task, "--to", "ida", "-m", "half done")
    assert (answer["agent"], answer["state"]) == ("ida", "assigned")
    assert "half done" in in_town("inbox", "ida", "--full").out
    held = in_town.json("done", task, "--status", "deferred", "--result", "next week")
    assert (held["state"], held["held"]) == ("blocked", "deferred: next week")
    in_town("done", task, "--status", "escalated", code=2)
    in_town("task", "release", task)
    assert in_town.json("done", task, "--result", "fine")["result"] == "fine"


def test_outside_of_a_round_there_is_no_own_agent(in_town: Any) -> None:
    for command in ("hook", "prime", "peek", "done", "handoff"):
        in_town(command, code=2)


# -- inside of rounds ------------------------------------------------------------------------------------


def wait_for(path: Path) -> str:
    """What stands in a file once it is there and has an end."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return text
        time.sleep(0.05)
    raise AssertionError(f"{path.name} never came")


SCRIPT = """
cd {directory}
if [ ! -e first ]; then
  tt hook --json > hook.json
  tt remember --key gap "mind the gap" > /dev/null
  tt escalate "is this right?" > /dev/null
  touch first
  tt handoff -m "half of it is done"
  sleep 60
fi
tt inbox --full > mail.txt
tt prime > prime.txt
tt done --result "all of it is done"
echo > over.txt
"""


def test_an_agent_works_with_these_words_in_its_rounds(tt: Any) -> None:
    tt = tt
    tt("init", "--name", "rounds")
    tt.variables.pop("TINYTOWN_NO_KERNEL")
    task = add(tt, SCRIPT.format(directory=tt.directory), "--title", "work in two rounds")
    tt("sling", task, "ash", "--cli", "shell")
    wait_for(tt.directory / "over.txt")
    ended = tt.json("wait", "--task", task, "--timeout", "30")["tasks"][0]
    assert (ended["state"], ended["result"], ended["assigned_to"]) == ("completed", "all of it is done", "ash")
    assert json.loads((tt.directory / "hook.json").read_text())["task"]["id"] == task
    assert "half of it is done" in (tt.directory / "mail.txt").read_text() + (tt.directory / "prime.txt").read_text()
    primed = (tt.directory / "prime.txt").read_text()
    assert "# You are ash" in primed
    assert "mind the gap" in primed
    assert "is this right?" in tt("inbox", "--full").out
    assert "## Notes of this town" in tt("prompt", "ash").out


def test_typing_one_imports_no_other_plugin_and_no_trio(in_town: Any) -> None:
    code = (
        "import sys\nfrom tinytown_cli.main import run\nassert run(['recall']) == 0\n"
        "print({'trio', 'redis', 'tinytown_echo', 'tinytown_shell', 'tinytown_claude'} & {*sys.modules}, file=sys.stderr)\n"
    )
    assert in_town(program=("-c", code)).err == "set()\n"


def test_the_commands_need_neither_trio_nor_redis_py() -> None:
    modules = [command.target.partition(":")[0] for command in tinytown_commands() if ".verbs." in command.target]
    code = (
        f"import sys, importlib\nfor name in {modules}: importlib.import_module(name)\n"
        "print({'trio', 'redis'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"


def test_a_formula_that_agents_have_done_is_told_to_its_owner(tt: Any) -> None:
    tt = tt
    tt("init", "--name", "whole")
    tt.variables.pop("TINYTOWN_NO_KERNEL")
    answer = tt.json("sling", "feature", "ann", "--var", "feature=undo", "--cli", "echo", "--name", "undo")
    assert tt.json("group", "watch", "undo", "--timeout", "40")["completed"] == len(answer["task_ids"]) == 4
    tt("wait", "ann", "--timeout", "30")
    deadline = time.monotonic() + 20
    while "group undo is completed" not in (mail := tt("inbox", "--full").out) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert mail.count("group undo is completed") == 1
