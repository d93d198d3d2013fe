from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tinytown.errors import UsageError
from tinytown.model import ids as names

ROOT = Path(__file__).parents[2]
RANDOM = settings(deadline=None, database=None, derandomize=True)
AWFUL = [
    "",
    "a/b",
    "../up",
    ".hidden",
    "-dash",
    "_low",
    "a b",
    "a\tb",
    "a\nb",
    "a:b",
    "a*",
    "a{b}",
    "🦆",
    "é",
    "x" * 64,
    "\x00",
    "a\udce9",
]


def test_an_id_is_a_random_uuid_of_version_4() -> None:
    ids = {names.new_id() for _ in range(100)}
    assert len(ids) == 100
    for text in ids:
        assert str(uuid.UUID(text)) == text
        assert uuid.UUID(text).version == 4
        assert uuid.UUID(text).variant == uuid.RFC_4122


def test_a_short_id_is_the_beginning_of_the_id() -> None:
    assert names.short_id("4a7b4ff2-5c4b") == "4a7b"


@pytest.mark.parametrize("name", ["a", "0", "my-town", "a.b_c", "x" * 63])
def test_a_town_name_is_taken_as_it_is(name: str) -> None:
    assert names.check_town_name(name) == name


@pytest.mark.parametrize("name", ["Town", "A", *AWFUL])
def test_an_impossible_town_name_is_refused_with_one_that_works(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        names.check_town_name(name)
    suggested = re.fullmatch(r"try '(.*)'", caught.value.hint)
    assert suggested
    names.check_town_name(suggested[1])


@RANDOM
@given(st.text())
def test_any_text_has_a_town_name_near_it(text: str) -> None:
    name = names.town_name_from(text)
    assert names.check_town_name(name) == name
    assert names.town_name_from(name) == name


def test_the_town_name_of_a_directory_is_recognizable() -> None:
    assert names.town_name_from("My Project (2)") == "my-project-2"
    assert names.town_name_from("feature/JIRA-12_x") == "feature-jira-12_x"
    assert names.town_name_from("🦆") == "tinytown"


@pytest.mark.parametrize("name", ["a", "Backend-1", "a.b_c", "0", "x" * 63])
def test_an_agent_name_is_taken_as_it_is(name: str) -> None:
    assert names.check_agent_name(name) == name


@pytest.mark.parametrize("name", AWFUL)
def test_an_impossible_agent_name_is_refused_on_one_line(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        names.check_agent_name(name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert caught.value.hint


@pytest.mark.parametrize("name", ["supervisor", "Supervisor", "CONDUCTOR"])
def test_the_human_side_is_no_agent(name: str) -> None:
    with pytest.raises(UsageError, match="human side") as caught:
        names.check_agent_name(name)
    assert caught.value.hint == f"try {name}-helper"
    names.check_agent_name(f"{name}-helper")


@pytest.mark.parametrize("word", ["dev", "Ada Mason", "c++"[:1], "v1.2_3-x"])
def test_a_word_is_taken_as_it_is(word: str) -> None:
    assert names.check_word("role", word) == word


@pytest.mark.parametrize("word", ["", " a", "a:b", "a\nb", "é", "x" * 64])
def test_an_impossible_word_is_refused_by_what_it_is_for(word: str) -> None:
    with pytest.raises(UsageError, match="expected a nickname"):
        names.check_word("nickname", word)


@pytest.mark.parametrize("text", ["a" * 128, "bd-12.3", "0", "4a7b4ff2-5c4b-4b5c-89cd-66d4ae104cbf"])
def test_an_id_of_an_importer_is_taken_as_it_is(text: str) -> None:
    assert names.check_task_id(text) == names.check_id("an id", text) == text


@pytest.mark.parametrize("text", ["", "a" * 129, "a/b", "a b", "a:b", 'a"b', "-a", "a\n", "é"])
def test_an_impossible_id_is_refused_by_what_it_is_for(text: str) -> None:
    with pytest.raises(UsageError, match="expected a task id"):
        names.check_task_id(text)
    with pytest.raises(UsageError, match="expected a message id"):
        names.check_id("a message id", text)


def test_one_of_known_words_is_taken_and_others_are_answered_with_the_list() -> None:
    assert names.check_one_of("a colour", "red", ("red", "blue")) == "red"
    with pytest.raises(UsageError, match="expected a colour, got 'green'") as caught:
        names.check_one_of("a colour", "green", ("red", "blue"))
    assert caught.value.hint == "one of red, blue"


def test_bytes_of_a_command_line_that_are_no_utf_8_are_named() -> None:
    assert names.check_utf8("café") == "café"
    with pytest.raises(UsageError, match=r"x\\\\xe9"):
        names.check_utf8("x\udce9")


@pytest.mark.parametrize("text", ["x", " padded ", "line\nline\ttab\r\n", "né 🦆", "x" * 100])
def test_a_text_is_taken_as_it_is(text: str) -> None:
    assert names.check_text("a note", text, 100) == text


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
        names.check_text("a note", text, 100)


def test_only_a_text_that_is_too_long_reaches_a_limit() -> None:
    with pytest.raises(UsageError) as caught:
        names.check_text("a note", "x" * 101, 100)
    assert caught.value.code == "limit_reached"
    assert "file" in caught.value.hint


@RANDOM
@given(st.text(), st.integers(2, 100))
def test_what_is_shown_is_one_safe_line_of_bounded_length(text: str, limit: int) -> None:
    shown = names.shown(text, limit)
    assert len(shown) <= limit
    assert "\n" not in shown
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    shown.encode()


def test_control_characters_become_visible() -> None:
    assert names.escape_control("a\x1b[1m\tb\n\udce9") == "a\\x1b[1m\tb\n\\xe9"


def test_an_id_has_its_own_nicknames_the_same_every_time() -> None:
    agent_id = "4a7b4ff2-5c4b-4b5c-89cd-66d4ae104cbf"
    first = list(names.nicknames(agent_id))
    assert first == list(names.nicknames(agent_id))
    assert len(first) == 8
    assert next(names.nicknames(agent_id, 1)) == first[0]
    for nickname in first:
        assert re.fullmatch(r"[A-Z][a-z]+ [A-Z][a-z]+", names.check_word("nickname", nickname))


def test_nicknames_seldom_meet() -> None:
    favourites = [next(names.nicknames(names.new_id())) for _ in range(100)]
    assert len(set(favourites)) > 80


def test_a_number_of_things_is_told_as_people_say_it() -> None:
    assert [names.counted(each, "open task") for each in (0, 1, 2, 1_200)] == [
        "0 open tasks",
        "1 open task",
        "2 open tasks",
        "1,200 open tasks",
    ]


def test_no_sentence_of_ours_has_a_plural_behind_a_number_that_may_be_one() -> None:
    things = "agent|client|command|dead letter|event|file|host|kernel|line|message|process|round|task|town"
    plural = re.compile(rf"\}} (?:(?:open|more|new|old) )?(?:{things})(?:s|es)\b(?! or more)(?!/min)")
    several = {"tasks wait for each other", "old towns on"}  # one alone has a sentence of its own
    sources = [path for top in ("core/tinytown", "plugins") for path in (ROOT / top).rglob("*.py")]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources
        if not {"tests", "testing"} & set(path.relative_to(ROOT).parts)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if plural.search(line) and not any(words in line for words in several)
    ]
    assert not found, "\n".join(["use tinytown.model.ids.counted", *found])
