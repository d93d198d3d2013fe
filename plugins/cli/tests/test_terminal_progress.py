"""On a terminal, a command that takes long shows a line about it; in a pipe it does not."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from tinytown_testing.shell import Shell

PROGRAM = (
    "import sys, tinytown_cli.progress as progress; progress.QUIET_S = 0.0; progress._TICK_S = 0.001\n"
    "from tinytown_cli.main import run; sys.exit(run(sys.argv[1:]))"
)


def on_terminal(shell: Shell, *words: str) -> str:
    """What a command shows on a terminal on its standard error."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], cwd=shell.directory, env=shell.variables, stdout=subprocess.PIPE, stderr=theirs
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the terminal has no other end any more
            pass
        process.communicate(timeout=60)
    os.close(ours)
    return shown.decode()


def test_starting_a_server_or_a_kernel_and_waiting_show_what_they_do(tt: Shell) -> None:
    tt.variables.pop("TINYTOWN_NO_KERNEL")
    tt("init", "--name", "slow")
    tt("stop")
    shown = on_terminal(tt, "spawn", "ada", "--cli", "shell")
    assert "connecting to the server …" in shown
    assert "starting the kernel …" in shown
    assert "started the kernel in the background" in shown
    tt("assign", "ada", "sleep 1")
    assert "waiting: ada is " in on_terminal(tt, "wait", "ada")
    assert "checking" in on_terminal(tt, "doctor", "--no-task")
    assert "…" not in tt("status").err


def test_an_import_of_beads_says_that_it_works(tt: Shell) -> None:
    tt("init", "--name", "slow")
    (tt.directory / "in.jsonl").write_text('{"id":"a-1","title":"x"}\n')
    assert "importing …" in on_terminal(tt, "beads", "import", "in.jsonl")
