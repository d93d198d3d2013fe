"""A sync with a `bd` on PATH: a stand-in that keeps its records in a file, and the real program where there is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tinytown.errors import TinytownError
from tinytown_beads.bd_cli import BdCli, find_bd
from tinytown_beads.fields import DROPPED_KEYS, ISSUE_KEYS
from tinytown_beads.lines import beads_of, join, read_lines
from tinytown_beads.settings import Settings
from tinytown_testing.shell import Shell

from ..conftest import EVERY_FIELD, MOMENT, bead, document, edge

#: Keeps what it is given in `database`, by the rule that an older record changes nothing; drops what it does not know.
STAND_IN = """#!{python}
import json, pathlib, sys
database = pathlib.Path({database!r})
known = {{record["id"]: record for record in map(json.loads, database.read_text().splitlines())}}
words = sys.argv[1:]
if words[0] == "export":
    pathlib.Path(words[words.index("-o") + 1]).write_text(database.read_text())
elif words[0] == "import":
    stale = []
    for line in pathlib.Path(words[1]).read_text().splitlines():
        record = json.loads(line)
        old = known.get(record["id"])
        if old and old["updated_at"] > record["updated_at"]:
            stale.append(record["id"])
        else:
            record.pop("source_formula", None)
            known[record["id"]] = record
    database.write_text("".join(json.dumps(record) + chr(10) for record in known.values()))
    print(json.dumps({{"stale_skipped_ids": stale, "skipped_dependencies": ["a -> b: gone"]}}))
"""


@pytest.fixture
def repository(bare: Shell) -> Path:
    """A town in a directory with a bead database that the stand-in keeps."""
    bare("init", "--name", "t")
    beads = bare.directory / ".beads"
    beads.mkdir()
    (beads / "metadata.json").write_text("{}")
    programs = bare.directory / "programs"
    programs.mkdir()
    program = programs / "bd"
    program.write_text(STAND_IN.format(python=sys.executable, database=str(beads / "database")))
    program.chmod(0o755)
    bare.variables["PATH"] = f"{programs}{os.pathsep}{bare.variables['PATH']}"
    return bare.directory


def records(path: Path) -> dict[str, Any]:
    return {record["id"]: record for record in map(json.loads, path.read_text().splitlines())}


def test_news_of_the_database_reach_the_town_and_news_of_the_town_the_database(repository: Path, bare: Shell) -> None:
    database, file = repository / ".beads" / "database", repository / ".beads" / "issues.jsonl"
    file.write_bytes(document(bead("tt-1", source_formula="shiny"), bead("tt-2", notes="by hand")))
    database.write_bytes(
        document(bead("tt-1", title="newer", updated_at="2026-02-01T00:00:00Z"), bead("tt-2"), bead("tt-3"))
    )
    answer = bare.json("beads", "sync")
    assert (answer["created"], answer["bd_skipped"]) == (3, ["a -> b: gone"])
    assert records(file)["tt-1"] == bead(
        "tt-1", title="newer", updated_at="2026-02-01T00:00:00Z", source_formula="shiny"
    )
    assert records(file)["tt-2"]["notes"] == records(database)["tt-2"]["notes"] == "by hand"
    assert bare.json("task", "show", "tt-1")["title"] == "newer"
    bare("task", "complete", "tt-3", "--result", "fine")
    bare("beads", "sync")
    assert records(database)["tt-3"]["status"] == "closed"
    assert bare.json("beads", "sync")["file_changed"] is False


def test_a_program_that_fails_changes_nothing(repository: Path, bare: Shell) -> None:
    (repository / ".beads" / "issues.jsonl").write_bytes(document(bead("tt-1")))
    error = bare("--json", "beads", "sync", code=1).error  # its database is not there
    assert error["code"] == "bd_failed"
    assert "bd export ended with 1" in error["message"]
    assert bare.json("task", "list")["tasks"] == []
    with (repository / "tinytown.toml").open("a") as file:
        file.write('\n[plugins.beads]\nbd = "never"\n')
    assert bare.json("beads", "sync")["created"] == 1


def test_a_program_is_asked_only_where_it_has_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bd"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / ".beads" / "issues.jsonl"
    assert find_bd(file, Settings()) is None
    file.parent.mkdir()
    (file.parent / "metadata.json").touch()
    assert find_bd(file, Settings(bd="never")) is None
    result = find_bd(file, Settings())
    assert result is not None
    with pytest.raises(TinytownError, match="no output"):
        result.pull([])


BD = shutil.which("bd")
_NOT_COMPARED = {*DROPPED_KEYS, "dependency_count", "dependent_count", "comment_count", "comments", "dependencies"}


@pytest.mark.skipif(BD is None, reason="no bd is on PATH: the way through the real program cannot be tried")
def test_what_goes_through_the_real_program_comes_back_but_for_what_it_drops(tmp_path: Path) -> None:
    def bd(*words: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("BEADS_", "BD_"))}
        done = subprocess.run(
            [BD or "bd", *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    whole = {
        **EVERY_FIELD,
        "ephemeral": False,
        "is_template": False,
        "metadata": {"a": [1]},
        "no_history": True,
        "created_at": MOMENT,
        "updated_at": MOMENT,
    }
    content = document(whole, bead("tt-b2c"), bead("tt-c", dependencies=[edge("tt-c", "tt-b2c")]))
    (tmp_path / "in.jsonl").write_bytes(content)
    bd("init", "--prefix", "tt", "--non-interactive", "--skip-hooks", "--skip-agents", "--quiet")
    bd("import", "in.jsonl")
    program = BdCli(str(BD), tmp_path / ".beads" / "issues.jsonl")
    assert join(program.pull(read_lines(content))) == content
    bd("export", "--all", "-o", "out.jsonl")
    back = beads_of(read_lines((tmp_path / "out.jsonl").read_bytes()))
    for key, sent in beads_of(read_lines(content)).items():
        compared = [each for each in ISSUE_KEYS if each not in _NOT_COMPARED]
        assert {each: back[key].record.get(each) for each in compared} == {
            each: sent.record.get(each) for each in compared
        }
    older = bead("tt-c", title="from before", updated_at="2020-01-01T00:00:00Z")
    (tmp_path / "old.jsonl").write_bytes(document(older))
    assert "tt-c" in json.loads(bd("import", "old.jsonl", "--json"))["stale_skipped_ids"]
