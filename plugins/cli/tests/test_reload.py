"""A running kernel takes up what was installed and set since it started, in the same process; until then commands say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tinytown_testing.shell import Shell

SETTINGS = "tinytown.toml"
NEW_KIND = '\n[agent_clis.mine]\ncommand = "cat"\n'


@pytest.fixture
def running(tt: Shell) -> Iterator[Shell]:
    """A shell in a town of its own with a kernel."""
    tt("init")
    tt("start", "--background")
    yield tt
    tt("stop", "--timeout", "5")


def add(tt: Shell, text: str) -> None:
    with Path(tt.directory, SETTINGS).open("a") as file:
        file.write(text)


def kernel_findings(tt: Shell) -> list[str]:
    findings = tt.json("doctor", "--no-task")["findings"]
    return [finding["found"] for finding in findings if finding["check"] == "kernel" and finding["level"] == "note"]


def test_a_new_kind_is_there_after_a_reload_and_before_it_commands_say_what_to_type(running: Shell) -> None:
    assert kernel_findings(running) == []
    add(running, NEW_KIND)
    spawned = running("spawn", "ada", "--cli", "mine", "--json").json
    assert spawned["warnings"] == ["the kernel started before the kind mine existed here: tt reload"]
    task = running("assign", "ada", "hello", "--json").json["task_id"]
    reasons = str(running.json("task", "why", task))
    assert (
        "the kernel started before the kind mine existed: tinytown.toml or a trusted file was changed since then"
        in reasons
    )
    assert "tt reload" in reasons
    assert kernel_findings(running) == ["tinytown.toml or a trusted file was changed since it started"]
    assert "mine" in running.json("reload")["kinds"]
    running("wait", "--task", task, "--timeout", "30")
    assert running.json("task", "show", task)["state"] == "completed"
    assert kernel_findings(running) == []


def test_wrong_settings_leave_the_kernel_as_it_is(running: Shell) -> None:
    before = running.json("hosts")["hosts"]
    add(running, "\nnonsense = 1\n")
    assert running("reload", "--json", code=2).error["code"] == "config"
    settings = Path(running.directory, SETTINGS)
    settings.write_text(settings.read_text().replace("\nnonsense = 1\n", ""))
    after = running.json("hosts")["hosts"]
    assert [host["id"] for host in after] == [host["id"] for host in before]


def test_without_a_kernel_there_is_nothing_to_reload(tt: Shell) -> None:
    tt("init")
    error = tt("reload", "--json", code=3).error
    assert error["hint"] == "tt start --background"


def test_the_process_stays_and_its_next_host_is_another(running: Shell) -> None:
    (before,) = running.json("hosts")["hosts"]
    for _ in range(2):
        assert running.json("reload")["pid"] == before["pid"]
    (after,) = running.json("hosts")["hosts"]
    assert after["pid"] == before["pid"]
    assert after["id"] != before["id"]


def test_a_file_of_the_project_is_a_plugin_once_it_is_trusted_and_as_it_was_then(running: Shell) -> None:
    path = Path(running.directory, "plugins", "rules.py")
    path.parent.mkdir()
    path.write_text(
        "from tinytown.hookspecs import hookimpl\nTINYTOWN_HOOK_API = 2\n\n"
        "@hookimpl\ndef tinytown_prompt_sections(agent):\n    return ['## Our rules']\n"
    )
    running("spawn", "ada", "--cli", "echo")
    assert "## Our rules" not in running("prompt", "ada").out
    assert running.json("plugins", "--trust", "plugins/rules.py")["trusted"]
    assert "## Our rules" in running("prompt", "ada").out
    assert kernel_findings(running) == ["tinytown.toml or a trusted file was changed since it started"]
    path.write_text(path.read_text() + "# changed\n")
    (plugin,) = [plugin for plugin in running.json("plugins")["plugins"] if plugin["name"] == "rules"]
    assert (plugin["status"], plugin["reason"]) == ("refused", "plugins/rules.py was changed since it was trusted")
    assert running("plugins", "--trust", "tinytown.toml", "--json", code=2).error["code"] == "usage"
    assert not running.json("plugins", "--distrust", "plugins/rules.py")["trusted"]
