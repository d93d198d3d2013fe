"""The kind and the tags of a new agent: those that are named, else its role's, else the town's."""

from __future__ import annotations

from pathlib import Path

import pytest
from tinytown import kinds as kinds_module
from tinytown.config import Config
from tinytown.entry_points import IndexedEntryPoint
from tinytown.errors import UsageError
from tinytown.kinds import ROLE_DEFAULTS_GROUP, choose_kind, start_of_agent
from tinytown_testing.installed import install_distribution

TOWN = Config(name="t", default_cli="plain")


def test_a_role_is_a_label_where_no_plugin_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds_module, "installed", lambda group: ())
    assert start_of_agent(TOWN, "reviewer", cli=None, tags=()) == ("plain", ())
    assert start_of_agent(TOWN, "reviewer", cli="other", tags=["go"]) == ("other", ("go",))


def test_what_is_named_comes_before_what_a_plugin_says_of_the_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install_distribution(tmp_path, "tinytown-poets", f"[{ROLE_DEFAULTS_GROUP}]\npoets = poets:defaults\n")
    (tmp_path / "poets.py").write_text(
        "def defaults(config, role):\n    return (config.name, ('verse',)) if role == 'poet' else (None, ())\n"
    )
    assert start_of_agent(TOWN, "poet", cli=None, tags=()) == ("t", ("verse",))
    assert start_of_agent(TOWN, "poet", cli="other", tags=["go"]) == ("other", ("go",))
    assert start_of_agent(TOWN, "a free word", cli=None, tags=()) == ("plain", ())


def without_default(monkeypatch: pytest.MonkeyPatch, *distributions: str) -> Config:
    """A town that has no default kind, on a machine with these distributions."""
    entries = tuple(IndexedEntryPoint("x", "x", name, "1") for name in distributions)
    monkeypatch.setattr(kinds_module, "installed", lambda group: entries)
    return Config(name="t")


@pytest.mark.parametrize(("kinds", "chosen"), [(["own"], "own"), (["own", "shell"], "shell"), (["shell"], "shell")])
def test_without_a_default_the_only_kind_or_the_standard_one_is_chosen(
    monkeypatch: pytest.MonkeyPatch, kinds: list[str], chosen: str
) -> None:
    assert choose_kind(without_default(monkeypatch), kinds) == chosen


def test_where_no_kind_is_known_the_standard_one_is_chosen_if_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_kind(without_default(monkeypatch, "tinytown-shell"), ()) == "shell"
    with pytest.raises(UsageError, match="available kinds: none") as caught:
        choose_kind(without_default(monkeypatch, "tinytown-other"), ())
    assert caught.value.hint == "pip install tinytown-shell"


def test_without_a_default_several_kinds_are_an_error_that_lists_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="available kinds: mine, yours") as caught:
        choose_kind(without_default(monkeypatch, "tinytown-shell"), {"yours", "mine"})
    assert (caught.value.code, caught.value.fields["kinds"]) == ("no_default_kind", ["mine", "yours"])
