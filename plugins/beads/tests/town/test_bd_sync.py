"""A sync with a `bd` on PATH: stand-ins for each range of versions, and the real program where there is one."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tinytown.errors import Refused, TinytownError
from tinytown.model.tasks import Task
from tinytown_beads.bd_cli import BdCli, find_bd
from tinytown_beads.fields import DROPPED_KEYS, ISSUE_KEYS
from tinytown_beads.lines import beads_of, read_lines
from tinytown_beads.settings import Settings, read_settings
from tinytown_beads.store import BeadStore, open_store
from tinytown_beads.syncing import sync_file
from tinytown_beads.watch import watch_sync
from tinytown_cli import administration
from tinytown_cli.public import CliContext
from tinytown_testing.shell import Shell

from ..conftest import EVERY_FIELD, MOMENT, bead, document, edge

STAND_IN = Path(__file__).parents[1] / "stand_in_bd.py"
REAL = shutil.which("bd")
#: One of each range, and of the last one also where a server has the database.
VERSIONS = ["0.42.0", "0.47.0", "0.61.0", "1.0.2", "1.0.5", "1.0.5 server", "2.9.9"]


def stand_in(directory: Path, version: str) -> Path:
    """A program `bd` of this version in `directory`; ``1.0.5 server``: with a database that a server has."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "bd"
    number, _, server = version.partition(" ")
    text = STAND_IN.read_text().replace("VERSION = (1, 0, 5)", f"VERSION = ({number.replace('.', ', ')})")
    text = text.replace("SERVER = False", f"SERVER = {bool(server)}")
    program.write_text(f"#!{sys.executable} -ISE\n{text}")
    program.chmod(0o755)
    return program


