"""The coding CLIs that are known by name: the program of each, how it is got, and how a person talks with one that has been
told about the town. Data, and looking on the PATH; how agents run them is their plugins' business.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tinytown.model.text import shown

#: In the words of a command, the path of the file that holds the context.
CONTEXT_FILE = "{context_file}"

_VERSION_S = 5.0
_ASK = f"You are the conductor of this town. Read {CONTEXT_FILE} first, and do as it says."


class CodingCli(NamedTuple):
    """A coding CLI. `start` and `resume` are the words of an interactive session: a new one, and its latest one again. The
    context goes through a file, named by an option of its own or in a short first message: command lines are bounded."""

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
    CodingCli("codex", "codex", "npm install -g @openai/codex", ("codex", _ASK), ("codex", "resume", "--last")),
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
        ("gemini", "-i", _ASK),
        ("gemini", "--resume", "latest"),
    ),
    CodingCli(
        "copilot", "copilot", "npm install -g @github/copilot", ("copilot", "-i", _ASK), ("copilot", "--continue")
    ),
    CodingCli(
        "aider",
        "aider",
        "pip install aider-chat",
        ("aider", "--read", CONTEXT_FILE),
        ("aider", "--restore-chat-history", "--read", CONTEXT_FILE),
    ),
    CodingCli("cursor", "cursor-agent", "see cursor.com/cli", ("cursor-agent", _ASK), ("cursor-agent", "resume")),
    CodingCli(
        "opencode", "opencode", "npm install -g opencode-ai", ("opencode", "--prompt", _ASK), ("opencode", "--continue")
    ),
)

BY_NAME = {each.name: each for each in CODING_CLIS}


class Found(NamedTuple):
    """A coding CLI that is on the PATH, and the first line of what it says of its version (empty if it said nothing)."""

    cli: CodingCli
    path: str
    version: str


def installed() -> list[CodingCli]:
    """Those that are on the PATH."""
    return [each for each in CODING_CLIS if shutil.which(each.program)]


def ask_versions(clis: Sequence[CodingCli]) -> list[Found]:
    """Which of them are on the PATH and which version each is; all are asked at once, and given up after five seconds."""

    def ask(cli: CodingCli) -> Found | None:
        path = shutil.which(cli.program)
        return Found(cli, path, program_version(path)) if path else None

    if not clis:
        return []
    with ThreadPoolExecutor(len(clis)) as threads:
        return [found for found in threads.map(ask, clis) if found is not None]


def program_version(path: str) -> str:
    """The first line of what a program says of its version, or why it says nothing; after five seconds it is given up."""
    try:
        # A session of its own: whatever it starts is ended with it when it takes too long.
        process = subprocess.Popen(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return f"it cannot be started: {error.strerror}"
    try:
        said, _ = process.communicate(timeout=_VERSION_S)
    except subprocess.TimeoutExpired:
        _end_group(process)
        return f"it did not say its version within {_VERSION_S:g} s"
    first = next((line for line in said.decode("utf-8", "replace").splitlines() if line.strip()), "")
    return shown(first) if process.returncode == 0 else f"asked for its version it ended with {process.returncode}"


def _end_group(process: subprocess.Popen[bytes]) -> None:
    import contextlib
    import os
    import signal

    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
