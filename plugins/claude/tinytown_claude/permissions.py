"""What the model may do, in Claude Code's own words: tools that exist, tools that need no question, and its sandbox.

Unless it `asks`, nobody is there to be asked: whatever would be a question is a refusal. The sandbox, which needs bubblewrap
and socat on Linux, holds shell commands to the workspace, so that none of them needs a question.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import msgspec
from tinytown_adapters import CliSettings, Permissions, RunRequest, git_directories

SETTINGS_FILE = "claude-settings.json"

_READING_TOOLS = ("Read", "Glob", "Grep", "WebFetch", "WebSearch", "TodoWrite")
_ALL_TOOLS = ("Bash", "Edit", "Write", "NotebookEdit", "WebFetch", "WebSearch", "Skill")
TRUSTED_PLACE = "IS_SANDBOX"  # what Claude Code looks for before it believes root
_SANDBOX_PROGRAMS = ("bwrap", "socat")
_TRIAL_S = 5.0


@dataclass(frozen=True, slots=True)
class Granted:
    """The arguments that say it, and the files that they name."""

    arguments: Sequence[str]
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


def has_sandbox() -> bool:
    """Whether Claude Code's sandbox works on this machine."""
    return not sandbox_problem()


def sandbox_problem() -> str:
    """Why Claude Code's sandbox does not work on this machine; empty if it does."""
    if sys.platform == "darwin":
        return ""
    missing = [name for name in _SANDBOX_PROGRAMS if shutil.which(name) is None]
    return f"no {' and no '.join(missing)} on PATH" if missing else _trial(shutil.which("bwrap") or "")


@cache
def _trial(bubblewrap: str) -> str:
    """Why no box can be made in the way of Claude Code: a container, or the system's settings, may forbid namespaces."""
    box = ["--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--", "true"]
    try:
        ended = subprocess.run([bubblewrap, *box], capture_output=True, text=True, timeout=_TRIAL_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{bubblewrap} does not work: {error}"
    if ended.returncode == 0:
        return ""
    said = ended.stderr.strip().rpartition("\n")[2] or f"exit status {ended.returncode}"
    return f"{bubblewrap} cannot make a box: {said}"


def permission_arguments(request: RunRequest[CliSettings], allowed: Sequence[str]) -> Granted:
    """How to hold the model to the launch's profile; `allowed` are further tools that it may use."""
    match request.permissions:
        case "read":
            tools = ["--tools", ",".join(_READING_TOOLS), "--permission-mode", "dontAsk"]
            return Granted([*tools, *_allow(*_READING_TOOLS, *allowed)])
        case "write":
            edits = ["--permission-mode", "acceptEdits", *(["--permission-prompt-tool", "stdio"] * request.asks)]
            if not has_sandbox():
                return Granted([*edits, *_allow(*_READING_TOOLS, *allowed)])
            settings = ["--settings", str(request.work_dir / SETTINGS_FILE)]
            return Granted(
                [*edits, *_allow("Bash", *_READING_TOOLS, *allowed), *settings],
                {SETTINGS_FILE: msgspec.json.encode({"sandbox": _sandbox(request)})},
            )
        case "full":
            if not _is_root() or request.boxed or request.environment.get(TRUSTED_PLACE) == "1":
                return Granted(["--dangerously-skip-permissions"])
            return Granted(["--permission-mode", "acceptEdits", *_allow(*_ALL_TOOLS, *allowed)])


def permission_warnings(permissions: Permissions, environment: Collection[str]) -> Sequence[str]:
    """What a person should know of this profile on this machine."""
    if permissions == "full" and _is_root() and TRUSTED_PLACE not in environment:
        return [
            "you are root, and so is what the model runs; Claude Code does not skip its permission prompts for root, so each"
            " tool is allowed by name instead"
        ]
    if permissions == "write" and (problem := sandbox_problem()):
        return [
            f"Claude Code's sandbox does not work here ({problem}), so it refuses most shell commands: install bubblewrap and"
            " socat where namespaces are allowed, or name commands in allow"
        ]
    return []


def _allow(*tools: str) -> list[str]:
    return ["--allowedTools", ",".join(tools)] if tools else []


def _sandbox(request: RunRequest[CliSettings]) -> dict[str, object]:
    return {
        "enabled": True,
        "failIfUnavailable": True,
        "autoAllowBashIfSandboxed": True,
        "allowUnsandboxedCommands": request.asks,  # each is asked for
        # A linked worktree commits into the repository that it belongs to.
        "filesystem": {"allowWrite": [str(each) for each in git_directories(request.directory)]},
        # All of the network, and the socket of the town's own server.
        "network": {"allowedDomains": ["*"], "allowAllUnixSockets": True, "allowLocalBinding": True},
    }


def _is_root() -> bool:
    return os.geteuid() == 0
