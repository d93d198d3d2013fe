"""Bead files byte for byte: what each line is, what is wrong with a bad one, and that nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st
from tinytown_beads.bead import moment
from tinytown_beads.fields import ISSUE_KEYS
from tinytown_beads.json_text import decode, encode
from tinytown_beads.lines import beads_of, join, new_line, problems_of, read_lines, with_changes

from .conftest import EVERY_FIELD, HEADER, LEGACY, MEMORY, TOMBSTONE, bead, document


def test_a_document_put_together_again_is_the_same(each_document: bytes) -> None:
    assert join(read_lines(each_document)) == each_document


@given(
    document=st.binary()
    | st.lists(st.sampled_from([b"{}", b"\r", b"\n", b"\xff", MEMORY.encode(), b" "])).map(b"".join)
)
def test_any_bytes_put_together_again_are_the_same(document: bytes) -> None:
    assert join(read_lines(document)) == document


def test_no_document_of_ours_has_a_bad_line(each_document: bytes) -> None:
    assert problems_of(read_lines(each_document)) == []


def test_the_kinds_of_lines_are_told_apart() -> None:
    lines = read_lines(document(HEADER, bead("tt-1"), "", MEMORY, TOMBSTONE, "{"))
    assert [line.kind for line in lines] == ["header", "bead", "blank", "memory", "tombstone", "bad"]
    assert [line.key for line in lines] == ["", "tt-1", "", "build", "tt-old", ""]
    assert [line.number for line in lines] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("hello", "invalid JSON"),
        ("[1]", "not a JSON object"),
        ('{"id":"a","title":" "}', "it has no title"),
        ('{"id":"","title":"x"}', "it has no id"),
        ('{"title":"x"}', "it has no id"),
        ('{"id":7,"title":"x"}', "expected id to be a string"),
        ('{"id":"a","title":"x","priority":5}', "expected a priority from 0 to 4, got 5"),
        ('{"id":"a","title":"x","priority":true}', "expected a priority from 0 to 4"),
        (
            '{"id":"a","title":"x","estimated_minutes":1e999}',
            "expected a whole number of minutes as estimated_minutes, got inf",
        ),
        ('{"id":"a","title":"x","estimated_minutes":99999999999999999999}', "expected a whole number of minutes"),
        ('{"id":"a","title":"x","estimated_minutes":-1}', "expected a whole number of minutes"),
        ('{"id":"a","title":"x","estimated_minutes":"5"}', "expected a whole number of minutes"),
        ('{"id":"a","title":"x","created_at":1e999}', "as created_at, got inf"),
        ('{"id":"a","title":"x","defer_until":20260114}', "as defer_until, got 20260114"),
        ('{"id":"a","title":"x","priority":1.5}', "expected a priority from 0 to 4"),
        ('{"id":"a","title":"x","status":3}', "expected status to be a string"),
        ('{"id":"a","title":"x","labels":"b"}', "expected labels to be a list of strings"),
        ('{"id":"a","title":"x","dependencies":[{}]}', "a dependency has no depends_on_id"),
        ('{"id":"a","title":"x","dependencies":[7]}', "expected every dependency to be an object"),
        ('{"id":"a","title":"x","timeout":"1h"}', "expected a whole number as timeout"),
        ('{"_type":"memory","key":"","value":"x"}', "a memory needs a key and a value"),
        ('{"_type":"film","id":"a","title":"x"}', "unknown _type"),
        ("[" * 100_000, "nested too deeply"),
        ('{"id":"' + "a" * 256 + '","title":"x"}', "its id is longer than 255 characters"),
    ],
)
def test_a_bad_line_is_named_by_number_and_reason(line: str, reason: str) -> None:
    (problem,) = problems_of(read_lines(document(bead("tt-1"), line)))
    assert problem.startswith("line 2: ")
    assert reason in problem


def test_bytes_that_are_no_text_are_named_by_their_place() -> None:
    assert problems_of(read_lines(b'\n{"id":"\xff"}\n')) == ["line 2: not UTF-8 at byte 8"]


def test_of_two_beads_with_one_id_the_later_counts() -> None:
    lines = read_lines(document(bead("tt-1", title="old"), bead("tt-1", title="new")))
    assert beads_of(lines)["tt-1"].title == "new"
    assert problems_of(lines) == ["line 1: tt-1 is repeated on line 2, which wins"]


@pytest.mark.parametrize("field", [field for field in EVERY_FIELD if field not in ("id", "title", "_type")])
def test_each_field_stays_when_another_is_changed_and_may_be_absent(field: str) -> None:
    for record in (EVERY_FIELD, {key: value for key, value in EVERY_FIELD.items() if key != field}):
        (line,) = read_lines(document(record))
        changed = with_changes(line, {"title": "another"})
        assert changed.raw.decode() == encode({**record, "title": "another"}) + "\n"


@pytest.mark.parametrize("field", [*LEGACY, "no such key"])
def test_keys_that_nobody_knows_stay_where_they_are(field: str) -> None:
    (line,) = read_lines(document(bead("tt-1", **{field: LEGACY.get(field, [1.0])})))
    assert with_changes(line, {"status": "closed"}).raw == line.raw.replace(b'"open"', b'"closed"')


def test_zeros_and_large_numbers_keep_their_spelling() -> None:
    text = '{"id":"a","title":"x","priority":0,"estimated_minutes":0,"timeout":9007199254740993,"x":1.0e+2}'
    (line,) = read_lines(text.encode())
    assert line.bead is not None
    assert (line.bead.priority, line.bead.timeout_ns) == (0, 9007199254740993)
    assert with_changes(line, {"title": "y"}).raw.decode() == text.replace('"x","p', '"y","p')


def test_a_changed_line_keeps_its_end_and_its_mark() -> None:
    for raw in (b'{"id":"a","title":"x"}', b'{"id":"a","title":"x"}\r\n', b'\xef\xbb\xbf{"id":"a","title":"x"}\n'):
        (line,) = read_lines(raw)
        assert with_changes(line, {"title": "é"}).raw == raw.replace(b'"x"', '"é"'.encode())


def test_a_new_line_has_its_keys_in_the_order_of_the_wire() -> None:
    line = new_line({"zebra": 1, "title": "x", "priority": 0, "id": "tt-9", "_type": "issue"})
    assert line.raw == b'{"_type":"issue","id":"tt-9","title":"x","priority":0,"zebra":1}\n'


def test_the_order_of_the_wire_has_every_field_once() -> None:
    assert list(EVERY_FIELD) == list(ISSUE_KEYS)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("2026-01-14T09:30:00.123456789-08:00", "2026-01-14T17:30:00+00:00"),
        ("2026-01-14T09:30:00Z", "2026-01-14T09:30:00+00:00"),
        ("2026-01-14T09:30:00.5+11:00", "2026-01-13T22:30:00+00:00"),
        ("2026-01-14T09:30:00", "2026-01-14T09:30:00+00:00"),
        ("soon", None),
        ("", None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_moments_are_compared_in_whole_seconds_of_utc(text: str, answer: str | None) -> None:
    result: Any = moment(text)
    assert (result and result.isoformat()) == answer


def test_a_record_reads_as_it_was_written() -> None:
    assert decode(encode(EVERY_FIELD)) == EVERY_FIELD
