"""``tt task import`` and ``tt task export``: a stranger's format, one that can be updated, and documents of every badness."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tinytown_testing.installed import install_plugin
from tinytown_testing.shell import Shell

#: Lines of `title: description`. Without a title a task is refused by the town, without a colon it is a problem.
CONVERTER = """
from tinytown_cli.contracts import Converted
from tinytown.hookspecs import hookimpl

TINYTOWN_HOOK_API = 2


class Colons:
    format = "colons"
    keeps = ("title", "description")
    loses = ("needs",)

    def read(self, document):
        if b"burst" in document:
            raise RuntimeError("as it was made to")
        tasks, problems = [], []
        for number, line in enumerate(document.decode("latin-1").splitlines(), 1):
            title, colon, description = line.partition(": ")
            if colon:
                tasks.append({"title": title, "description": description})
            else:
                problems.append(f"line {number}: no colon")
        return "nothing" if b"mute" in document else Converted(tuple(tasks), tuple(problems))

    def write(self, tasks):
        return "".join(f"{task.title}: {task.description}\\n" for task in tasks).encode("latin-1")


@hookimpl
def tinytown_converters():
    return [Colons()]
"""


@pytest.fixture
def town(tt: Shell, tmp_path: Path) -> Shell:
    """A shell in a town of its own, with the format `colons` installed."""
    site = tmp_path / "site"
    install_plugin(site, "colons", CONVERTER)
    tt.variables["PYTHONPATH"] = str(site)
    tt("init")
    return tt


def write(town: Shell, name: str, content: str | bytes) -> Path:
    path = town.directory / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def titles(town: Shell) -> list[str]:
    return [task["title"] for task in town("task", "list", "--json").json["tasks"]][::-1]


def test_an_export_is_imported_by_another_town(town: Shell) -> None:
    town("backlog", "add", "write it", "--title", "One")
    town("backlog", "add", "paint it \u00e9", "--title", "Two")
    assert titles(town) == ["One", "Two"]
    result = town("task", "export", "all.txt", "--format", "colons")
    assert result.out == "wrote 2 tasks to all.txt; the format does not keep: needs\n"
    assert (town.directory / "all.txt").read_bytes() == "One: write it\nTwo: paint it \u00e9\n".encode("latin-1")
    assert town("task", "export", "-", "--format", "colons", "--state", "completed").out == ""
    town("reset", "--force")
    assert town("task", "import", "all.txt", "--format", "colons").out == "2 tasks imported, 0 already known\n"
    assert titles(town) == ["One", "Two"]


def test_a_dry_run_changes_nothing_and_reads_standard_input(town: Shell) -> None:
    words = ("task", "import", "-", "--format", "colons")
    assert town(*words, "-n", given=b"One: write it\n").out == "1 task to import, 0 already known\n"
    assert titles(town) == []
    town("spawn", "ada")
    made = town(*words, "--agent", "ada", "--json", given=b"One: write it\n").json
    assert town("task", "show", made["tasks"][0], "--json").json["assigned_to"] == "ada"


def test_an_import_reports_unreadable_records_and_adds_the_rest_unless_strict(town: Shell) -> None:
    write(town, "odd.txt", "One: write it\nnonsense\nEmpty:  \n")
    refused = town("task", "import", "odd.txt", "--format", "colons", "--strict", "--json", code=4)
    assert "2 problems in odd.txt, nothing was imported: line 2: no colon" in refused.error["message"]
    assert titles(town) == []
    answer = town("task", "import", "odd.txt", "--format", "colons", "--json", code=1).json
    assert (answer["created"], answer["problems"][0]) == (1, "line 2: no colon")
    assert answer["problems"][1].startswith("task Empty: ")
    assert titles(town) == ["One"]


@pytest.mark.parametrize(("content", "message"), [(b"burst", "as it was made to"), (b"mute", "expected Converted")])
def test_a_converter_that_fails_is_named(town: Shell, content: bytes, message: str) -> None:
    error = town("task", "import", "-", "--format", "colons", "--json", given=content, code=1).error
    assert (error["code"], "'colons'" in error["message"], message in error["message"]) == ("plugin_faulty", True, True)


def test_an_export_that_cannot_be_encoded_is_a_fault_of_the_converter(town: Shell) -> None:
    town("backlog", "add", "\u4e2d")
    error = town("task", "export", "x.txt", "--format", "colons", "--json", code=1).error
    assert "the converter 'colons' failed: UnicodeEncodeError" in error["message"]
    assert not (town.directory / "x.txt").exists()


def test_nothing_is_overwritten_and_only_some_formats_can_be_updated(town: Shell) -> None:
    path = write(town, "mine.txt", "mine")
    assert town("task", "export", "mine.txt", "--format", "colons", "--json", code=4).error["code"] == "exists"
    error = town("task", "export", "mine.txt", "--format", "colons", "--update", "--json", code=2).error
    assert "the format 'colons' cannot update a document" in error["message"]
    assert path.read_text() == "mine"


def test_an_updated_document_keeps_content_that_is_not_a_task(town: Shell) -> None:
    write(
        town,
        "beads.jsonl",
        '{"id":"b-1","title":"One","status":"open","strange":[1]}\n{"_type":"memory","key":"k","value":"v"}\n',
    )
    words = ("task", "import", "beads.jsonl", "--format", "beads", "--json")
    first, again = town(*words).json, town(*words).json
    assert [(answer["created"], answer["known"]) for answer in (first, again)] == [(1, 0), (0, 1)]
    town("task", "complete", first["tasks"][0])
    town("task", "export", "beads.jsonl", "--format", "beads", "--update")
    bead, memory = (town.directory / "beads.jsonl").read_text().splitlines()
    assert (json.loads(bead)["status"], json.loads(bead)["strange"]) == ("closed", [1])
    assert memory == '{"_type":"memory","key":"k","value":"v"}'


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("import", "absent.txt", "--format", "colons"), 2, "no such file: absent.txt"),
        (("import", ".", "--format", "colons"), 2, "it is not a regular file"),
        (("import", "-", "--format", "morse"), 3, "no installed plugin has the format 'morse'"),
        (("import", "-"), 2, "missing option '--format'"),
        (("import", "-", "--format", "colons", "--agent", "nobody"), 3, "no agent called"),
        (("export", "absent/x.txt", "--format", "colons"), 1, "cannot write absent/x.txt"),
        (("export", "x.txt", "--format", "colons", "--agent", "nobody"), 3, "no agent called"),
        (("export", "absent.jsonl", "--format", "beads", "--update"), 2, "no such file: absent.jsonl"),
    ],
)
def test_import_and_export_errors_name_the_fix(town: Shell, words: tuple[str, ...], code: int, message: str) -> None:
    result = town("task", *words, given=b"One: write it\n", code=code)
    assert message in result.out + result.err


def test_tasks_may_stand_before_those_that_they_need(town: Shell) -> None:
    needs = [{"issue_id": "b-1", "depends_on_id": "b-2", "type": "blocks"}]
    last = {"id": "b-1", "title": "Last", "status": "open", "dependencies": needs}
    first = {"id": "b-2", "title": "First", "status": "open"}
    write(town, "beads.jsonl", "".join(f"{json.dumps(bead)}\n" for bead in (last, first)))
    answer = town("task", "import", "beads.jsonl", "--format", "beads", "--json").json
    assert (answer["created"], answer["problems"]) == (2, [])
    assert titles(town) == ["First", "Last"]
