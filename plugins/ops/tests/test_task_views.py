"""Tasks as a tree, and the reasons why one does not run, as people and programs see them."""

from __future__ import annotations

from tinytown.model.tasks import Task
from tinytown_ops.explain.tree_command import Branch, grow
from tinytown_testing.shell import Shell


def add(tt: Shell, *words: str) -> str:
    task_id: str = tt("backlog", "add", *words, "--json").json["task_id"]
    return task_id


def test_a_tree_shows_parts_and_needs_and_their_states(in_town: Shell) -> None:
    whole = add(in_town, "the whole")
    ground = add(in_town, "lay the ground", "--parent", whole)
    wall = add(in_town, "raise a wall", "--parent", whole, "--needs", ground)
    roof = add(in_town, "put a roof on", "--needs", f"{wall},{ground}")
    in_town("task", "complete", ground)
    drawn = in_town("task", "tree", roof).out.splitlines()
    assert drawn == [
        f"{roof[:8]}  [blocked]  put a roof on",
        f"├─ needs {wall[:8]}  [pending]  raise a wall",
        f"│  └─ needs {ground[:8]}  [completed]  lay the ground",
        f"└─ needs {ground[:8]}  [completed]  lay the ground",
    ]
    everything = in_town("task", "tree").out
    assert f"{whole[:8]}  [pending]  the whole\n├─ {ground[:8]}" in everything
    assert "(see above)" in everything
    (branch,) = in_town("task", "tree", whole, "--json").json["tree"]
    assert (branch["relation"], [child["relation"] for child in branch["below"]]) == ("root", ["part", "part"])
    assert branch["below"][1]["below"][0]["state"] == "completed"
    for task in (wall, roof, whole):
        in_town("task", "cancel", task)
    assert whole[:8] not in in_town("task", "tree").out
    assert whole[:8] in in_town("task", "tree", "--all").out
    assert in_town("task", "tree", "nonesuch", code=3).err


def test_a_cycle_of_parents_is_drawn_once() -> None:
    first = Task(id="a", description="a", parent="b", needs=("gone",))
    second = Task(id="b", description="b", parent="a")
    (branch,) = grow([first], {"a": first, "b": second})
    (part, gone) = branch.below
    assert (part.id, gone) == ("b", Branch(id="gone", relation="need"))
    assert [(child.id, child.repeated, child.below) for child in part.below] == [("a", True, ())]


def test_a_very_long_chain_is_truncated() -> None:
    known = {str(n): Task(id=str(n), description="x", needs=(str(n + 1),)) for n in range(5000)}
    (branch,) = grow([known["0"]], known)
    depth = 1
    while branch.below:
        (branch,) = branch.below
        depth += 1
    assert (depth, branch.cut) == (40, True)


def test_why_explains_each_reason_and_its_fix(in_town: Shell) -> None:
    in_town("spawn", "mason")
    in_town("interrupt", "mason")
    wall = in_town("assign", "mason", "raise a wall", "--json").json["task_id"]
    roof = add(in_town, "put a roof on", "--needs", wall)
    lines = in_town("task", "why", roof[:13]).out.splitlines()
    assert lines[0] == f"task {roof} (put a roof on) is blocked"
    assert lines[1] == f"  waiting for task {wall[:8]} (raise a wall), which is assigned to mason"
    assert lines[2].startswith("    mason is paused for ")
    assert lines[3] == "      -> tt resume mason"
    assert lines[4:] == ["    no kernel is running", "      -> tt start --background"]
    answer = in_town("task", "why", roof, "--json").json
    assert answer["task"]["id"] == roof
    assert [reason["code"] for reason in answer["reasons"]] == ["need_open"]
    assert [reason["code"] for reason in answer["reasons"][0]["because"]] == ["agent_paused", "no_kernel"]
    assert in_town("task", "why", "nonesuch", code=3).err
    in_town("task", "cancel", roof)
    in_town("task", "cancel", wall)
