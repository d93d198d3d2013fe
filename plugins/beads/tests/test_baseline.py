"""What is remembered of a bead file is read as it was written, by this version and from the one before."""

from __future__ import annotations

import json
from pathlib import Path

from tinytown_beads.baseline import Baseline, entries_of, next_order, read_baseline, read_baselines, write_baseline
from tinytown_beads.lines import read_lines
from tinytown_beads.merge import Base
from tinytown_beads.view import View

from .conftest import TOMBSTONE, bead, document

CONTENT = document(bead("a"), TOMBSTONE, bead("b")) + b"\xff\n"
BASES = {
    "a": Base(View(title="same"), View(title="same")),
    "b": Base(View(title="b", notes="n"), View(title="b", assignee="ada")),
}


def test_lines_and_what_both_sides_said_come_back(tmp_path: Path) -> None:
    lines = read_lines(CONTENT)
    path = tmp_path / "x.baseline"
    write_baseline(path, Baseline(path="x.jsonl", digest="d", order=3, entries=entries_of(lines, (), BASES)))
    result = read_baseline(path)
    assert result is not None
    assert result.unpack() == (lines, BASES)
    assert (list(read_baselines(tmp_path)), next_order(tmp_path)) == ([path], 4)
    assert b"ada" in path.read_bytes()
    assert path.read_bytes().count(b"same") == 1, "what both said is written once"


def test_the_first_version_is_read_and_one_to_come_is_left_alone(tmp_path: Path) -> None:
    line = document(bead("a")).decode()
    first = [
        {"version": 1, "path": "x.jsonl", "digest": "d"}, {"line": line, "file": {"title": "t"}, "town": {"title": "t"}},
    ]  # fmt: skip
    path = tmp_path / "x.baseline"
    path.write_text("".join(json.dumps(each) + "\n" for each in first))
    result = read_baseline(path)
    assert result is not None
    assert result.unpack()[1] == {"a": Base(View(title="t"), View(title="t"))}
    path.write_text(json.dumps({**first[0], "version": 99}) + "\n")
    assert read_baseline(path) is None
