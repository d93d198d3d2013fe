"""Permissions that nothing on a machine enforces are said before an agent fails to start with them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tinytown_testing.shell import Shell

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a sandbox is part of macOS")

#: A PATH without bubblewrap.
BARE = {"PATH": str(Path(sys.executable).parent)}


def test_spawn_config_and_doctor_say_which_permissions_nothing_enforces(tt: Shell) -> None:
    tt("init")
    warning = tt("config", "set", "permissions", "write", env=BARE).err
    assert "agents of the kind shell will not start" in warning
    assert "apt-get install bubblewrap" in warning
    assert (
        'nothing on this machine enforces permissions = "write"' in tt("spawn", "ada", "--cli", "shell", env=BARE).err
    )
    findings = tt("doctor", "--no-task", "--json", env=BARE, code=1).json["findings"]
    (found,) = [each for each in findings if each["check"] == "permissions" and each["found"].startswith("shell:")]
    assert found["level"] == "problem"
    assert "bubblewrap" in found["found"]
    assert 'permissions = "full"' in found["fix"]


def test_what_is_unconfined_needs_nothing(tt: Shell) -> None:
    tt("init")
    assert "will not start" not in tt("config", "set", "permissions", "full", env=BARE).err
    assert "enforces" not in tt("spawn", "ada", "--cli", "shell", env=BARE).err
    findings = tt("doctor", "--no-task", "--json", env=BARE).json["findings"]
    assert [each for each in findings if each["check"] == "permissions"] == []
