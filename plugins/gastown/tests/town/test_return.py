"""Someone who comes from a running Gastown town, works here, and goes back: their `bd` sees what changed, and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tinytown_testing.shell import Shell

from ..conftest import bead, document, edge
from ..test_migration_source import build

STAND_IN = Path(__file__).parents[3] / "beads" / "tests" / "stand_in_bd.py"
REAL = shutil.which("bd")
BD = ("-m", "tinytown_gastown.bd")

pytestmark = pytest.mark.skipif(not STAND_IN.exists(), reason="the stand-in for bd is not here")


def stand_in(program: Path, *, is_server: bool) -> Path:
    """A program that behaves as `bd` with a database of its own, or on a server."""
    text = STAND_IN.read_text()
    program.write_text(f"#!{sys.executable} -ISE\n{text.replace('SERVER = False', f'SERVER = {is_server}')}")
    program.chmod(0o755)
    return program


class Rig:
    """The rig ``shop`` of a running town, with a database of `bd`."""

    def __init__(self, directory: Path, program: Path) -> None:
        self.directory, self.program = directory, program
        first = (directory / ".beads" / "issues.jsonl").rename(directory / "first.jsonl")
        self.bd("init", "--prefix", "sh", "--quiet", "--non-interactive", "--skip-hooks", "--skip-agents")
        self.bd("config", "set", "types.custom", "agent,convoy,molecule")
        self.bd("import", str(first))
        self.export()

    def bd(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [str(self.program), *words], cwd=self.directory, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def export(self) -> None:
        """What the manual says to type before a migration."""
        self.bd("export", "--all", "-o", ".beads/issues.jsonl")

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """All records of the database, by itself; memories by their keys."""
        self.bd("export", "--all", "-o", "look.jsonl")
        lines = [json.loads(line) for line in (self.directory / "look.jsonl").read_text().splitlines()]
        return {line.get("id") or f"memory {line['key']}": line for line in lines}


@pytest.fixture(params=["embedded", "server", "real"])
def rig(request: pytest.FixtureRequest, tt: Shell) -> Rig:
    if request.param == "real" and REAL is None:
        pytest.skip("no bd is on PATH")
    old = build(tt.directory / "gt")
    directory = old / "shop" / "mayor" / "rig"
    molecule = bead("sh-mol-1", issue_type="molecule", title="patrol", mol_type="patrol")
    (directory / ".beads" / "issues.jsonl").write_bytes(
        document(
            bead("sh-1", title="the importer", labels=["a", "b"], notes="as it was", metadata={"own": [1, "é"]}),
            bead("sh-2", title="hooked work", status="hooked", assignee="shop/polecats/nux"),
            bead(
                "sh-3", title="later", dependencies=[edge("sh-3", "sh-1")], acceptance_criteria="tests", design="small"
            ),
            bead("sh-4", title="a bug", issue_type="bug", priority=0, estimated_minutes=30, external_ref="gh-9"),
            bead(
                "sh-5", title="done before", status="closed", closed_at="2026-01-14T09:30:00Z", close_reason="shipped"
            ),
            bead("sh-shop-polecat-nux", issue_type="agent", description="role_type: polecat\nhook_bead: sh-2"),
            molecule,
            '{"_type":"memory","key":"build","value":"run make"}',
        )
    )
    # Headquarters have an older record of sh-1, which is of no use to a rig with a database.
    (old / ".beads" / "issues.jsonl").write_bytes(document(bead("hq-mayor", labels=["gt:agent"])))
    if request.param == "real":
        return Rig(directory, Path(REAL or "").absolute())
    return Rig(directory, stand_in(tt.directory / "bd", is_server=request.param == "server"))


def settle() -> None:
    """Wait for the next second: times of the database are whole seconds."""
    start = int(time.time())
    while int(time.time()) == start:
        time.sleep(0.02)


def test_who_goes_back_finds_in_bd_what_was_done_here_and_nothing_else(tt: Shell, rig: Rig) -> None:
    before = rig.records
    assert len(before) == 8
    tt("beads", "from-gastown", "gt", "--to", "new")
    shop = tt.directory / "new" / "shop"
    assert sorted(task["id"] for task in tt.json("ready", "--town", str(shop))["tasks"]) == ["sh-1", "sh-2", "sh-4"]
    # Nothing was done: nothing comes back.
    tt("beads", "export", "idle.jsonl", "--town", str(shop))
    assert_imported(rig, tt.directory / "idle.jsonl")
    assert rig.records == before
    settle()
    tt("task", "complete", "sh-1", "--result", "parser written", "--town", str(shop))
    tt("update", "sh-4", "--priority", "1", "--add-label", "urgent", "-C", str(shop), program=BD)
    added = tt.json("backlog", "add", "found here", "--needs", "sh-4", "--tags", "x", "--town", str(shop))["task_id"]
    back = tt.directory / "back.jsonl"
    answer = tt.json("beads", "export", str(back), "--town", str(shop))
    changed = {each["id"]: each["outcome"] for each in answer["beads"] if each["outcome"] in ("written", "appended")}
    (new,) = changed.keys() - {"sh-1", "sh-4"}
    assert changed == {"sh-1": "written", "sh-4": "written", new: "appended"}
    assert_imported(rig, back)
    after = rig.records
    assert after.keys() - before.keys() == {new}
    # bd itself gives what is no longer blocked, sh-3, a new time.
    assert {id_ for id_ in before if differences(before[id_], after[id_]) - {"updated_at"}} == {"sh-1", "sh-4"}
    assert differences(before["sh-1"], after["sh-1"]) == {"status", "close_reason", "closed_at", "updated_at"}
    assert (after["sh-1"]["status"], after["sh-1"]["close_reason"]) == ("closed", "parser written")
    assert differences(before["sh-4"], after["sh-4"]) == {"priority", "labels", "updated_at"}
    assert (after[new]["title"], after[new]["labels"], after[new]["external_ref"]) == (
        "found here", ["x"], f"tinytown:{added}",
    )  # fmt: skip
    assert [each["depends_on_id"] for each in after[new]["dependencies"]] == ["sh-4"]
    assert new.startswith("sh-")
    # And once more: nothing.
    tt("beads", "export", str(back), "--town", str(shop))
    assert_imported(rig, back)
    assert rig.records == after


def test_who_works_on_both_sides_in_turn_loses_nothing(tt: Shell, rig: Rig) -> None:
    tt("beads", "from-gastown", "gt", "--to", "new")
    shop, back = tt.directory / "new" / "shop", tt.directory / "back.jsonl"
    settle()
    tt("task", "complete", "sh-1", "--result", "here", "--town", str(shop))
    tt("beads", "export", str(back), "--town", str(shop))
    assert_imported(rig, back)
    settle()
    rig.bd("update", "sh-3", "--title", "later, changed there")
    rig.bd("create", "made there", "--id", "sh-9")
    rig.export()
    answer = {each["rig"]: each for each in tt.json("beads", "from-gastown", "gt", "--to", "new")["rigs"]}["shop"]
    assert (answer["import"]["created"], answer["import"]["updated"], answer["both_changed"]) == (1, 1, [])
    show = {id_: tt.json("task", "show", id_, "--town", str(shop)) for id_ in ("sh-1", "sh-3", "sh-9")}
    assert {id_: (task["title"], task["state"]) for id_, task in show.items()} == {
        "sh-1": ("the importer", "completed"), "sh-3": ("later, changed there", "pending"), "sh-9": ("made there", "pending"),
    }  # fmt: skip
    before = rig.records
    settle()
    tt("task", "complete", "sh-9", "--result", "here too", "--town", str(shop))
    tt("beads", "export", str(back), "--town", str(shop))
    assert_imported(rig, back)
    after = rig.records
    assert {id_: differences(before[id_], after[id_]) for id_ in after if after[id_] != before[id_]} == {
        "sh-9": {"status", "close_reason", "closed_at", "updated_at"}
    }


def assert_imported(rig: Rig, file: Path) -> None:
    """Import as a person types it. An import that changes nothing ends with an error in embedded mode, as the real one does."""
    done = subprocess.run(
        [str(rig.program), "import", str(file)],
        cwd=rig.directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 or "nothing to commit" in done.stderr, done.stderr


def differences(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """The fields that differ, without the counts that bd computes."""
    fields = before.keys() | after.keys()
    return {key for key in fields if before.get(key) != after.get(key) and not key.endswith("_count")}
