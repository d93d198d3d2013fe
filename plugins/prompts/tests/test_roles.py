"""Roles: those that every town knows, what a town changes of them, and words that look like one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tinytown.config import Config, read_config
from tinytown.errors import ConfigError
from tinytown.kinds import start_of_agent
from tinytown.model.ids import check_word
from tinytown.model.text import check_text
from tinytown_prompts.roles import load_roles
from tinytown_testing.installed import install_distribution

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
    known = load_roles(config(translator={"purpose": "translates"}))
    assert [*known] == [*BUILT_IN, "translator"]
    assert (known["translator"].purpose, known["translator"].origin) == ("translates", "town")


def bring(site: Path, plugin: str, text: str) -> None:
    """Install a plugin that brings the roles of this file, and whose module cannot be imported."""
    install_distribution(site, f"tinytown-{plugin}", f"[tinytown.roles]\n{plugin} = {plugin}_roles:roles.toml\n")
    package = site / f"{plugin}_roles"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit\n")
    (package / "roles.toml").write_text(text)


def test_a_plugin_brings_roles_as_data_and_takes_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    bring(
        tmp_path, "brings", "[roles.poet]\npurpose = 'writes'\ntags = ['verse']\n[roles.worker]\npurpose = 'sleeps'\n"
    )
    bring(tmp_path, "later", "[roles.poet]\npurpose = 'reads'\n[roles.critic]\n")
    bring(tmp_path, "wrong", "[roles.fool]\ncolour = 'red'\n")
    bring(tmp_path, "worse", "[roles")
    known = load_roles(config(poet={"cli": "strict"}))
    assert [*known] == [*BUILT_IN, "poet", "critic"]
    assert (known["worker"].origin, known["critic"].origin) == ("built-in", "plugin")
    poet = known["poet"]
    assert (poet.purpose, poet.tags, poet.cli, poet.origin) == ("writes", ("verse",), "strict", "changed")
    assert load_roles(config())["poet"].origin == "plugin"
    assert load_roles(Config(name="t", blocked_plugins=("brings",)))["poet"].purpose == "reads"
    assert [*load_roles(Config(name="t", allowed_plugins=("none",)))] == BUILT_IN
    monkeypatch.setenv("TINYTOWN_BLOCK", "later, brings")
    assert [*load_roles(Config(name="t"))] == BUILT_IN


def test_the_defaults_of_a_role_are_what_an_agent_of_it_is_spawned_with() -> None:
    town = config(reviewer={"cli": "strict"})
    assert start_of_agent(town, "reviewer", cli=None, tags=()) == ("strict", ("review", "audit"))
    assert start_of_agent(town, "reviewer", cli="other", tags=("go",)) == ("other", ("go",))
    assert start_of_agent(town, "a free word", cli=None, tags=()) == ("plain", ())
    assert start_of_agent(town, "", cli=None, tags=()) == ("plain", ())


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
