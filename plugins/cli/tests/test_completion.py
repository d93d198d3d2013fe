"""Completion as a shell sees it: words of the line in, candidates out; and real shells, of which bash is always there."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tinytown_server.server import EmbeddedServer
from tinytown_testing.installed import install_plugin
from tinytown_testing.shell import COMMAND_TIMEOUT_S, Shell, open_shell

SCRIPTS = str(Path(sys.executable).parent)


@pytest.fixture(scope="module")
def town() -> Iterator[Shell]:
    with open_shell() as tt:
        tt("init", "--name", "words")
        tt("start", "--background")
        tt("spawn", "ada", "--cli", "echo", "--tags", "stone,iron")
        tt("spawn", "albert", "--cli", "shell")
        tt("assign", "ada", "say it")
        tt("wait", "ada")
        yield tt


def completed(tt: Shell, line: str, shell: str = "bash", **more: str) -> list[str]:
    """What the last word of the line may become."""
    words = line.split(" ")
    here = words[-1] if shell == "fish" else str(len(words) - 1)
    env = {"_TT_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": here, **more}
    lines = [line for line in tt(env=env).out.splitlines() if line]
    return [word.partition(",")[2] if shell == "bash" else word for word in lines]


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("tt hist", ["history"]),
        ("tt task wh", ["why"]),
        ("tt history --ro", ["--round"]),
        ("tt kill a", ["ada", "albert"]),
        ("tt assign al", ["albert"]),
        ("tt spawn new --cli e", ["echo"]),
        ("tt spawn new --role rev", ["reviewer"]),
        ("tt backlog add x --tags ir", ["iron"]),
        ("tt events --type round_", ["round_started", "round_ended"]),
        ("tt events --type round_started,round_e", ["round_started,round_ended"]),
        ("tt dead redrive a", ["all"]),
        ("tt accounts unpark ec", ["echo"]),
        ("tt conductor --cli cl", ["claude"]),
        ("tt plugin test ech", ["echo"]),
        ("tt completion z", ["zsh"]),
    ],
)
def test_words_are_completed_to_existing_names(town: Shell, line: str, some: list[str]) -> None:
    assert completed(town, line) == some


def test_commands_of_plugins_are_completed_and_faulty_plugins_are_ignored(tt: Shell, tmp_path: Path) -> None:
    install_plugin(tmp_path, "broken", "raise RuntimeError('on purpose')\n")
    install_plugin(
        tmp_path,
        "extra",
        "import click\nfrom tinytown_cli.contracts import Command\nfrom tinytown.hookspecs import hookimpl\n"
        "from tinytown_cli.public import TownGroup\n"
        "TINYTOWN_HOOK_API = 2\n"
        "@hookimpl\ndef tinytown_commands():\n    return [Command('dance', 'Dance.', 'tinytown_extra:dance')]\n"
        "@click.group(cls=TownGroup, examples=['tt dance tango'])\ndef dance():\n    pass\n"
        "@dance.command('tango', examples=['tt dance tango'])\ndef tango():\n    pass\n",
    )
    assert completed(tt, "tt dan", PYTHONPATH=str(tmp_path)) == ["dance"]
    assert completed(tt, "tt dance ta", PYTHONPATH=str(tmp_path)) == ["tango"]
    assert completed(tt, "tt plugin test bro", PYTHONPATH=str(tmp_path)) == ["broken"]


def test_tasks_and_rounds_are_completed_to_their_ids(town: Shell) -> None:
    (task,) = town("task", "list", "--json").json["tasks"]
    (run,) = town("history", "--json").json["rounds"]
    assert completed(town, f"tt task show {task['id'][:3]}") == [task["id"]]
    sent = town("send", "supervisor", "well done", "--info", "--json").json["message_id"]
    assert completed(town, f"tt trace {sent[:5]}") == [sent]
    assert completed(town, "tt wait --task ") == [task["id"]]
    assert completed(town, f"tt history ada --round {run['run'][:2]}") == [run["run"]]
    assert (
        f"{task['id']}\ncompleted: say it"
        in town(env={"_TT_COMPLETE": "zsh_complete", "COMP_WORDS": "tt task show ", "COMP_CWORD": "3"}).out
    )
    assert "plain,ada\tidle, echo" in "\n".join(completed(town, "tt kill ad", "fish"))


@pytest.mark.parametrize(
    "line",
    [
        "tt nonesuch ",
        "tt nonesuch --x",
        "tt task nonesuch x",
        "tt kill -- ",
        "tt --town /nowhere kill ",
        "tt kill '",
        "tt ",
    ],
)
def test_completion_never_prints_an_error(town: Shell, line: str) -> None:
    words = line.split(" ")
    env = {"_TT_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        town.argv(), cwd=town.directory, env=town.variables | env, capture_output=True, timeout=60, check=False
    )
    assert done.stderr == b""


def test_completion_starts_no_server(tt: Shell) -> None:
    tt("init", "--name", "asleep")
    server = EmbeddedServer(tt.state())
    server.stop()
    assert completed(tt, "tt kill ") == []
    assert completed(tt, "tt spawn x --cli sh") == ["shell"]
    assert not server.ping()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_accepts_its_completion_script(tt: Shell, shell: str) -> None:
    script = tt("completion", shell).out
    assert "_TT_COMPLETE" in script
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=script.encode(), check=True, timeout=30)


#: How each shell is started without anybody's settings, and what makes it ready to complete.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(tt completion bash)"'),
    "zsh": (
        ["zsh", "-f", "-i"],
        'PROMPT="> "; unsetopt zle_bracketed_paste beep; autoload -Uz compinit; compinit -u -D; eval "$(tt completion zsh)"',
    ),
}


class Terminal:
    """A shell on a terminal, in which somebody types."""

    def __init__(self, tt: Shell, shell: str) -> None:
        argv, self.setup = SHELLS[shell]
        self.master, slave = pty.openpty()
        environment = tt.variables | {"PS1": "> ", "PATH": f"{SCRIPTS}:/usr/bin:/bin", "TERM": "dumb", "COLUMNS": "200"}
        self.process = subprocess.Popen(
            argv, cwd=tt.directory, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.said = ""

    def type(self, text: str) -> None:
        self.said = ""
        os.write(self.master, text.encode())

    def until(self, text: str) -> None:
        deadline = time.monotonic() + COMMAND_TIMEOUT_S / 3
        while text not in self.said:
            assert time.monotonic() < deadline, self.said
            if select.select([self.master], [], [], 0.1)[0]:
                self.said += os.read(self.master, 65536).decode(errors="replace")

    def close(self) -> None:
        self.process.kill()
        self.process.wait(COMMAND_TIMEOUT_S / 3)
        os.close(self.master)


def find_shell(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"there is no {name} on this machine to try its completion with")
    return path


@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell_completes_on_a_terminal(town: Shell, shell: str) -> None:
    find_shell(shell)
    (task,) = town("task", "list", "--limit", "1", "--json").json["tasks"]
    terminal = Terminal(town, shell)
    try:
        terminal.type(f'{terminal.setup}; echo re""ady\n')
        terminal.until("ready\r\n")
        for typed, whole in (
            ("tt hist", "tt history "),
            ("tt task wh", "tt task why "),
            ("tt history --roun", "tt history --round "),
            ("tt interrupt alb", "tt interrupt albert "),
            ("tt backlog add x --tags ir", "tt backlog add x --tags iron "),
            (f"tt task show {task['id'][:6]}", f"tt task show {task['id']} "),
        ):
            terminal.type(f"{typed}\t")
            terminal.until(whole)
            terminal.type("\x15")  # the line is taken back
    finally:
        terminal.close()


def test_a_real_fish_completes(town: Shell) -> None:
    fish = find_shell("fish")
    (task,) = town("task", "list", "--limit", "1", "--json").json["tasks"]

    def reported(line: str) -> list[str]:
        words = ["--no-config", "-c", 'tt completion fish | source; complete -C "$argv"', "--", line]
        env = town.variables | {"PATH": f"{SCRIPTS}:/usr/bin:/bin", "HOME": town.variables["TINYTOWN_HOME"]}
        done = subprocess.run(
            [fish, *words], cwd=town.directory, env=env, capture_output=True, timeout=COMMAND_TIMEOUT_S / 3, check=True
        )
        assert done.stderr == b""
        return done.stdout.decode().splitlines()

    assert reported("tt hist") == ["history\tThe rounds that have ended, and one of them in full."]
    assert reported("tt task wh")[0].startswith("why\t")
    assert reported("tt history --roun")[0].startswith("--round\t")
    assert reported("tt interrupt alb") == ["albert\tidle, shell"]
    assert reported("tt events --type round_started,round_e") == ["round_started,round_ended"]
    assert reported(f"tt task show {task['id'][:6]}") == [f"{task['id']}\tcompleted: say it"]
