from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given, settings, strategies as st
from tinytown.errors import UsageError
from tinytown.model import ids as names

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
