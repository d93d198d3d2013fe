"""``tt config``: what is in force and who says so; changes are checked, written all at once, and keep what people wrote."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tinytown.errors import UsageError
from tinytown_ops.settings.keys import key_text, parse_key, read_value, redact_value
from tinytown_testing.shell import Shell

TOWN = """\
# Our settings.
name = "shop"      # as on the sign

[redis]
durability = "safe"  # we had a flood

# Rounds are short here.
[round]
timeout_s = 60

[agent_clis.lint]
command = ["ruff", "check"]
env = { API_KEY = "geheim", LEVEL = "3" }
"""


@pytest.fixture
def town(tt: Shell) -> Shell:
    """A directory with settings; no server runs, and no command about settings needs one."""
    settings_file(tt).write_text(TOWN)
    user_file(tt).unlink()
    return tt


def settings_file(tt: Shell) -> Path:
    return tt.directory / "tinytown.toml"


def user_file(tt: Shell) -> Path:
    return Path(tt.variables["TINYTOWN_HOME"]) / "config.toml"


def get(tt: Shell, key: str, *words: str, **variables: str) -> tuple[Any, str]:
    answer = tt("config", "get", key, *words, "--json", env=variables).json
    return answer["value"], answer["source"]


def settings(tt: Shell, *words: str) -> dict[str, tuple[Any, str]]:
    listed = tt("config", "list", *words, "--json").json["settings"]
    return {row["key"]: (row["value"], row["source"]) for row in listed}


def test_a_setting_is_shown_with_its_source(town: Shell) -> None:
    assert get(town, "round.timeout_s") == (60.0, "town")
    assert get(town, "round.notes") == (20, "default")
    assert get(town, "redis.durability") == ("safe", "town")
    assert get(town, "redis.url") == (None, "default")
    assert get(town, "redis.url", REDIS_URL="redis://:geheim@h/1") == ("redis://:****@h:6379/1", "environment")
    assert get(town, "agent_clis.lint.command") == (["ruff", "check"], "town")
    assert get(town, "round")[0]["timeout_s"] == 60.0
    assert town("config", "get", "round.timeout_s").out == "60.0\n"
    assert town("config", "get", "auto_claim").out == "true\n"
    assert 'agent_clis.lint.command = ["ruff", "check"]' in town("config", "get", "agent_clis").out


def test_the_users_file_applies_where_the_town_sets_nothing(town: Shell) -> None:
    user_file(town).write_text(
        'default_cli = "mine"\n[redis]\nurl = "redis://u:geheim@h"\n[agent_clis.lint]\ncommand = "x"\n'
        '[agent_clis.fmt]\ncommand = "y"\n[plugins.journal]\npath = "j"\nkeep = 3\n'
    )
    settings_file(town).write_text(TOWN + '\n[plugins.journal]\npath = "here"\n')
    in_force = settings(town)
    assert in_force["default_cli"] == ("mine", "user")
    assert in_force["redis.url"] == (None, "default"), "a table [redis] of the town's is taken whole"
    assert in_force["agent_clis.fmt.command"] == ("y", "user")
    assert in_force["agent_clis.fmt.prompt"] == ("stdin", "default")
    assert in_force["agent_clis.lint.command"] == (["ruff", "check"], "town")
    assert in_force["agent_clis.lint.timeout_s"] == (0.0, "default")
    assert in_force["plugins.journal.path"] == ("here", "town")
    assert in_force["plugins.journal.keep"] == (3, "user")
    mine = settings(town, "--user")
    assert set(mine) == {
        "default_cli",
        "redis.url",
        "agent_clis.lint.command",
        "agent_clis.fmt.command",
        "plugins.journal.path",
        "plugins.journal.keep",
    }
    assert mine["redis.url"] == ("redis://u:****@h:6379/0", "user")
    town("config", "unset", "redis")
    assert get(town, "redis.url") == ("redis://u:****@h:6379/0", "user")


def test_no_secret_is_shown(town: Shell) -> None:
    user_file(town).write_text('[redis]\nurl = "redis://u:geheim@h"\n')
    settings_file(town).write_text(TOWN.replace("[redis]\n", '[redis]\nurl = "redis://:geheim@x"\n'))
    for words in (
        ["list"],
        ["list", "--user"],
        ["get", "redis"],
        ["get", "redis.url"],
        ["get", "agent_clis"],
        ["set", "--user", "redis.url", "redis://:geheim@y"],
        ["set", "agent_clis.lint.env.API_KEY", "geheim2"],
    ):
        for json in ([], ["--json"]):
            answer = town("config", *words, *json)
            assert "geheim" not in answer.out + answer.err
            assert "****" in answer.out
    assert get(town, "agent_clis.lint.env.LEVEL")[0] == "3"


def test_only_the_line_of_the_setting_changes(town: Shell) -> None:
    answer = town("config", "set", "round.timeout_s", "1800", "--json").json
    assert answer == {
        "key": "round.timeout_s",
        "value": 1800,
        "level": "town",
        "file": str(settings_file(town)),
        "changed": True,
    }
    town("config", "set", "redis.url", "redis://h/1")
    town("config", "set", "default_cli", "shell")
    town("config", "set", "blocked_plugins", "a, b")
    assert settings_file(town).read_text() == TOWN.replace("60", "1800").replace(
        "flood\n", 'flood\nurl = "redis://h/1"\n'
    ).replace("sign\n", 'sign\ndefault_cli = "shell"\nblocked_plugins = ["a", "b"]\n')
    assert not town("config", "set", "default_cli", "shell", "--json").json["changed"]
    for key in ("round.timeout_s", "redis.url", "default_cli", "blocked_plugins"):
        town("config", "unset", key)
    assert settings_file(town).read_text() == TOWN.replace("[round]\ntimeout_s = 60\n\n", "")


@pytest.mark.parametrize(
    ("key", "typed", "value"),
    [
        ("round.timeout_s", "30", 30),
        ("round.timeout_s", "0.5", 0.5),
        ("auto_claim", "false", False),
        ("round.completion", "explicit", "explicit"),
        ("default_cli", "echo", "echo"),
        ("host.labels", "5", ["5"]),
        ("blocked_plugins", "", []),
        ("blocked_plugins", "a", ["a"]),
        ("blocked_plugins", "['a', \"b\"]", ["a", "b"]),
        ("agent_clis.x.command", "ruff check .", "ruff check ."),
        (
            "agent_clis.x.command",
            "['ruff', 'check .']",
            [
                "ruff",
                "check .",
            ],
        ),
        ('agent_clis."my.tool".command', "x 'y z'", "x 'y z'"),
        ("agent_clis.x", "{command = 'y', timeout_s = 3}", {"command": "y", "timeout_s": 3}),
        ("agent_clis.lint.env.LEVEL", "4", "4"),
        ("agent_clis.lint.workdir", "söme where", "söme where"),
        ("plugins.journal.path", "x.jsonl", "x.jsonl"),
        ("plugins.journal.keep", "3", 3),
    ],
)
def test_a_value_is_parsed_as_the_type_of_its_setting(town: Shell, key: str, typed: str, value: Any) -> None:
    assert town("config", "set", key, typed, "--json").json["value"] == value
    table: Any = tomllib.loads(settings_file(town).read_text())
    for part in parse_key(key):
        table = table[part]
    assert table == value


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("nope", "1", "unknown key 'nope'"),
        ("redis.ulr", "x", "unknown key 'redis.ulr'"),
        ("name.x", "x", "unknown key 'name.x'"),
        ("round.timeout_s", "soon", "expected a number for round.timeout_s"),
        ("round.timeout_s", "-1", "Expected `float` >= 0.0 at round.timeout_s"),
        ("round.notes", "1.5", "expected a whole number"),
        ("auto_claim", "yes", "expected true or false"),
        ("round.completion", "maybe", "expected auto or explicit"),
        ("limits.events", "0", "Expected `int` >= 1 at limits.events"),
        ("lease_s", "1e9", "Expected `float` <= 3600.0 at lease_s"),
        ("max_agents", "99999999999999999999999999", "max_agents"),
        ("redis", "fast", "expected a table"),
        ("agent_clis.x.timeout_s", "3", "`command`"),
        ("agent_clis.x.command", " ", "expected a command"),
        ("agent_clis.a/b.command", "x", "expected a key"),
        ('agent_clis."a/b".command', "x", "expected an agent name"),
        ("plugins.journal.pth", "x", "unknown key"),
        ("plugins.nowhere.x", "1", "not installed"),
        ("redis.url", "redis://:geheim@h", "must not be in the town's file"),
        ("redis", "{url = 'redis://:geheim@h'}", "must not be in the town's file"),
        ("redis.url", "http://geheim@h", "cannot read the server's URL"),
        ("name", "Not A Name", "expected a town name"),
        ("a = 1\nb", "1", "expected a key"),
        ("a=1", "1", "expected a key"),
        ("", "1", "expected a key"),
        (".", "1", "expected a key"),
        ("redis..url", "1", "expected a key"),
        ("x" * 5000, "1", "unknown key"),
        ("\x1b[31m", "1", "expected a key"),
    ],
)
def test_an_invalid_value_is_refused_before_it_is_written(town: Shell, key: str, value: str, words: str) -> None:
    answer = town("config", "set", "--", key, value, code=2)
    assert words in answer.err
    assert answer.err.count("\n") == 1
    assert len(answer.err) < 6000
    assert "geheim" not in answer.err
    assert "\x1b" not in answer.err
    assert settings_file(town).read_text() == TOWN


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("default_cli", "shel"),
        ("roles.tester.cli", "shel"),
        ("rates.shel", "{input_usd_per_mtok = 1, output_usd_per_mtok = 1}"),
    ],
)
def test_a_kind_of_agents_that_is_not_there_is_refused_with_the_one_that_was_meant(
    town: Shell, key: str, value: str
) -> None:
    answer = town("config", "set", key, value, code=3)
    assert "unknown kind of agent 'shel'" in answer.err
    assert "did you mean shell?" in answer.err
    assert settings_file(town).read_text() == TOWN


def test_a_misspelt_key_is_refused_with_the_one_that_was_meant(town: Shell) -> None:
    assert "did you mean lease_s" in town("config", "set", "leas_s", "3", code=2).err
    assert "did you mean timeout_s" in town("config", "get", "round.timeuot_s", code=2).err


def test_the_name_of_the_town_cannot_be_changed(town: Shell) -> None:
    assert "selects the town's data" in town("config", "set", "name", "other", code=4).err
    town("config", "unset", "name", code=2)
    assert settings_file(town).read_text() == TOWN


def test_bytes_that_are_not_utf_8_are_refused(town: Shell) -> None:
    town("config", "set", "default_cli", b"\xff", code=2)
    town("config", "set", b"\xff", "x", code=2)
    town("config", "get", b"\xff", code=2)
    assert settings_file(town).read_text() == TOWN


def test_an_unset_key_is_not_found(town: Shell) -> None:
    assert "agent_clis.nobody is not set" in town("config", "get", "agent_clis.nobody", code=3).err
    town("config", "unset", "round.notes", code=3)
    town("config", "unset", "nope", code=3)
    town("config", "get", "nope", code=2)
    town("config", "get", "nope", "--user", code=2)


def test_the_users_file_is_created_private(town: Shell) -> None:
    home = Path(town.variables["TINYTOWN_HOME"])
    home.rmdir()
    town("config", "set", "--user", "redis.url", "redis://:geheim@h")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE(user_file(town).stat().st_mode) == 0o600
    user_file(town).chmod(0o644)
    town("config", "set", "--user", "default_cli", "shell")
    assert stat.S_IMODE(user_file(town).stat().st_mode) == 0o600
    assert tomllib.loads(user_file(town).read_text()) == {
        "default_cli": "shell",
        "redis": {"url": "redis://:geheim@h"},
    }
    assert "unknown key 'round.notes'" in town("config", "set", "--user", "round.notes", "3", code=2).err
    assert settings_file(town).read_text() == TOWN


def test_user_settings_need_no_town(tt: Shell) -> None:
    user_file(tt).unlink()
    assert settings(tt, "--user") == {}
    tt("config", "set", "--user", "default_cli", "shell")
    assert get(tt, "default_cli", "--user") == ("shell", "user")
    tt("config", "unset", "--user", "default_cli")
    assert user_file(tt).read_text() == ""
    tt("config", "list", code=3)
    tt("config", "get", "default_cli", code=3)


def test_a_change_without_effect_reports_what_overrides_it(town: Shell) -> None:
    answer = town("config", "set", "redis.url", "redis://h", env={"REDIS_URL": "redis://other"})
    assert "the environment setting takes precedence" in answer.err
    town("config", "set", "default_cli", "shell")
    assert "the town setting takes precedence" in town("config", "set", "--user", "default_cli", "echo").err
    town("config", "unset", "redis.url")
    tt = town
    tt("init", "--inside", cwd=_made(tt.directory / "real"))
    tt("start", "--background", cwd=tt.directory / "real")
    assert "apply it" in tt("config", "set", "drain_s", "5", cwd=tt.directory / "real").err
    tt("stop", cwd=tt.directory / "real")


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def test_an_invalid_file_is_not_written(town: Shell) -> None:
    for text in (b"name = ", b"\xff\xfe", b"[[[["):
        settings_file(town).write_bytes(text)
        town("config", "set", "default_cli", "shell", code=2)
        town("config", "list", code=2)
        assert settings_file(town).read_bytes() == text
    settings_file(town).write_text('name = "x"\nnonsense = 1\n')
    town("config", "set", "default_cli", "shell", code=2)
    town("config", "unset", "nonsense")
    assert settings_file(town).read_text() == 'name = "x"\n', "a file may be mended with this command"


def test_links_and_modes_are_kept(town: Shell) -> None:
    real = town.directory / "real.toml"
    settings_file(town).rename(real)
    real.chmod(0o640)
    settings_file(town).symlink_to("real.toml")
    town("config", "set", "lease_s", "5")
    assert settings_file(town).is_symlink()
    assert "lease_s = 5" in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert sorted(os.listdir(town.directory)) == ["real.toml", "tinytown.toml"]


@pytest.mark.parametrize("text", ["a", "a.b", '"a.b".c', "'x y'.z", '"\\"".a'])
def test_a_key_is_read_as_it_is_written(text: str) -> None:
    key = parse_key(text)
    assert parse_key(key_text(key)) == key


@pytest.mark.parametrize("text", ["a.b = 1 #", "a\n[b]", "a.", "a b", "{}", "[a]", "é"])
def test_an_invalid_key_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_key(text)


def test_secrets_are_hidden_by_their_names_and_in_urls() -> None:
    assert redact_value(("plugins", "x", "password"), "geheim") == "****"
    assert redact_value(("plugins", "x"), {"hooks": ["https://me:geheim@h/x"], "n": 3}) == {
        "hooks": ["https://me:****@h/x"],
        "n": 3,
    }
    assert redact_value(("plugins", "x", "tokens_at_once"), 3) == 3
    assert redact_value(("redis", "url"), "redis://h") == "redis://h"


def test_an_integer_is_not_accepted_as_a_string() -> None:
    assert read_value("3", ("x",), int) == 3
    assert read_value("3", ("x",), str) == "3"
    with pytest.raises(UsageError):
        read_value("3; rm -rf", ("x",), int)
