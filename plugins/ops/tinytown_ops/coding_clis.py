"""The coding CLIs that `tt conductor` and `tt doctor` know: program, installation, and the command of an interactive session.

Data, and a search of the PATH; how agents run these CLIs is up to their plugins.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tinytown.model.text import shown

#: In the arguments of a command: the path of the context file.
CONTEXT_FILE = "{context_file}"

_VERSION_S = 5.0
_FIRST_MESSAGE = f"You are the conductor of this town. Read {CONTEXT_FILE} first and follow it."


class CodingCli(NamedTuple):
    """A coding CLI. `start` and `resume` are the arguments of an interactive session, new or resumed.

    The context is passed as a file, by an option or in a short first message: the length of a command line is limited.
    """

    name: str
    program: str
    install: str
    start: tuple[str, ...]
    resume: tuple[str, ...]


CODING_CLIS: tuple[CodingCli, ...] = (
    CodingCli(
        "claude",
        "claude",
        "npm install -g @anthropic-ai/claude-code",
        ("claude", "--append-system-prompt-file", CONTEXT_FILE),
        ("claude", "--continue", "--append-system-prompt-file", CONTEXT_FILE),
    ),
    CodingCli(
        "codex", "codex", "npm install -g @openai/codex", ("codex", _FIRST_MESSAGE), ("codex", "resume", "--last")
    ),
    CodingCli(
        "auggie",
        "auggie",
        "npm install -g @augmentcode/auggie",
        ("auggie", "--rules", CONTEXT_FILE),
        ("auggie", "--continue", "--rules", CONTEXT_FILE),
    ),
    CodingCli(
        "gemini",
        "gemini",
        "npm install -g @google/gemini-cli",
        ("gemini", "-i", _FIRST_MESSAGE),
        ("gemini", "--resume", "latest"),
    ),
    CodingCli(
        "copilot",
        "copilot",
        "npm install -g @github/copilot",
        ("copilot", "-i", _FIRST_MESSAGE),
        ("copilot", "--continue"),
    ),
    CodingCli(
        "aider",
        "aider",
        "pip install aider-chat",
        ("aider", "--read", CONTEXT_FILE),
        ("aider", "--restore-chat-history", "--read", CONTEXT_FILE),
    ),
    CodingCli(
        "cursor", "cursor-agent", "see cursor.com/cli", ("cursor-agent", _FIRST_MESSAGE), ("cursor-agent", "resume")
    ),
    CodingCli(
        "opencode",
        "opencode",
        "npm install -g opencode-ai",
        ("opencode", "--prompt", _FIRST_MESSAGE),
        ("opencode", "--continue"),
    ),
)

BY_NAME = {cli.name: cli for cli in CODING_CLIS}


class InstalledCli(NamedTuple):
    """A coding CLI on the PATH, with the first line of its ``--version`` (empty if it printed nothing)."""

    cli: CodingCli
    path: str
    version: str


def installed() -> list[CodingCli]:
    """The coding CLIs on the PATH."""
    return [cli for cli in CODING_CLIS if shutil.which(cli.program)]


def installed_versions(clis: Sequence[CodingCli]) -> list[InstalledCli]:
    """Those of `clis` on the PATH, with their versions. They run concurrently, for at most 5 s."""

    def read(cli: CodingCli) -> InstalledCli | None:
        path = shutil.which(cli.program)
        return InstalledCli(cli, path, program_version(path)) if path else None

    if not clis:
        return []
    with ThreadPoolExecutor(len(clis)) as threads:
        return [cli for cli in threads.map(read, clis) if cli is not None]


def program_version(path: str) -> str:
    """The first line of a program's ``--version``, or why there is none. Takes at most 5 s."""
    try:
        # A session of its own, so that a timeout ends everything that it started.
        process = subprocess.Popen(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return f"cannot be started: {error.strerror}"
    try:
        output, _ = process.communicate(timeout=_VERSION_S)
    except subprocess.TimeoutExpired:
        _end_group(process)
        return f"did not report its version within {_VERSION_S:g} s"
    first = next((line for line in output.decode("utf-8", "replace").splitlines() if line.strip()), "")
    return shown(first) if process.returncode == 0 else f"--version exited with {process.returncode}"


def _end_group(process: subprocess.Popen[bytes]) -> None:
    import contextlib
    import os
    import signal

    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
