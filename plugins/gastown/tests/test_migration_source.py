"""What a Gastown town keeps in prose, in table dumps and in its directory, read; nothing of it is written to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from tinytown.errors import NotFound, UsageError
from tinytown_beads.description import field_of, fields_in, with_field
from tinytown_beads.json_text import encode
from tinytown_beads.lines import beads_of, read_lines
from tinytown_gastown.migration.backup_tables import records_of, rows_of
from tinytown_gastown.migration.source import read_gastown, without_credentials

from .conftest import HEADER, MEMORY, bead, document, edge

HOOKED = """Fix the importer.

attached_molecule: gt-mol-1
Attached-Args:  be quick
dispatchedBy: mayor/
no_merge: null

See also: the notes.
"""


def test_fields_of_a_description_are_read_however_they_are_spelled() -> None:
    assert field_of(HOOKED, "attached_molecule") == "gt-mol-1"
    assert field_of(HOOKED, "attached-args") == "be quick"
    assert field_of(HOOKED, "dispatched_by") == "mayor/"
    assert field_of(HOOKED, "no_merge") == ""
    assert field_of(HOOKED, "absent") == ""
    assert fields_in("no fields here\n") == {}


def test_one_field_is_changed_and_the_rest_of_the_text_is_not() -> None:
    assert with_field(HOOKED, "attached_args", "slowly") == HOOKED.replace("be quick", "slowly")
    assert with_field(HOOKED, "no_merge", "true") == HOOKED.replace("null", "true")
    assert with_field("text", "mode", "ralph") == "text\nmode: ralph"
    assert with_field("text\r\na: b\r\nc", "a", "") == "text\r\na: null\r\nc"


@given(
    text=st.text() | st.lists(st.sampled_from(["a: b\n", "\n", "c:d", "  E-f: g\r\n", "x"])).map("".join),
    value=st.text("xyz", min_size=1),
)
def test_a_field_that_was_written_is_read_and_nothing_else_changes(text: str, value: str) -> None:
    after = with_field(text, "hook_bead", value)
    assert field_of(after, "hook_bead") == value
    assert {key: output for key, output in fields_in(after).items() if key != "hookbead"} == {
        key: output for key, output in fields_in(text).items() if key != "hookbead"
    }
    assert with_field(after, "hook_bead", value) == after


def tables() -> dict[str, bytes]:
    issue = {
        "id": "gt-1", "content_hash": "0f", "title": "from a table", "description": "", "status": "open", "priority": 1,
        "issue_type": "task", "assignee": None, "estimated_minutes": None, "created_at": "2026-01-14T09:30:00Z",
        "updated_at": "2026-01-14T09:30:00Z", "ephemeral": 0, "pinned": 0, "is_template": 0, "timeout_ns": 1_800_000_000_000,
        "waiters": '["mayor/"]', "metadata": '{"a":1}', "hook_bead": "", "await_type": "timer", "closed_at": None,
    }  # fmt: skip
    other = {**issue, "id": "gt-2", "ephemeral": 1, "priority": 0, "metadata": "{}", "waiters": "", "timeout_ns": 0}
    rows = {
        "issues": [issue, other],
        "dependencies": [{"issue_id": "gt-2", "depends_on_id": "gt-1", "type": "blocks", "metadata": "{}", "thread_id": ""}],
        "labels": [{"issue_id": "gt-1", "label": "b"}, {"issue_id": "gt-1", "label": "a"}],
        "comments": [{"id": 7, "issue_id": "gt-1", "author": "ada", "text": "hm", "created_at": "2026-01-14T09:30:00Z"}],
        "events": [{"id": 1, "issue_id": "gt-1", "event_type": "created"}],
        "config": [{"key": "kv.memory.build", "value": "run make"}, {"key": "issue_prefix", "value": "gt"}],
    }  # fmt: skip
    return {name: document(*row) for name, row in rows.items()}


def test_a_table_dump_becomes_records_of_the_interchange_format() -> None:
    first, second, memory = records_of({name: rows_of(content) for name, content in tables().items()})
    assert first == {
        "_type": "issue", "id": "gt-1", "title": "from a table", "status": "open", "priority": 1, "issue_type": "task",
        "created_at": "2026-01-14T09:30:00Z", "updated_at": "2026-01-14T09:30:00Z", "metadata": {"a": 1},
        "labels": ["a", "b"],
        "comments": [{"id": 7, "issue_id": "gt-1", "author": "ada", "text": "hm", "created_at": "2026-01-14T09:30:00Z"}],
        "await_type": "timer", "timeout": 1_800_000_000_000, "waiters": ["mayor/"],
    }  # fmt: skip
    assert (second["priority"], second["ephemeral"], second["dependencies"][0]["depends_on_id"]) == (0, True, "gt-1")
    assert "timeout" not in second
    assert memory == {"_type": "memory", "key": "build", "value": "run make"}
    lines = read_lines("\n".join(encode(each) for each in (first, second, memory)).encode())
    assert [line.kind for line in lines] == ["bead", "bead", "memory"]


def build(root: Path, *, faulty: bool = False) -> Path:
    """A town with a rig that has an export, one that has only a table dump, and headquarters.

    If it is `faulty`, also with a bad line, and with a rig and a route that lead out of it.
    """

    def put(path: str, content: bytes | str) -> None:
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())

    rigs = {"shop": {"git_url": "https://ada:secret@git.example/shop.git", "beads": {"prefix": "sh"}}}
    put("mayor/rigs.json", json.dumps({"version": 1, "rigs": {**rigs, "../evil": {}} if faulty else rigs}))
    put("shop/config.json", json.dumps({"type": "rig", "name": "shop", "default_branch": "trunk"}))
    routes = [{"prefix": "hq-", "path": "."}, {"prefix": "dk-", "path": "desk/mayor/rig"}]
    routes += [{"prefix": "x-", "path": "../../etc"}] if faulty else []
    put(".beads/routes.jsonl", b"# routes\n" + document(*routes))
    put("shop/mayor/rig/.beads/issues.jsonl", document(
        HEADER,
        bead("sh-1", title="old", updated_at="2026-01-01T00:00:00Z"),
        bead("sh-2", status="hooked", assignee="shop/polecats/nux", description=HOOKED),
        bead("sh-shop-polecat-nux", issue_type="agent", description="role_type: polecat\nagent_state: working\nhook_bead: sh-2"),
        bead("dk-9"),
        *(["not json"] if faulty else []),
        MEMORY,
    ))  # fmt: skip
    put(".beads/issues.jsonl", document(
        bead("sh-1", title="newer", updated_at="2026-01-02T00:00:00Z"),
        bead("hq-cv-1", issue_type="convoy", title="the release", description="owner: mayor/",
             dependencies=[edge("hq-cv-1", "sh-1", "tracks")]),
        bead("hq-mayor", labels=["gt:agent"]),
        bead("sh-shop-witness", labels=["gt:agent"]),
    ))  # fmt: skip
    for name, content in tables().items():
        put(f"desk/mayor/rig/.beads/backup/{name}.jsonl", content.replace(b"gt-", b"dk-"))
    put(".beads/formulas/shiny.formula.toml", 'formula = "shiny"\n')
    put("shop/.beads/formulas/own.formula.toml", 'formula = "own"\n')
    put("shop/polecats/nux/.git", "gitdir: elsewhere")
    put(".events.jsonl", "{}\n")
    put("shop/formula-overlays/shiny.toml", "")
    return root


def test_a_directory_is_read_whole(tmp_path: Path) -> None:
    town = read_gastown(build(tmp_path, faulty=True))
    assert sorted(town.rigs) == ["desk", "hq", "shop"]
    shop = town.rigs["shop"]
    assert (shop.prefix, shop.branch, shop.repository) == ("sh", "trunk", "https://git.example/shop.git")
    assert list(beads_of(shop.lines)) == ["sh-1", "sh-2", "sh-shop-polecat-nux"]
    assert beads_of(shop.lines)["sh-1"].title == "newer"
    assert [line.key for line in shop.lines if line.kind == "memory"] == ["build"]
    assert sorted(beads_of(town.rigs["desk"].lines)) == ["dk-1", "dk-2", "dk-9"]
    assert list(beads_of(town.rigs["hq"].lines)) == ["hq-cv-1", "hq-mayor", "sh-shop-witness"]
    assert [path.name for path in shop.formulas] == ["own.formula.toml"]
    assert shop.work_places == ["shop/polecats/nux"]
    answer = dict(town.no_place)
    assert answer["shop/formula-overlays"].startswith("overlays of formulas")
    assert answer["desk/mayor/rig/.beads/backup/events.jsonl"] == "history of beads"
    assert any("'../evil'" in problem for problem in town.problems)
    assert any("leads outside the town" in problem for problem in town.problems)
    assert any("line 6: invalid JSON" in problem for problem in town.problems)


def test_what_is_no_gastown_town_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a Gastown town"):
        read_gastown(tmp_path)
    with pytest.raises(NotFound):
        read_gastown(tmp_path / "absent")


def test_torn_files_are_problems(tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / "mayor" / "rigs.json").write_bytes(b"\xff{")
    town = read_gastown(tmp_path)
    assert any("mayor/rigs.json is not readable" in problem for problem in town.problems)
    assert "shop" in town.rigs


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("https://ada:secret@git.example/shop.git", "https://git.example/shop.git"),
        ("git@git.example:shop.git", "git@git.example:shop.git"),
        ("/srv/shop.git", "/srv/shop.git"),
    ],
)
def test_a_password_in_an_address_is_not_told(url: str, answer: str) -> None:
    assert without_credentials(url) == answer
