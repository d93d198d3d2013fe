"""Roles: those that every town knows, what a town changes of them, and words that look like one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tinytown.config import Config, read_config
from tinytown.errors import ConfigError
from tinytown.model.ids import check_word
from tinytown.model.text import check_text
from tinytown.roles import doubt_role, load_roles, start_of_agent

BUILT_IN = ["worker", "reviewer", "researcher", "architect", "tester", "devops", "security", "docs"]
FILE = Path("/town/tinytown.toml")


def config(**roles: object) -> Config:
    return read_config({"name": "t", "default_cli": "plain", "roles": roles}, FILE)


def test_every_town_knows_eight_roles_and_each_says_what_it_is_for_and_how_to_act() -> None:
    roles = load_roles(Config(name="t"))
    assert [*roles] == BUILT_IN
    for name, role in roles.items():
        assert (role.name, role.origin, role.cli) == (name, "built-in", None)
        assert check_text("a purpose", role.purpose, 100).count("\n") == 0
        assert len(check_text("instructions", role.instructions, 2_000)) > 250
        assert [check_word("tag", tag) for tag in role.tags] == [*role.tags]


def test_no_two_built_in_roles_share_a_tag_or_are_called_like_one() -> None:
    words = [word for role in load_roles(Config(name="t")).values() for word in (role.name, *role.tags)]
    assert len(words) == len(set(words))


def test_a_table_changes_the_keys_that_it_holds_and_keeps_the_others() -> None:
    before = load_roles(Config(name="t"))["reviewer"]
    changed = load_roles(config(reviewer={"cli": "strict", "tags": []}))["reviewer"]
    assert (changed.cli, changed.tags, changed.origin) == ("strict", (), "changed")
    assert (changed.purpose, changed.instructions) == (before.purpose, before.instructions)


def test_a_town_adds_roles_of_its_own_behind_the_others() -> None:
    roles = load_roles(config(translator={"purpose": "translates"}))
    assert [*roles] == [*BUILT_IN, "translator"]
    assert (roles["translator"].purpose, roles["translator"].origin) == ("translates", "town")


def test_an_agent_gets_what_was_asked_for_then_what_its_role_says_then_what_the_town_says() -> None:
    town = config(reviewer={"cli": "strict"})
    assert start_of_agent(town, "reviewer", cli=None, tags=()) == ("strict", ("review", "audit"))
    assert start_of_agent(town, "reviewer", cli="other", tags=("go",)) == ("other", ("go",))
    assert start_of_agent(town, "a free word", cli=None, tags=()) == ("plain", ())
    assert start_of_agent(town, "", cli=None, tags=()) == ("plain", ())


@pytest.mark.parametrize("word", ["revewier", "Reviewer", "testr", "tester ", "translatr"])
def test_a_word_that_looks_like_a_misspelt_role_is_doubted(word: str) -> None:
    assert "do you mean '" in doubt_role(config(translator={}), word)


@pytest.mark.parametrize("word", ["", "reviewer", "translator", "programmer", "word counter"])
def test_a_role_or_a_word_of_ones_own_is_not_doubted(word: str) -> None:
    assert doubt_role(config(translator={}), word) == ""


@pytest.mark.parametrize(
    ("role", "key"),
    [
        ({"colour": "red"}, "roles.rev.colour"),
        ({"tags": "review"}, "roles.rev.tags"),
        ({"tags": ["a/b"]}, "roles.rev"),
        ({"cli": "../sh"}, "roles.rev"),
        ({"purpose": 3}, "roles.rev.purpose"),
        ({"instructions": "bell\a"}, "roles.rev"),
        ({"instructions": "long " * 5000}, "roles.rev"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_file_and_the_key(role: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(first={"purpose": "is well"}, rev=role)
    assert caught.value.fields["key"] == key
    assert str(FILE) in caught.value.message
    assert key in caught.value.message


def test_a_role_may_not_be_called_anything() -> None:
    with pytest.raises(ConfigError, match="expected a role of 1 to 63"):
        config(**{"a\nb": {}})
