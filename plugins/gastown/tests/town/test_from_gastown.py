"""``tt beads from-gastown`` as a person types it: towns beside the old one, and the old one as it was."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tinytown_testing.shell import Shell

from ..conftest import bead, document, edge
from ..test_migration_source import build


def fingerprint(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path): f"{path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files}


def test_a_town_becomes_one_for_each_rig_and_stays_as_it_was(bare: Shell) -> None:
    old = build(bare.directory / "gt")
    before = fingerprint(old)
    dry = bare.json("beads", "from-gastown", "gt", "--to", "new", "--dry-run")
    assert [rig["rig"] for rig in dry["rigs"]] == ["shop", "desk", "hq"]
    assert not (bare.directory / "new").exists()
    answer = bare.json("beads", "from-gastown", "gt", "--to", "new")
    by_name = {rig["rig"]: rig for rig in answer["rigs"]}
    assert (by_name["shop"]["import"]["created"], by_name["shop"]["import"]["unmapped"]) == (2, 1)
    assert by_name["shop"]["agents"][0]["work"] == "sh-2"
    assert (by_name["desk"]["import"]["created"], by_name["desk"]["import"]["unmapped"]) == (2, 1)
    assert "secret" not in str(answer)
    shop = bare.directory / "new" / "shop"
    assert bare.json("task", "show", "sh-1", "--town", str(shop))["title"] == "newer"
    assert sorted(path.name for path in (shop / ".beads" / "formulas").iterdir()) == [
        "own.formula.toml", "shiny.formula.toml",
    ]  # fmt: skip
    assert bare.json("beads", "sync", "--town", str(shop))["file_changed"] is False
    again = bare.json("beads", "from-gastown", "gt", "--to", "new")
    assert [rig["import"]["created"] for rig in again["rigs"]] == [0, 0, 0]
    assert fingerprint(old) == before


def test_a_second_run_brings_what_is_new_and_leaves_what_was_changed_here(bare: Shell) -> None:
    old = build(bare.directory / "gt")
    bare("beads", "from-gastown", "gt", "--to", "new")
    shop = bare.directory / "new" / "shop"
    assert bare.json("group", "status", "hq-cv-1", "--town", str(shop))["total"] == 1, "convoys lie in headquarters"
    file = old / "shop" / "mayor" / "rig" / ".beads" / "issues.jsonl"
    later = "2027-01-01T00:00:00Z"
    file.write_bytes(
        document(
            bead("sh-1", title="newest", updated_at=later), bead("sh-2", status="closed", closed_at=later), bead("sh-3")
        )
    )
    bare("update", "sh-2", "--title", "ours", "-C", str(shop), program=("-m", "tinytown_gastown.bd"))
    bare("beads", "sync", "--town", str(shop))
    answer = {rig["rig"]: rig for rig in bare.json("beads", "from-gastown", "gt", "--to", "new")["rigs"]}["shop"]
    assert (answer["import"]["created"], answer["import"]["updated"], answer["both_changed"]) == (1, 1, ["sh-2"])
    titles = {id_: bare.json("task", "show", id_, "--town", str(shop))["title"] for id_ in ("sh-1", "sh-2", "sh-3")}
    assert titles == {"sh-1": "newest", "sh-2": "ours", "sh-3": "title of sh-3"}
    assert bare.json("beads", "sync", "--town", str(shop))["file_changed"] is False


def test_what_leads_out_of_the_old_town_and_what_hangs_is_not_read(bare: Shell) -> None:
    old = build(bare.directory / "gt")
    (bare.directory / "private").write_text("do not read")
    (old / "shop" / ".beads" / "formulas" / "out.formula.toml").symlink_to(bare.directory / "private")
    os.mkfifo(old / "desk" / "config.json")
    (old / "mayor" / "rigs.json").write_bytes(b"[" * 200_000)
    whole = document(bead("sh-1"))
    torn = b"\xef\xbb\xbf" + whole.replace(b"\n", b"\r\n") + b"\x00\xff\xfe\n" + b"[" * 100_000 + b"\n" + whole
    (old / "shop" / "mayor" / "rig" / ".beads" / "issues.jsonl").write_bytes(torn)
    answer = bare.json("beads", "from-gastown", "gt", "--to", "new")
    assert not (bare.directory / "new" / "shop" / ".beads" / "formulas" / "out.formula.toml").exists()
    problems = "\n".join(answer["problems"])
    for words in (
        "config.json: not a regular file",
        "rigs.json is not readable",
        "not UTF-8",
        "nested too deeply",
    ):
        assert words in problems
    assert "sh-1 is repeated on line 4" in problems


def test_nothing_of_somebody_else_is_in_the_way(bare: Shell) -> None:
    build(bare.directory / "gt")
    (bare.directory / "shop").mkdir()
    (bare.directory / "shop" / "mine").write_text("x")
    error = bare("--json", "beads", "from-gastown", "gt", "--to", "gt/towns", code=2).error
    assert "is inside the old town" in error["message"]


def test_an_open_convoy_becomes_a_group(tt: Shell) -> None:
    convoy = bead("cv-1", issue_type="convoy", title="the release", dependencies=[edge("cv-1", "g-1", "tracks")])
    (tt.directory / "convoy.jsonl").write_bytes(document(bead("g-1"), bead("g-2"), convoy))
    tt("beads", "import", "convoy.jsonl")
    answer = tt.json("group", "status", "cv-1")
    assert "the release" in str(answer)
    assert "g-1" in str(answer)
    assert "g-2" not in str(answer)
    tt("beads", "import", "convoy.jsonl")
