"""``tt beads from-gastown`` as a person types it: towns beside the old one, and the old one as it was."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from tinytown_testing.shell import Shell

from ..conftest import bead, document, edge
from ..test_migration_source import build


def fingerprint(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path): f"{path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files}


def test_a_town_becomes_one_for_each_rig_and_stays_as_it_was(tt: Shell) -> None:
    old = build(tt.directory / "gt")
    before = fingerprint(old)
    dry = tt.json("beads", "from-gastown", "gt", "--to", "new", "--dry-run")
    assert [rig["rig"] for rig in dry["rigs"]] == ["shop", "desk", "hq"]
    assert not (tt.directory / "new").exists()
    answer = tt.json("beads", "from-gastown", "gt", "--to", "new")
    by_name = {rig["rig"]: rig for rig in answer["rigs"]}
    assert (by_name["shop"]["import"]["created"], by_name["shop"]["import"]["unmapped"]) == (2, 1)
    assert by_name["shop"]["agents"][0]["work"] == "sh-2"
    assert (by_name["desk"]["import"]["created"], by_name["desk"]["import"]["unmapped"]) == (2, 1)
    assert "secret" not in str(answer)
    shop = tt.directory / "new" / "shop"
    assert tt.json("task", "show", "sh-1", "--town", str(shop))["title"] == "newer"
    assert sorted(path.name for path in (shop / ".beads" / "formulas").iterdir()) == [
        "own.formula.toml", "shiny.formula.toml",
    ]  # fmt: skip
    assert tt.json("beads", "sync", "--town", str(shop))["file_changed"] is False
    again = tt.json("beads", "from-gastown", "gt", "--to", "new")
    assert [rig["import"]["created"] for rig in again["rigs"]] == [0, 0, 0]
    assert fingerprint(old) == before


def test_a_second_run_brings_what_is_new_and_leaves_what_was_changed_here(tt: Shell) -> None:
    old = build(tt.directory / "gt")
    tt("beads", "from-gastown", "gt", "--to", "new")
    shop = tt.directory / "new" / "shop"
    assert tt.json("group", "status", "hq-cv-1", "--town", str(shop))["total"] == 1, "convoys lie in headquarters"
    file = old / "shop" / "mayor" / "rig" / ".beads" / "issues.jsonl"
    later = "2027-01-01T00:00:00Z"
    file.write_bytes(
        document(
            bead("sh-1", title="newest", updated_at=later), bead("sh-2", status="closed", closed_at=later), bead("sh-3")
        )
    )
    tt("update", "sh-2", "--title", "ours", "-C", str(shop), program=("-m", "tinytown_gastown.bd"))
    tt("beads", "sync", "--town", str(shop))
    answer = {rig["rig"]: rig for rig in tt.json("beads", "from-gastown", "gt", "--to", "new", code=1)["rigs"]}["shop"]
    assert (answer["import"]["created"], answer["import"]["updated"], answer["both_changed"]) == (1, 1, ["sh-2"])
    titles = {id_: tt.json("task", "show", id_, "--town", str(shop))["title"] for id_ in ("sh-1", "sh-2", "sh-3")}
    assert titles == {"sh-1": "newest", "sh-2": "ours", "sh-3": "title of sh-3"}
    assert tt.json("beads", "sync", "--town", str(shop))["file_changed"] is False


def test_what_leads_out_of_the_old_town_and_what_hangs_is_not_read(tt: Shell) -> None:
    old = build(tt.directory / "gt")
    (tt.directory / "private").write_text("do not read")
    (old / "shop" / ".beads" / "formulas" / "out.formula.toml").symlink_to(tt.directory / "private")
    os.mkfifo(old / "desk" / "config.json")
    (old / "mayor" / "rigs.json").write_bytes(b"[" * 200_000)
    whole = document(bead("sh-1"))
    torn = b"\xef\xbb\xbf" + whole.replace(b"\n", b"\r\n") + b"\x00\xff\xfe\n" + b"[" * 100_000 + b"\n" + whole
    (old / "shop" / "mayor" / "rig" / ".beads" / "issues.jsonl").write_bytes(torn)
    answer = tt.json("beads", "from-gastown", "gt", "--to", "new", code=1)
    assert not (tt.directory / "new" / "shop" / ".beads" / "formulas" / "out.formula.toml").exists()
    problems = "\n".join(answer["problems"])
    for words in (
        "config.json: it is not a regular file",
        "rigs.json is not readable",
        "not UTF-8",
        "nested too deeply",
    ):
        assert words in problems
    assert "sh-1 is repeated on line 4" in problems


def test_nothing_of_somebody_else_is_in_the_way(tt: Shell) -> None:
    build(tt.directory / "gt")
    (tt.directory / "shop").mkdir()
    (tt.directory / "shop" / "mine").write_text("x")
    error = tt("--json", "beads", "from-gastown", "gt", "--to", "gt/towns", code=2).error
    assert "is inside the old town" in error["message"]


def test_an_open_convoy_becomes_a_group(in_town: Shell) -> None:
    convoy = bead("cv-1", issue_type="convoy", title="the release", dependencies=[edge("cv-1", "g-1", "tracks")])
    (in_town.directory / "convoy.jsonl").write_bytes(document(bead("g-1"), bead("g-2"), convoy))
    in_town("beads", "import", "convoy.jsonl")
    answer = in_town.json("group", "status", "cv-1")
    assert "the release" in str(answer)
    assert "g-1" in str(answer)
    assert "g-2" not in str(answer)
    in_town("beads", "import", "convoy.jsonl")


def test_memories_become_notes_and_a_database_without_an_export_says_what_to_type(tt: Shell) -> None:
    old = build(tt.directory / "gt")
    file = old / "shop" / "mayor" / "rig" / ".beads" / "issues.jsonl"
    memory = '{"_type":"memory","key":"Build order","value":"make services first"}\n'
    wisp = bead("sh-wisp-1", issue_type="molecule", ephemeral=True)
    patrol = bead("sh-mol-p", issue_type="molecule", mol_type="patrol")
    work = bead("sh-7", dependencies=[edge("sh-7", "sh-wisp-1")])
    file.write_bytes(document(work, wisp, patrol) + memory.encode())
    noms = file.parent / "embeddeddolt" / "sh" / ".dolt" / "noms"
    noms.mkdir(parents=True)
    os.utime(file, (1_700_000_000, 1_700_000_000))
    (noms / "journal").touch()
    for path in (old / "desk").rglob("issues.jsonl"):
        path.unlink()
    (old / "desk" / ".beads").mkdir(exist_ok=True)
    (old / "desk" / ".beads" / "metadata.json").write_text("{}")
    answer = tt.json("beads", "from-gastown", "gt", "--to", "new", code=1)
    shop = {rig["rig"]: rig for rig in answer["rigs"]}["shop"]
    assert shop["notes"] == ["build-order"]
    assert "make services first" in tt("recall", "--town", str(tt.directory / "new" / "shop")).out
    assert shop["import"]["kept_kinds"] == {"wisp": 1, "patrol": 1}
    ready = tt.json("ready", "--town", str(tt.directory / "new" / "shop"))["tasks"]
    assert "sh-7" in [task["id"] for task in ready], "a wisp holds up nobody here"
    problems = "\n".join(answer["problems"])
    assert "issues.jsonl may be older than its database: run bd export" in problems
    assert "desk has a database without an export: run bd export -o .beads/issues.jsonl in" in problems
    assert {rig["rig"]: rig for rig in tt.json("beads", "from-gastown", "gt", "--to", "new", code=1)["rigs"]}["shop"][
        "notes"
    ] == []


def git(directory: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=directory, capture_output=True, text=True, check=True).stdout.strip()


def with_code(old: Path) -> Path:
    """The rig ``shop`` has a repository, with a stale bead file in it, a hook and a branch of its own."""
    rig = old / "shop" / "mayor" / "rig"
    git(rig, "init", "-q", "-b", "trunk")
    git(rig, "config", "user.name", "Ada")
    git(rig, "config", "user.email", "ada@example.org")
    now = (rig / ".beads" / "issues.jsonl").read_bytes()
    (rig / ".beads" / "issues.jsonl").write_bytes(document(bead("sh-2", title="as it was committed")))
    (rig / "code.py").write_text("print()\n")
    git(rig, "add", "-A")
    git(rig, "commit", "-q", "-m", "Begin")
    git(rig, "branch", "other")
    (rig / ".beads" / "issues.jsonl").write_bytes(now)
    git(rig, "checkout", "-q", "other")
    hook = rig / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {old}/ran\n")
    hook.chmod(0o755)
    return rig


@pytest.mark.parametrize("how", ["clone", "link"])
def test_the_code_of_a_rig_comes_along(tt: Shell, how: str) -> None:
    old = build(tt.directory / "gt")
    rig = with_code(old)
    before = fingerprint(old)
    dry = tt.json("beads", "from-gastown", "gt", "--to", "new", "--code", how, "--dry-run")["rigs"][0]
    assert (dry["code"], (tt.directory / "new").exists()) == (how, False)
    answer = tt.json("beads", "from-gastown", "gt", "--to", "new", "--code", how)["rigs"][0]
    assert (answer["code"], answer["both_changed"], answer["skipped"]) == (how, [], "")
    shop = tt.directory / "new" / "shop"
    assert (shop / "code.py").read_text() == "print()\n"
    assert git(shop, "branch", "--show-current") == "trunk"
    assert git(shop, "rev-parse", "HEAD") == git(rig, "rev-parse", "trunk")
    assert git(shop, "remote", "get-url", "origin") == "https://git.example/shop.git"
    assert (shop / ".git" / "objects" / "info" / "alternates").exists() == (how == "link")
    assert tt.json("task", "show", "sh-2", "--town", str(shop))["title"] == "title of sh-2"
    assert fingerprint(old) == before
    assert not (old / "ran").exists()
    again = tt.json("beads", "from-gastown", "gt", "--to", "new", "--code", how)["rigs"][0]
    assert (again["code"], again["skipped"]) == (None, "")


def test_code_is_left_out_when_asked_and_what_git_says_is_said(tt: Shell) -> None:
    old = build(tt.directory / "gt")
    rig = with_code(old)
    assert tt.json("beads", "from-gastown", "gt", "--to", "none", "--code", "none")["rigs"][0]["code"] is None
    assert not (tt.directory / "none" / "shop" / "code.py").exists()
    for path in (rig / ".git" / "objects").rglob("*"):
        if path.is_file():
            path.unlink()
    answer = tt.json("beads", "from-gastown", "gt", "--to", "new", code=1)["rigs"]
    assert "git clone failed" in answer[0]["skipped"]
    assert not (tt.directory / "new" / "shop").exists()
    assert answer[1]["import"]["created"] == 2
