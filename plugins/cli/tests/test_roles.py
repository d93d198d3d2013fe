from __future__ import annotations

from pathlib import Path

from tinytown_testing.installed import install_distribution
from tinytown_testing.shell import Shell


def test_roles_are_listed_and_shown_also_outside_of_a_town(tt: Shell) -> None:
    listed = tt("roles", "--json").json["roles"]
    assert [row["name"] for row in listed][:2] == ["worker", "reviewer"]
    assert "reviews finished work" in tt("roles").out
    (shown,) = tt("roles", "reviewer", "--json").json["roles"]
    assert shown in listed
    assert shown["instructions"].splitlines()[0] in tt("roles", "reviewer").out
    assert tt("roles", "revewier", "--json", code=3).error["hint"] == "did you mean reviewer?"
    assert "[roles.poet]" in tt("roles", "poet", "--json", code=3).error["hint"]


def test_roles_of_plugins_are_listed_and_what_is_wrong_with_them_is_said(tt: Shell, tmp_path: Path) -> None:
    for plugin, text in (
        ("poets", "[roles.poet]\npurpose = 'writes'\n[roles.worker]\npurpose = 'rests'\n"),
        ("fools", "[roles.fool]\ncolour = 'red'\n"),
    ):
        module = f"tinytown_{plugin}"
        install_distribution(tmp_path, f"tinytown-{plugin}", f"[tinytown.roles]\n{plugin} = {module}:{plugin}.toml\n")
        (tmp_path / f"{module}.py").touch()
        (tmp_path / f"{plugin}.toml").write_text(text)
    env = {"PYTHONPATH": str(tmp_path)}
    listed = tt("roles", "--json", env=env)
    assert [role["name"] for role in listed.json["roles"] if role["origin"] == "plugin"] == ["poet"]
    problems = tt("plugins", "--json", env=env).json["problems"]
    for text in ("its role 'worker' is not used", "plugin 'fools' (tinytown-fools): its roles cannot be read"):
        assert text in listed.err
        assert any(text in problem for problem in problems)
    assert "unknown key at roles.fool.colour" in listed.err


def test_a_role_sets_kind_and_tags_of_an_agent_unless_they_are_given(tt: Shell) -> None:
    tt("init", "--name", "roles")
    settings = tt.directory / "tinytown.toml"
    settings.write_text(settings.read_text() + '\n[roles.reviewer]\ncli = "echo"\n\n[roles.poet]\ntags = ["verse"]\n')
    rita = tt("spawn", "rita", "--role", "reviewer", "--json")
    assert (rita.json["cli"], rita.json["tags"], rita.json["role"]) == ("echo", ["review", "audit"], "reviewer")
    paul = tt("spawn", "paul", "--role", "poet", "--cli", "shell", "--tags", "prose", "--json").json
    assert (paul["cli"], paul["tags"]) == ("shell", ["prose"])
    assert [role["origin"] for role in tt("roles", "--json").json["roles"]].count("built-in") == 7
    assert tt("config", "set", "roles.poet.cli", "echo", "--json").json["value"] == "echo"
    assert tt("roles", "poet", "--json").json["roles"][0]["cli"] == "echo"


def test_a_role_is_not_derived_from_the_name(in_town: Shell) -> None:
    assert in_town("spawn", "build-reviewer", "--json").json["role"] is None


def test_a_misspelt_role_is_accepted_with_a_warning(in_town: Shell) -> None:
    remark = "note: no role is called 'revewier', so it is only a label; did you mean reviewer?"
    result = in_town("spawn", "typo", "--role", "revewier", "--json")
    assert (result.json["role"], result.err.splitlines()[0]) == ("revewier", remark)
    assert in_town("backlog", "add", "read it", "--role", "revewier").err.splitlines() == [remark]
    assert remark in in_town("assign", "typo", "read it", "--role", "revewier").err.splitlines()
    assert "note:" not in in_town("spawn", "writer", "--role", "novelist").err
