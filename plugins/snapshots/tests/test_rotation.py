"""The snapshots that a town takes of itself, and the way back from lost data."""

from __future__ import annotations

import shutil
from pathlib import Path

from tinytown_server.server import EmbeddedServer
from tinytown_testing.shell import Shell


def snapshots(tt: Shell) -> list[Path]:
    return sorted(Path(tt.json("where")["snapshots"]).glob("*.jsonl"))


def run_and_stop(tt: Shell) -> str | None:
    """The snapshot that ``tt stop`` reports."""
    tt("start", "--background", env={"TINYTOWN_NO_KERNEL": ""})
    snapshot: str | None = tt.json("stop", "--timeout", "20")["snapshot"]
    return snapshot


def configure(tt: Shell, line: str) -> None:
    with (tt.directory / "tinytown.toml").open("a") as file:
        file.write(f"\n[state]\n{line}\n")


def test_a_snapshot_is_taken_when_the_town_is_stopped_unless_nothing_changed(tt: Shell) -> None:
    tt("init", "--name", "here")
    assert run_and_stop(tt) is None
    assert snapshots(tt) == [], "an empty town"
    tt("backlog", "add", "a poem", "--tags", "poetry")
    reported = run_and_stop(tt)
    (first,) = snapshots(tt)
    assert reported == str(first)
    assert first.stat().st_mode & 0o777 == 0o600
    assert run_and_stop(tt) is None
    assert snapshots(tt) == [first]
    tt("backlog", "add", "another poem", "--tags", "poetry")
    run_and_stop(tt)
    assert len(snapshots(tt)) == 2


def test_only_the_newest_snapshots_are_kept(tt: Shell) -> None:
    tt("init", "--name", "here")
    configure(tt, "snapshots = 2")
    for number in range(2):
        tt("backlog", "add", f"poem {number}", "--tags", "poetry")
        run_and_stop(tt)
    first, second = snapshots(tt)
    tt("backlog", "add", "poem 2", "--tags", "poetry")
    run_and_stop(tt)
    kept = snapshots(tt)
    assert first not in kept
    assert kept[0] == second
    assert len(kept) == 2


def test_with_zero_no_snapshot_is_taken(tt: Shell) -> None:
    tt("init", "--name", "here")
    configure(tt, "snapshots = 0")
    tt("backlog", "add", "a poem", "--tags", "poetry")
    run_and_stop(tt)
    assert snapshots(tt) == []


def test_lost_data_is_missed_and_comes_back_from_the_newest_snapshot(tt: Shell) -> None:
    tt("init", "--name", "here")
    tt("backlog", "add", "a poem", "--tags", "poetry")
    tasks = tt.json("task", "list")
    run_and_stop(tt)
    (newest,) = snapshots(tt)
    shutil.rmtree(tt.state())
    for words in (("list",), ("status",), ("spawn", "ada"), ("restore", str(newest), "--dry-run")):
        error = tt(*words, "--json", code=3).error
        assert error["code"] == "data_gone"
        assert str(tt.directory) in error["message"]
        assert f"restore the newest snapshot, {newest}," in error["hint"]
    assert EmbeddedServer(tt.state()).pid() is None
    tt("restore", str(newest))
    assert tt.json("task", "list") == tasks


def test_a_town_with_lost_data_can_be_forgotten(tt: Shell) -> None:
    tt("init", "--name", "here")
    tt("stop")
    shutil.rmtree(tt.state())
    assert "tt uninstall --force" in tt("list", "--json", code=3).error["hint"]
    tt("uninstall", "--force")
    assert tt.json("list") == {"agents": []}


def test_a_reset_of_everything_removes_the_files_of_the_town_too(tt: Shell) -> None:
    tt("init", "--name", "here")
    state = tt.state()
    assert tt("reset", "--everything", "--json", code=4).error["code"] == "needs_force"
    assert tt("reset", "--everything", "--agents-only", "--json", code=2).error["code"] == "usage"
    assert tt("reset", "--everything", "--force", "--json").json["uninstalled"]
    assert list(state.parent.iterdir()) == []
