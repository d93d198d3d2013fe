"""``tt conductor``: the context of a coding CLI, and how it is started. Fake CLIs on the PATH, a real terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from tinytown_ops.coding_clis import CODING_CLIS, CONTEXT_FILE, installed_versions
from tinytown_testing.shell import COMMAND_TIMEOUT_S, Shell

#: Says how it was started and what the context holds, reads a line from the terminal, and ends with a code of its own.
FAKE = """#!/bin/sh
test -t 0 && test -t 1 && echo on a terminal
printf '<%s>' "$@"; echo
pwd
echo "agent=${TINYTOWN_AGENT_NAME-none} town=$TINYTOWN_TOWN"
head -1 "$TINYTOWN_CONTEXT_FILE"
command -v tt > /dev/null && echo tt is here
read answer
echo "you said $answer"
exit 7
"""


@pytest.fixture
def fakes(in_town: Shell, tmp_path: Path) -> Mapping[str, str]:
    """An environment in which claude and codex are installed and no other coding CLI."""
    for name in ("claude", "codex", "my-cli"):
        (tmp_path / name).write_text(FAKE)
        (tmp_path / name).chmod(0o755)
    return {"PATH": f"{tmp_path}:/usr/bin:/bin"}


def on_terminal(tt: Shell, *words: str, env: Mapping[str, str], typed: str = "") -> tuple[str, int]:
    """What a command says on a terminal on which somebody types, and how it ends."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        tt.argv(*words), cwd=tt.directory, env={**tt.variables, **env}, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    os.write(master, f"{typed}\n".encode())
    output, deadline = b"", time.monotonic() + COMMAND_TIMEOUT_S / 2
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.1)[0]:
            try:
                chunk = os.read(master, 65536)
            except OSError:
                break
            if not chunk:
                break
            output += chunk
    os.close(master)
    return output.decode().replace("\r\n", "\n"), process.wait(COMMAND_TIMEOUT_S)


def test_the_cli_gets_the_terminal_and_the_context_of_the_town(in_town: Shell, fakes: Mapping[str, str]) -> None:
    inherited = {**fakes, "TINYTOWN_ROUND_ID": "", "TINYTOWN_AGENT_NAME": ""}
    output, code = on_terminal(in_town, "conductor", env=inherited, typed="hello")
    assert code == 7
    assert "on a terminal" in output
    assert f"<--append-system-prompt-file><{in_town.state()}/conductor.md>" in output
    assert f"\n{in_town.directory}\n" in output
    assert f"agent=none town={in_town.directory}" in output
    assert "# You are the conductor of the town shared" in output
    assert "tt is here" in output
    assert "you said hello" in output
    assert (in_town.state() / "conductor.md").stat().st_mode & 0o777 == 0o600
    assert list(in_town.state().glob("conductor-*")) == []


def test_a_cli_without_a_file_option_gets_the_path_in_its_prompt(in_town: Shell, fakes: Mapping[str, str]) -> None:
    output, _ = on_terminal(in_town, "conductor", "--cli", "codex", env=fakes)
    assert f"Read {in_town.state()}/conductor.md first" in output
    output, _ = on_terminal(in_town, "conductor", "--cli", "codex", "--resume", env=fakes)
    assert "<resume><--last>" in output


def test_the_configured_cli_is_started(in_town: Shell, fakes: Mapping[str, str]) -> None:
    in_town("config", "set", "plugins.ops.conductor_cli", "my-cli --read {context_file} 'two words'")
    try:
        output, code = on_terminal(in_town, "conductor", env=fakes)
        assert code == 7
        assert f"<--read><{in_town.state()}/conductor.md><two words>" in output
    finally:
        in_town("config", "unset", "plugins.ops")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--cli", "gemini"), "gemini is not on the PATH; npm install -g @google/gemini-cli"),
        (("--cli", "clod"), "no coding CLI called 'clod'; known: claude, codex"),
        (("--cli", "../../bin/sh"), "no coding CLI called"),
        (("--cli", "rm -rf {context_file}"), "no coding CLI called"),
    ],
)
def test_a_missing_cli_is_named_with_how_to_install_it(
    in_town: Shell, fakes: Mapping[str, str], words: tuple[str, ...], message: str
) -> None:
    assert message in in_town("conductor", *words, env=fakes, code=3).err


def test_without_any_cli_one_is_proposed(in_town: Shell) -> None:
    assert "for example: npm install" in in_town("conductor", env={"PATH": "/usr/bin:/bin"}, code=3).err


def test_without_a_terminal_nothing_is_started(in_town: Shell, fakes: Mapping[str, str]) -> None:
    assert "expected a terminal" in in_town("conductor", env=fakes, code=2).err


def test_an_agent_cannot_start_the_conductor(in_town: Shell, fakes: Mapping[str, str]) -> None:
    agent = in_town("spawn", "sneaky", "--json").json["id"]
    env = {**fakes, "TINYTOWN_TOWN": str(in_town.directory), "TINYTOWN_AGENT_ID": agent, "TINYTOWN_ROUND_ID": "r"}
    assert "cannot conduct the town" in in_town("conductor", env=env, code=4).err


def test_the_context_describes_a_new_town_and_a_busy_one(tt: Shell) -> None:
    tt("init", "--name", "fresh")
    fresh = tt("conductor", "--print").out
    assert "The town is empty" in fresh
    assert "shell" in fresh
    assert "- reviewer:" in fresh
    tt("spawn", "ada", "--role", "builder")
    tt("assign", "ada", "build the wall")
    tt("backlog", "add", "paint it", "--role", "painter")
    tt("send", "supervisor", "which colour?", "--query")
    going = tt("conductor", "--print", "--json").json["context"]
    assert "- ada (builder, shell): starting, waiting for a kernel; 1 message, 1 open task" in going
    assert "[assigned, ada] build the wall" in going
    assert "[pending] paint it" in going
    assert "- mail for you: 1 (`tt inbox`)" in going
    assert "The town has work in progress" in going
    assert not (tt.state() / "conductor.md").exists()


def test_every_known_cli_gets_the_context_file_in_a_new_session() -> None:
    for cli in CODING_CLIS:
        assert any(CONTEXT_FILE in word for word in cli.start), cli.name
        assert cli.start[0] == cli.resume[0] == cli.program
        assert max(map(len, cli.start)) < 200


def test_versions_are_read_concurrently_with_a_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = {
        "claude": "echo; echo '2.1.197 (Claude Code)'",
        "codex": "exit 3",
        "gemini": "sleep 600 & sleep 600",
        "aider": "printf '\\033[2Jaider 0.86\\n'",
    }
    for name, script in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    began = time.monotonic()
    versions = {installed.cli.name: installed.version for installed in installed_versions(CODING_CLIS)}
    assert time.monotonic() - began < 20
    assert versions == {
        "claude": "2.1.197 (Claude Code)",
        "codex": "--version exited with 3",
        "gemini": "did not report its version within 5 s",
        "aider": "\\x1b[2Jaider 0.86",
    }
