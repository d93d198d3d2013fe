"""A user's settings of Tinytown 0.10 lie in ``~/.tt``, and disturb nothing here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tinytown_testing.shell import Shell

OLD = Path(__file__).parent / "inputs" / "user-config-of-tinytown-0.10.toml"


@pytest.fixture
def person(tt: Shell) -> Shell:
    """A shell whose settings are where a person's are by default, with those of Tinytown 0.10 beside them."""
    home = tt.directory.parent / "home"
    del tt.variables["TINYTOWN_HOME"]
    tt.variables |= {"HOME": str(home), "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": ""}
    (home / ".tt").mkdir()
    shutil.copy(OLD, home / ".tt" / "config.toml")
    return tt


def test_every_command_works_beside_the_settings_of_tinytown_rust(person: Shell) -> None:
    before = (person.directory.parent / "home" / ".tt" / "config.toml").read_bytes()
    person("init", "--name", "beside")
    person("spawn", "ada", "--cli", "shell", "--no-start")
    person("assign", "ada", "true", "--no-start")
    for words in (("status",), ("list",), ("inbox",), ("config", "list"), ("towns",), ("plugins",)):
        assert "redis.host" not in person(*words).err
    person("config", "set", "--user", "default_cli", "shell")
    home = person.directory.parent / "home"
    assert (home / ".config" / "tinytown" / "config.toml").read_text() == 'default_cli = "shell"\n'
    assert (home / ".tt" / "config.toml").read_bytes() == before
    assert sorted(path.name for path in (home / ".tt").iterdir()) == ["config.toml"]
    shutil.copy(OLD, home / ".tt" / "config.toml")  # `tt init` of the other program, later
    assert person.json("config", "get", "default_cli")["value"] == "shell"


def test_doctor_says_what_it_found(person: Shell) -> None:
    person("init", "--name", "beside")
    findings = person.json("doctor", "--no-task", code=0)["findings"]
    found = [each for each in findings if each["check"] == "your settings"]
    assert [each["level"] for each in found] == ["note"]
    assert "is of Tinytown 0.10: it is not read" in found[0]["found"]
