"""``tt formula`` as a person types it, without a kernel: files of the town, dry runs, runs made once, gates."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tinytown.errors import ServerUnreachable
from tinytown_cli.public import CliContext
from tinytown_gastown.formulas.cook import cook
from tinytown_gastown.formulas.library import read_file
from tinytown_gastown.formulas.run import create_run, plan_run

SHAPES = Path(__file__).parents[1] / "formulas" / "shapes"

GATED = """
formula = "gated"
[vars]
who = "rita"
[[steps]]
id = "build"
title = "Build"
labels = ["role:developer", "area:core"]
priority = 1
[[steps]]
id = "ship"
title = "Ship"
needs = ["build"]
assignee = "{{who}}"
gate = { type = "human", id = "approval" }
[[steps]]
id = "cool-down"
title = "Wait"
gate = { type = "timer", timeout = "1h" }
"""


@pytest.fixture
def here(in_town: Any) -> Path:
    directory: Path = in_town.directory / "formulas"
    directory.mkdir(exist_ok=True)
    for path in SHAPES.glob("*.toml"):
        (directory / path.name).write_text(path.read_text())
    (directory / "gated.formula.toml").write_text(GATED)
    return directory


def test_every_formula_of_the_town_is_listed_and_good(in_town: Any, here: Path) -> None:
    listed = {each["name"]: each for each in in_town.json("formula", "list")["formulas"]}
    assert listed["shiny"]["place"] == "formulas"
    assert listed["feature"]["place"] == "built in"
    assert listed["code-review"]["type"] == "convoy"
    checked = in_town.json("formula", "check")["formulas"]
    assert {each["name"] for each in checked} == set(listed)
    assert [each for each in checked if each["problem"]] == []


def test_a_bad_file_is_named_with_its_line_and_hides_no_other(in_town: Any, here: Path) -> None:
    bad = here / "bad.formula.toml"
    bad.write_text('formula = "bad"\n\n[[steps]]\nid = "a"\ntitel = "x"\n')
    try:
        assert "line 5: unknown key 'titel' of 'a'" in in_town("formula", "run", "bad", code=2).err
        answer = in_town("formula", "check", "--json", code=1)
        assert [each["name"] for each in answer.json["formulas"] if each["problem"]] == ["bad"]
        assert "shiny" in [each["name"] for each in in_town.json("formula", "list")["formulas"]]
    finally:
        bad.unlink()


def test_a_dry_run_makes_nothing(in_town: Any, here: Path) -> None:
    answer = in_town.json("formula", "run", "shiny", "--var", "feature=undo", "--name", "dry", "--dry-run")
    assert answer["waves"] == [[f"dry.{step}"] for step in ("design", "implement", "review", "test", "submit")]
    assert answer["created"] == []
    in_town("group", "status", "dry", code=3)
    in_town("task", "show", "dry.design", code=3)
    assert "needs a value for feature" in in_town("formula", "run", "shiny", code=2).err


def test_a_run_makes_its_tasks_and_its_group_once(in_town: Any, here: Path) -> None:
    answer = in_town.json("formula", "run", "shiny-enterprise", "--var", "feature=undo", "--name", "run1")
    assert len(answer["created"]) == 9
    task = in_town.json("task", "show", "run1.implement.draft")
    assert task["state"] == "blocked"
    assert task["needs"] == ["run1.design"]
    assert task["meta"]["formula"]["run"] == "run1"
    assert in_town.json("group", "status", "run1")["total"] == 9
    again = in_town.json("formula", "run", "shiny-enterprise", "--var", "feature=undo", "--name", "run1")
    assert (again["created"], len(again["existing"])) == ([], 9)
    other = in_town("formula", "run", "shiny", "--var", "feature=undo", "--name", "run1", "--json", code=4)
    assert other.error["code"] == "exists"


def test_a_run_that_was_cut_off_is_completed(tt: Any) -> None:
    tt = tt
    tt("init", "--name", "cut")
    (tt.directory / "formulas").mkdir()
    (tt.directory / "formulas" / "shiny.formula.toml").write_text((SHAPES / "shiny.formula.toml").read_text())
    words = ("formula", "run", "shiny", "--var", "feature=undo", "--name", "cut")
    tt(*words)
    # As it is when the command was killed after two tasks: the rest, and the mark that it is whole, are not there.
    tt("save", "cut.jsonl")
    lines = (tt.directory / "cut.jsonl").read_text().splitlines(keepends=True)
    lost = ("cut.review", "cut.test", "cut.submit")
    kept = [line for line in lines if not any(f'"id":"{id_}"' in line for id_ in lost)]
    assert len(lines) - len(kept) == 3
    (tt.directory / "cut.jsonl").write_text("".join(kept).replace('"made":true,', "").replace(',"made":true', ""))
    tt("reset", "--force", "--no-save")
    tt("restore", "cut.jsonl")
    answer = tt.json(*words)
    assert answer["created"] == list(lost)
    assert answer["existing"] == ["cut.design", "cut.implement"]
    tt("task", "complete", "cut.design")
    assert tt.json(*words)["created"] == []


def test_a_run_that_is_cut_off_between_two_batches_is_completed_by_the_next(
    tt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tt("init", "--name", "long")
    steps = "".join(
        f'[[steps]]\nid = "s{n}"\ntitle = "{n}"\n' + (f'needs = ["s{n - 1}"]\n' if n else "") for n in range(450)
    )
    (tt.directory / "long.formula.toml").write_text(f'formula = "long"\n{steps}')
    for name in [name for name in os.environ if name.startswith("TINYTOWN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", tt.variables["XDG_STATE_HOME"])
    monkeypatch.chdir(tt.directory)
    formula = read_file(tt.directory / "long.formula.toml", "long").formula
    with CliContext().open_town() as town:
        run = plan_run(town, cook(formula, lambda _: formula, given={}), "long")
        ask, batches = town.client.run_all, 0

        def cut(calls: Any, **options: Any) -> Any:
            nonlocal batches
            batches += any("task_add" in str(call.command[1]) for call in calls)
            if batches == 2:
                raise ServerUnreachable("the connection is gone")
            return ask(calls, **options)

        monkeypatch.setattr(town.client, "run_all", cut)
        with pytest.raises(ServerUnreachable):
            create_run(town, run, owner="supervisor")
        monkeypatch.setattr(town.client, "run_all", ask)
        made = create_run(town, run, owner="supervisor")
        assert (len(made.created), len(made.existing)) == (250, 200)
        assert create_run(town, run, owner="supervisor").created == ()
        assert town.run(town.operations.task("long.s449")).needs == ("long.s448",)


def test_a_task_that_has_the_id_already_is_not_taken_for_a_step(in_town: Any, here: Path) -> None:
    in_town("formula", "run", "shiny", "--var", "feature=x", "--name", "mine")
    in_town("group", "close", "mine", "--force", "--forget")
    (here / "other.formula.toml").write_text(
        'formula = "other"\n[[steps]]\nid = "new"\ntitle = "N"\n[[steps]]\nid = "design"\ntitle = "D"\n'
    )
    in_town("plan", "--init")
    (in_town.directory / "tasks.toml").write_text('[[tasks]]\nid = "taken.design"\ndescription = "x"\n')
    in_town("sync", "push")
    assert "taken.design already exists" in in_town("formula", "run", "other", "--name", "taken", code=4).err
    in_town("task", "show", "taken.new", code=3)
    (here / "other.formula.toml").unlink()


def test_a_gate_holds_its_step_until_a_person_or_a_clock_lets_it_go(in_town: Any, here: Path) -> None:
    in_town("spawn", "rita", "--cli", "echo")
    answer = in_town.json("formula", "run", "gated", "--name", "g1")
    assert answer["remarks"] == []
    build, ship, wait = (in_town.json("task", "show", f"g1.{step}") for step in ("build", "ship", "cool-down"))
    assert (build["state"], build["role"], build["priority"], build["tags"]) == (
        "pending",
        "developer",
        "high",
        ["g1", "area-core"],
    )
    assert (ship["state"], ship["agent_id"] is not None) == ("blocked", True)
    assert "for a person: approval (tt task release g1.ship)" in ship["held"]
    assert wait["held_until"]
    in_town("task", "complete", "g1.build")
    assert in_town.json("task", "show", "g1.ship")["state"] == "blocked"
    in_town("task", "release", "g1.ship")
    assert in_town.json("task", "show", "g1.ship")["assigned_to"] == "rita"
    in_town("kill", "rita")


def test_an_assignee_who_is_no_agent_is_said(in_town: Any, here: Path) -> None:
    answer = in_town.json("formula", "run", "gated", "--var", "who=nobody/here", "--name", "g2", "--dry-run")
    assert answer["remarks"] == ["step 'ship' goes to the backlog: no agent 'nobody/here' accepts tasks"]
    assert "no agent called" in in_town("formula", "run", "gated", "--agent", "nobody", code=3).err


VALUES = {
    "shiny": ("feature=undo",), "shiny-enterprise": ("feature=undo",), "shiny-secure": ("feature=undo",),
    "code-review": ("pr=7",), "plan-review": ("plan=docs/plan.md",), "mol-dance": ("target=joe",),
    "mol-work": ("issue=t-1",), "mol-work-tdd": ("issue=t-1",), "issue-to-pr": ("number=12",),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(path.name.removesuffix(".formula.toml") for path in SHAPES.iterdir()))
def test_each_shape_that_gastown_ships_is_made_and_done_to_its_end(
    in_town: Any, here: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word for value in VALUES.get(name, ()) for word in ("--var", value)]
    if name == "security-audit":  # advice for others is no work by itself
        assert "no steps of its own" in in_town("formula", "run", name, code=2).err
        return
    run = ("formula", "run", name, *words, "--name", f"all-{name}")
    planned = in_town.json(*run, "--dry-run")
    made = in_town.json(*run)
    assert made["created"] == [task["task_id"] for task in planned["tasks"]]
    for variable in [variable for variable in os.environ if variable.startswith("TINYTOWN_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("XDG_STATE_HOME", in_town.variables["XDG_STATE_HOME"])
    monkeypatch.chdir(in_town.directory)
    with CliContext().open_town() as town:
        for wave in made["waves"]:
            town.run_all([town.operations.settle_task("complete", task) for task in wave])
    assert in_town.json("group", "status", f"all-{name}")["completed"] == len(made["created"])


def test_a_chain_of_a_thousand_steps_is_made(in_town: Any, here: Path) -> None:
    steps = "".join(
        f'[[steps]]\nid = "move-{n}"\ntitle = "{n}"\n' + (f'needs = ["move-{n - 1}"]\n' if n else "")
        for n in range(1025)
    )
    (here / "hanoi.formula.toml").write_text(f'formula = "hanoi"\n{steps}')
    assert len(in_town.json("formula", "run", "hanoi", "--name", "hanoi")["created"]) == 1025
    assert in_town.json("task", "show", "hanoi.move-1024")["needs"] == ["hanoi.move-1023"]
    (here / "hanoi.formula.toml").unlink()


def test_a_convoy_is_a_group_of_legs_and_a_synthesis(in_town: Any, here: Path) -> None:
    answer = in_town.json("formula", "run", "code-review", "--var", "pr=7", "--preset", "gate", "--name", "r7")
    assert answer["waves"] == [["r7.wiring", "r7.security"], ["r7.synthesis"]]
    assert ".reviews/r7/wiring-findings.md" in in_town.json("task", "show", "r7.wiring")["description"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("run", "nope"), 3),
        (("run", "../etc/passwd"), 3),
        (("run", "\x1b[2J"), 2),
        (("run", "feature", "--var", "novalue"), 2),
        (("run", "feature", "--var", "feature=x", "--name", "a b"), 2),
        (("run", "feature", "--var", "feature=x", "--preset", "quick"), 2),
        (("show", "/dev/zero.toml"), 3),
        (("check", "tinytown.toml"), 1),
    ],
)
def test_what_cannot_be_meant_is_an_error(in_town: Any, words: tuple[str, ...], code: int) -> None:
    in_town("formula", *words, code=code)


def test_formulas_can_be_looked_at_outside_of_a_town(tt: Any) -> None:
    shown = tt.json("formula", "show", "release")
    assert shown["variables"]["version"]["required"]
    assert [step["gate"]["type"] for step in shown["steps"] if step["gate"]] == ["human"]


def test_what_a_file_names_is_a_formula_and_what_hangs_is_an_error(tt: Any) -> None:
    tt("init", "--name", "traps")
    directory = tt.directory / "formulas"
    directory.mkdir()
    step = '[[steps]]\nid = "a"\ntitle = "A"\n'
    (tt.directory / "secret.toml").write_text(f'formula = "secret"\n{step}description = "do not tell"\n')
    for name, first in (
        ("extends", f'extends = ["{tt.directory}/secret.toml"]\n{step}'),
        ("expand", '[[steps]]\nid = "a"\nexpand = "../secret.toml"\n'),
        ("aspects", f'[compose]\naspects = ["./secret.toml"]\n{step}'),
    ):
        (directory / f"{name}.formula.toml").write_text(f'formula = "{name}"\n{first}')
        assert "expected a formula name" in tt("formula", "run", name, code=2).err
    os.mkfifo(directory / "pipe.formula.toml")
    (directory / "turn.formula.toml").symlink_to("turn.formula.toml")
    (directory / "slow.formula.toml").write_text(f'formula = "slow"\n[vars.v]\npattern = "(a+)+$"\n{step}')
    (directory / "mark.formula.toml").write_bytes(
        b"\xef\xbb\xbf" + f'formula = "mark"\n{step}'.replace("\n", "\r\n").encode()
    )
    answer = {each["name"]: each["problem"] or "" for each in tt("formula", "check", "--json", code=1).json["formulas"]}
    assert "not a regular file" in answer["pipe"]
    assert "cannot read" in answer["turn"]
    assert (answer["mark"], answer["slow"]) == ("", "")
    assert "matching takes too long" in tt("formula", "run", "slow", "--var", f"v={'a' * 60}b", code=2).err
