from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from tinytown.errors import UsageError
from tinytown.model import text as text_functions

ROOT = Path(__file__).parents[2]
RANDOM = settings(deadline=None, database=None, derandomize=True)


def test_one_of_known_words_is_taken_and_others_are_answered_with_the_list() -> None:
    assert text_functions.check_one_of("a colour", "red", ("red", "blue")) == "red"
    with pytest.raises(UsageError, match="expected a colour, got 'green'") as caught:
        text_functions.check_one_of("a colour", "green", ("red", "blue"))
    assert caught.value.hint == "one of red, blue"


def test_a_fence_is_longer_than_any_in_the_text_and_a_cut_is_marked() -> None:
    assert text_functions.fenced("\na\n````\nb\n", 100) == "`````text\na\n````\nb\n`````"
    assert text_functions.fenced("abcdef", 3, "tt inbox") == (
        "```text\nabc\n```\n(cut here, after 3 of 6 characters; the rest: tt inbox)"
    )
    assert text_functions.fenced("`" * 500, 500).startswith("`" * 61 + "text\n" + "`" * 60 + "…\n")


def test_bytes_of_a_command_line_that_are_no_utf_8_are_named() -> None:
    assert text_functions.check_utf8("café") == "café"
    with pytest.raises(UsageError, match=r"x\\\\xe9"):
        text_functions.check_utf8("x\udce9")


@pytest.mark.parametrize("text", ["x", " padded ", "line\nline\ttab\r\n", "né 🦆", "x" * 100])
def test_a_text_is_taken_as_it_is(text: str) -> None:
    assert text_functions.check_text("a note", text, 100) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("x" * 101, "at most 100 bytes, got 101"),
        ("é" * 51, "at most 100 bytes, got 102"),
        ("a\x00b", r"U\+0000"),
        ("a\x1b[2J", r"U\+001B"),
        ("a\x7f", r"U\+007F"),
        ("a\x9bm", r"U\+009B"),
        ("a\u202eb", r"U\+202E"),
        ("x\udce9", "UTF-8"),
    ],
)
def test_a_text_that_is_no_text_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"expected a note.*{why}"):
        text_functions.check_text("a note", text, 100)


def test_only_a_text_that_is_too_long_reaches_a_limit() -> None:
    with pytest.raises(UsageError) as caught:
        text_functions.check_text("a note", "x" * 101, 100)
    assert caught.value.code == "limit_reached"
    assert "file" in caught.value.hint


@RANDOM
@given(st.text(), st.integers(2, 100))
def test_what_is_shown_is_one_safe_line_of_bounded_length(text: str, limit: int) -> None:
    shown = text_functions.shown(text, limit)
    assert len(shown) <= limit
    assert "\n" not in shown
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    shown.encode()


def test_control_characters_become_visible() -> None:
    assert text_functions.escape_control("a\x1b[1m\tb\n\udce9") == "a\\x1b[1m\tb\n\\xe9"


def test_a_number_of_things_is_written_as_people_say_it() -> None:
    assert [text_functions.counted(count, "open task") for count in (0, 1, 2, 1_200)] == [
        "0 open tasks",
        "1 open task",
        "2 open tasks",
        "1,200 open tasks",
    ]


def test_no_sentence_of_ours_has_a_plural_behind_a_number_that_may_be_one() -> None:
    things = "agent|client|command|dead letter|event|file|host|kernel|line|message|process|round|task|town"
    plural = re.compile(rf"\}} (?:(?:open|more|new|old) )?(?:{things})(?:s|es)\b(?! or more)(?!/min)")
    several = {
        "tasks wait for each other",
        "old towns on",
        "tasks are waiting on dependencies",
        "tasks are exported",
        "## Your {len(tasks)} tasks",
    }  # one alone has a sentence of its own
    sources = [path for top in ("core/tinytown", "plugins") for path in (ROOT / top).rglob("*.py")]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources
        if not {"tests", "testing"} & set(path.relative_to(ROOT).parts)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if plural.search(line) and not any(words in line for words in several)
    ]
    assert not found, "\n".join(["use tinytown.model.text.counted", *found])


def test_what_nobody_sees_is_shown_and_what_people_write_stays() -> None:
    hidden = "a\rb\u200b\u200e\u200f\u061c\u2060\ufeff\U000e0041\U000e0101\x85\u202e\u2066"
    shown = text_functions.escape_control(hidden)
    assert shown == r"a\rb\u200b\u200e\u200f\u061c\u2060\ufeff\U000e0041\U000e0101\x85\u202e\u2066"
    people = "two\r\nlines\tو\u200c\u200d 👩\u200d🔧 ✔\ufe0f ñ"
    assert text_functions.escape_control(people) == people