class Repository:
    """A town of its own on a server that a module shares, in a directory with a database of beads."""

    def __init__(self, directory: Path, url: str, program: Path) -> None:
        self.directory, self.program = directory, program
        self.file = directory / ".beads" / "issues.jsonl"
        self.file.parent.mkdir(parents=True)
        (directory / "tinytown.toml").write_text(f'name = "{directory.name}"\n[redis]\nurl = "{url}"\n')
        words = ["init", "--prefix", "tt", "--quiet"]
        if "--non-interactive" in self.bd("init", "--help"):
            words += ["--non-interactive", "--skip-hooks", "--skip-agents"]
        self.bd(*words)
        self.bd("config", "set", "export.auto", "false")

    def bd(self, *words: str) -> str:
        done = subprocess.run(
            [str(self.program), *words],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def store(self) -> Iterator[BeadStore]:
        context = CliContext()
        context.town = str(self.directory)
        with context.open_town() as town:
            yield open_store(town, read_settings(town.config))

    def sync(self, **options: Any) -> dict[str, Any]:
        with self.store() as store:
            return sync_file(store, self.file, **options).shape

    def tasks(self) -> dict[str, Task]:
        with self.store() as store:
            return {task.id: task for task in store.town.run(store.town.operations.tasks(limit=1000))}

    def do(self, operation: Callable[[Any], Any]) -> Any:
        """Carry out an operation in the town."""
        with self.store() as store:
            return store.town.run(operation(store.town.operations))

    def change(self, id_: str, **fields: Any) -> None:
        """Change fields of a task in the town."""
        self.do(lambda calls: administration.update_task(calls, id_, **fields))

    @property
    def records(self) -> dict[str, Any]:
        """The records of the database."""
        return {line.key: dict(line.bead.record) for line in self.cli.export() if line.bead}

    @property
    def cli(self) -> BdCli:
        return BdCli(str(self.program), self.file)

    @property
    def lines(self) -> dict[str, Any]:
        """The records of the file."""
        records = map(json.loads, self.file.read_text().splitlines())
        return {record["id"]: record for record in records if record["status"] != "tombstone"}

    def settle(self) -> None:
        """Wait for the next second: times of the database are whole seconds."""
        start = int(time.time())
        while int(time.time()) == start:
            time.sleep(0.02)


@pytest.fixture
def open_repository(
    in_town: Shell, no_town_environment: None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Callable[[str], Repository]:
    """A new repository with a stand-in for a version, or the real program."""
    in_town("backlog", "list")

    def open_(version: str) -> Repository:
        directory = in_town.directory / f"t-{secrets.token_hex(4)}"
        program = Path(REAL or "").absolute() if version == "real" else stand_in(directory / "programs", version)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("BEADS_NO_DAEMON", "1")
        return Repository(directory, in_town.server().url, program)

    return open_


@pytest.fixture(params=[*VERSIONS, "real"])
def repository(request: pytest.FixtureRequest, open_repository: Callable[[str], Repository]) -> Repository:
    if request.param == "real" and REAL is None:
        pytest.skip("no bd is on PATH")
    return open_repository(request.param)


def test_news_of_each_side_reach_the_other(repository: Repository) -> None:
    bd = repository.bd
    bd("create", "first", "--id", "tt-1", "--labels", "a,b")
    bd("create", "second", "--id", "tt-2")
    bd("dep", "add", "tt-2", "tt-1")
    answer = repository.sync()
    assert (answer["created"], answer["bd_skipped"]) == (2, ())
    assert list(repository.tasks()["tt-2"].needs) == ["tt-1"]
    own = repository.do(lambda calls: calls.add_task("of the town", tags=["x"])).task.id
    repository.do(lambda calls: calls.settle_task("complete", "tt-1", text="fine"))
    repository.settle()
    repository.sync()
    records = repository.records
    (new,) = [record for record in records.values() if record.get("external_ref") == f"tinytown:{own}"]
    assert (records["tt-1"]["status"], records["tt-1"]["close_reason"], new["labels"]) == ("closed", "fine", ["x"])
    repository.settle()
    bd("update", "tt-2", "--title", "second, changed")
    repository.sync()
    assert repository.tasks()["tt-2"].title == repository.lines["tt-2"]["title"] == "second, changed"


def test_an_idle_sync_changes_no_byte(repository: Repository) -> None:
    bd = repository.bd
    bd("create", "first", "--id", "tt-1", "--labels", "a", "--description", "with <signs> & é")
    bd("create", "second", "--id", "tt-2")
    bd("update", "tt-2", "--status", "in_progress")
    repository.do(lambda calls: calls.add_task("of the town", tags=["x"], title="a title"))
    repository.sync()
    content, records = repository.file.read_bytes(), repository.records
    sign = repository.cli.sign()
    for _ in range(100 if str(repository.program) == REAL else 3):
        answer = repository.sync()
        assert (answer["file_changed"], answer["created"], answer["updated"], answer["written"]) == (False, 0, 0, 0)
    assert (repository.file.read_bytes(), repository.records) == (content, records)
    if any("noms" in name for name, _, _ in sign):
        assert repository.cli.sign() == sign


def test_what_the_town_takes_away_is_taken_away_in_the_database(repository: Repository) -> None:
    bd = repository.bd
    for number in (1, 2):
        bd("create", "work", "--id", f"tt-{number}", "--labels", "a,b")
    bd("dep", "add", "tt-2", "tt-1")
    defers = dict(repository.cli.dialect.updates).get("defer_until")  # before 0.47 the date stays in the file
    bd("update", "tt-1", *([defers, "2099-01-01T00:00:00Z"] if defers else []), "--status", "deferred")
    repository.sync()
    assert repository.tasks()["tt-1"].held
    repository.change("tt-2", tags=["b", "c"], needs=[])
    repository.do(lambda calls: administration.release_task(calls.keys, "tt-1"))
    repository.sync()
    for _ in range(2):
        first, second = (repository.records[id_] for id_ in ("tt-1", "tt-2"))
        assert sorted(second["labels"]) == sorted(repository.lines["tt-2"]["labels"]) == ["b", "c"]
        assert not second.get("dependencies")
        assert (first["status"], first.get("defer_until")) == ("open", None)
        repository.sync()
    task = repository.tasks()["tt-2"]
    assert (list(task.needs), sorted(task.tags)) == ([], ["b", "c"])
    repository.do(
        lambda calls: administration.hold_task(calls.keys, "tt-1", reason="later", until="2099-02-01T00:00:00Z")
    )
    repository.sync()
    assert repository.lines["tt-1"]["defer_until"].startswith("2099-02-01")
    if defers and not repository.cli.dialect.hides_deferral:
        assert repository.records["tt-1"]["defer_until"].startswith("2099-02-01")
    assert repository.records["tt-1"]["status"] == "deferred"


def test_a_bead_deleted_in_bd_stays_deleted(repository: Repository) -> None:
    bd = repository.bd
    for number in (1, 2, 3):
        bd("create", f"work {number}", "--id", f"tt-{number}")
    repository.sync()
    bd("delete", "tt-1", "--force")
    repository.change("tt-1", title="changed meanwhile")
    answer = repository.sync()
    gone = [each for each in answer["beads"] if each["id"] == "tt-1"]
    assert [(each["outcome"], "deleted in bd" in each["reason"]) for each in gone] == [("missing", True)]
    for number in range(2):
        assert set(repository.records) == set(repository.lines) == {"tt-2", "tt-3"}
        repository.change("tt-1", tags=[f"again-{number}"])
        repository.sync()
    assert repository.tasks()["tt-1"].title == "changed meanwhile"
    # A line that comes back, for example from another clone, is not pushed.
    with repository.file.open("ab") as file:
        file.write(document(bead("tt-1")))
    answer = repository.sync()
    assert (answer["bd_lacks"], answer["bd_skipped"]) == (("tt-1",), ())
    assert "tt-1" not in repository.records


def test_lines_that_a_database_never_had_are_pushed_only_into_an_empty_one(repository: Repository) -> None:
    repository.file.write_bytes(document(bead("tt-8"), bead("tt-9", labels=["x"])))
    repository.sync()
    assert set(repository.records) == {"tt-8", "tt-9"}
    with repository.file.open("ab") as file:
        file.write(document(bead("tt-10", dependencies=[edge("tt-10", "tt-8")])))  # new since the last sync
    assert repository.sync()["created"] == 1
    assert "tt-10" in repository.records


def test_wisps_stay_out_of_the_file(repository: Repository) -> None:
    if repository.bd("version").split()[2] in ("0.42.0", "0.47.0"):
        pytest.skip("its wisps are not exported at all")
    repository.bd("create", "patrol", "--id", "tt-wisp-1", "--ephemeral=true")
    repository.bd("create", "work", "--id", "tt-1")
    repository.sync()
    assert set(repository.lines) == {"tt-1"}
    with repository.file.open("ab") as file:
        file.write(document(bead("tt-wisp-2", ephemeral=True)))
    repository.sync()
    assert "tt-wisp-2" not in repository.records


def test_a_task_is_found_again_by_its_reference_alone(repository: Repository) -> None:
    own = repository.do(lambda calls: calls.add_task("of the town")).task.id
    repository.sync()
    with repository.store() as store:
        shutil.rmtree(store.directory)
    repository.file.unlink()
    answer = repository.sync()
    assert answer["created"] == 0
    assert list(repository.tasks()) == [own]
    assert len(repository.records) == 1


def test_what_bd_would_refuse_is_left_out_and_named_and_aliases_are_spelled_out(repository: Repository) -> None:
    repository.file.write_bytes(
        document(bead("tt-1", issue_type="feat"), bead("tt-2", issue_type="odd"), bead("tt-3", status="strange"))
    )
    answer = repository.sync()
    assert [skipped.partition(":")[0] for skipped in answer["bd_skipped"]] == ["tt-2", "tt-3"]
    assert "types.custom" in answer["bd_skipped"][0]
    assert {id_: record["issue_type"] for id_, record in repository.records.items()} == {"tt-1": "feature"}
    if str(repository.program) != REAL:  # some versions write the file themselves
        assert repository.lines["tt-1"]["issue_type"] == "feat", "the file keeps its spelling"
    repository.bd("config", "set", "types.custom", "odd,other")
    assert len(repository.sync()["bd_skipped"]) == 1
    assert repository.records["tt-2"]["issue_type"] == "odd"


def test_a_change_on_both_sides_is_merged_field_by_field(repository: Repository) -> None:
    bd = repository.bd
    bd("create", "title", "--id", "tt-1", "--labels", "a,b")
    repository.sync()
    repository.settle()
    bd("update", "tt-1", "--title", "of the database", "--add-label", "c")
    repository.change("tt-1", tags=["b"], description="of the town")
    repository.sync()
    record = repository.records["tt-1"]
    assert (record["title"], record["description"], record["labels"]) == ("of the database", "of the town", ["b", "c"])
    line = dict(repository.lines["tt-1"])
    assert (line["title"], line["description"], sorted(line["labels"])) == (
        "of the database",
        "of the town",
        ["b", "c"],
    )


def test_an_older_line_overwrites_nothing(repository: Repository) -> None:
    repository.bd("create", "newer", "--id", "tt-1")
    repository.file.write_bytes(document(bead("tt-1", title="from before", labels=["old"])))
    repository.sync()
    assert repository.records["tt-1"]["title"] == repository.lines["tt-1"]["title"] == "newer"


def test_a_watch_sees_changes_in_bd_and_survives_errors(open_repository: Callable[[str], Repository]) -> None:
    repository = open_repository("1.0.5")
    repository.bd("create", "first", "--id", "tt-1")
    journal = next(repository.file.parent.glob("embeddeddolt/*/.dolt/noms/journal"))
    content = journal.read_bytes()
    failures: list[str] = []

    def repair(error: TinytownError) -> None:
        failures.append(error.message)
        journal.write_bytes(content)
        repository.bd("create", "second", "--id", "tt-2")

    with repository.store() as store:
        reports = watch_sync(store, repository.file, lambda: sync_file(store, repository.file), repair)
        assert next(reports).counts["created"] == 1
        journal.write_bytes(b"")  # a database that cannot be read now
        assert next(reports).counts["created"] == 1
    assert [failure[:24] for failure in failures] == ["bd export ended with 1: "]
    assert repository.tasks()["tt-2"].title == "second"


@pytest.mark.skipif(REAL is None, reason="no bd is on PATH: the way through the real program cannot be tried")
def test_every_field_that_the_real_program_keeps_comes_back(open_repository: Callable[[str], Repository]) -> None:
    repository = open_repository("real")
    whole = {
        **EVERY_FIELD,
        "ephemeral": False,
        "is_template": False,
        "metadata": {"a": [1]},
        "created_at": MOMENT,
        "updated_at": MOMENT,
    }
    content = document(whole, bead("tt-b2c"), bead("tt-c", dependencies=[edge("tt-c", "tt-b2c")]))
    repository.file.write_bytes(content)
    repository.sync()
    after = repository.file.read_bytes()
    repository.sync()
    assert repository.file.read_bytes() == after
    computed = {
        "_type",
        "dependency_count",
        "dependent_count",
        "comment_count",
        "comments",
        "dependencies",
        "updated_at",
    }
    kept = set(ISSUE_KEYS) - set(DROPPED_KEYS) - repository.cli.dialect.drops - computed
    for key, sent in beads_of(read_lines(content)).items():
        stored = repository.records[key]
        assert {name: stored.get(name) or None for name in kept} == {
            name: sent.record.get(name) or None for name in kept
        }


# -- the stand-in alone: what it was asked, and how it fails ------------------------------------------------


def commands(log: Path) -> list[list[str]]:
    """The commands since the last call."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("")
    asked = [[word for word in words if word != "--sandbox"] for words in lines]
    return [words for words in asked if words[0] not in ("version", "config")]


@pytest.fixture
def logged(open_repository: Callable[[str], Repository], monkeypatch: pytest.MonkeyPatch) -> tuple[Repository, Path]:
    """A repository with a stand-in, and the log of its commands."""
    repository = open_repository("1.0.5")
    log = repository.directory / "log"
    log.touch()
    monkeypatch.setenv("STAND_IN_LOG", str(log))
    return repository, log


def test_only_changes_are_pushed(logged: tuple[Repository, Path]) -> None:
    repository, log = logged
    repository.file.write_bytes(document(*(bead(f"tt-{number}") for number in range(50))))
    repository.sync()
    assert [words[0] for words in commands(log)] == ["export", "import", "export"]
    repository.sync()
    assert [words[0] for words in commands(log)] == ["export"]
    repository.change("tt-7", title="new")
    repository.change("tt-8", tags=["x"])
    repository.sync(dry_run=True)
    assert [words[0] for words in commands(log)] == ["export"]
    repository.sync()
    repository.change("tt-8", tags=[])
    commands(log)
    repository.sync()
    pushed = commands(log)
    assert [words[0] for words in pushed] == ["export", "update", "export"]
    assert pushed[1] == ["update", "tt-8", "--remove-label", "x"]


def test_a_program_that_fails_changes_nothing_and_says_its_error(logged: tuple[Repository, Path]) -> None:
    repository, _ = logged
    repository.file.write_bytes(document(bead("tt-1")))
    shutil.rmtree(repository.file.parent / "embeddeddolt")
    with pytest.raises(TinytownError, match=r"^bd export ended with 1: no beads database found;"):
        repository.sync()
    assert repository.tasks() == {}
    with (repository.directory / "tinytown.toml").open("a") as file:
        file.write('\n[plugins.beads]\nbd = "never"\n')
    assert repository.sync()["created"] == 1


def test_an_emptied_database_empties_nothing(logged: tuple[Repository, Path]) -> None:
    repository, _ = logged
    repository.file.write_bytes(document(bead("tt-1")))
    repository.sync()
    shutil.rmtree(repository.file.parent / "embeddeddolt")
    repository.bd("init")
    with pytest.raises(Refused, match="is empty; at the last sync it had 1 beads"):
        repository.sync()
    assert set(repository.lines) == {"tt-1"}


@pytest.mark.parametrize("version", ["0.41.0", "0.56.1", "0.60.0", "3.0.0"])
def test_versions_that_cannot_be_synced_with_are_refused(tmp_path: Path, version: str) -> None:
    file = tmp_path / ".beads" / "issues.jsonl"
    program = BdCli(str(stand_in(tmp_path / "programs", version)), file)
    with pytest.raises(Refused, match=f"bd {version} cannot be synced with") as refused:
        _ = program.dialect
    assert "0.42 to 0.55" in refused.value.hint


def test_a_program_is_asked_only_where_it_has_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bd"
    program.write_text('#!/bin/sh\n[ "$1" = version ] && echo bd version 1.0.5 && exit\nexit 1\n')
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
        result.export()
