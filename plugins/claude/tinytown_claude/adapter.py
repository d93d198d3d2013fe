"""How Claude Code is called: ``claude -p`` with the prompt on its standard input and one JSON record a line coming back.

Source: ``claude --help`` and the documentation of Claude Code, checked by running version 2.1.197.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Sequence
from typing import Annotated, ClassVar

import msgspec
from tinytown.adapters import CliAdapter, CliSettings, Launch, Permissions, Plan, Transcript

from tinytown_claude.reader import ClaudeReader

_MCP_FILE = "town-mcp.json"
_READING_TOOLS = "Read,Glob,Grep,LS,WebFetch,WebSearch,TodoWrite"
_ALL_TOOLS = ("Bash", "Edit", "Write", "NotebookEdit", "WebFetch", "WebSearch", "Skill")
_SANDBOX = "IS_SANDBOX"


class Settings(CliSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.claude]``: beside the settings of every coding CLI, the CLI's own limits for one round (0: none).

    `allow` are tools that ``permissions = "read"`` or ``"write"`` let the model use beside those of the profile, in
    Claude Code's own words: ``["Bash(git *)", "Bash(pytest *)"]``.
    """

    max_turns: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_budget_usd: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    allow: tuple[str, ...] = ()


class ClaudeAdapter(CliAdapter[Settings]):
    """Claude Code. It is native: the process that is started is the one that works."""

    plugin: ClassVar[str] = "claude"
    kind: ClassVar[str] = "claude"
    title: ClassVar[str] = "Claude Code"
    command: ClassVar[tuple[str, ...]] = ("claude",)
    install: ClassVar[str] = "npm install -g @anthropic-ai/claude-code"
    login: ClassVar[str] = "log in with claude and /login, or set ANTHROPIC_API_KEY before the kernel starts"
    login_variables: ClassVar[tuple[str, ...]] = (
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "CLAUDE_CODE_USE_BEDROCK",
        "CLAUDE_CODE_USE_VERTEX",
    )
    own_variables: ClassVar[tuple[str, ...]] = ("ANTHROPIC_*", "CLAUDE_CODE_*", "AWS_BEARER_TOKEN_BEDROCK")
    # Of its shell commands it lets pass without asking only what it knows to be harmless: too little to work with.
    default_permissions: ClassVar[Permissions] = "full"
    permissions_offered: ClassVar[tuple[Permissions, ...]] = ("read", "write", "full")
    sessions_stay_in_directory: ClassVar[bool] = True
    prompt_limit_chars: ClassVar[int | None] = 2_500_000  # 10 MB on its standard input, of at most 4 bytes each

    def plan(self, launch: Launch[Settings]) -> Plan:
        settings = launch.settings
        arguments = ["-p", "--output-format", "stream-json", "--verbose", *_permission_arguments(launch)]
        files: dict[str, bytes] = {}
        if launch.session is not None:
            arguments += ["--resume", launch.session.id]
        if settings.model:
            arguments += ["--model", settings.model]
        if settings.max_turns:
            arguments += ["--max-turns", str(settings.max_turns)]
        if settings.max_budget_usd:
            arguments += ["--max-budget-usd", f"{settings.max_budget_usd:.4f}"]
        if launch.tools is not None:
            files[_MCP_FILE] = launch.tools.claude_style()
            arguments += ["--mcp-config", str(launch.place / _MCP_FILE), "--strict-mcp-config"]
        environment: dict[str, str | None] = {
            # The town tries again later, too; what it must not do is to wait for hours.
            "CLAUDE_CODE_MAX_RETRIES": launch.environment.get("CLAUDE_CODE_MAX_RETRIES", "4"),
            "DISABLE_AUTOUPDATER": "1",
        }
        if launch.has_own_state:
            environment["CLAUDE_CONFIG_DIR"] = str(launch.place / "state")
        return Plan(
            arguments=[*arguments, *settings.extra_args],
            stdin=launch.prompt.encode("utf-8", "replace"),
            files=files,
            environment=environment,
            first_signal=signal.SIGINT,  # SIGTERM leaves its tools running
        )

    def reader(self, transcript: Transcript, launch: Launch[Settings]) -> ClaudeReader:
        return ClaudeReader(transcript, launch.tools.name if launch.tools else "")

    def cautions(self, settings: Settings, permissions: Permissions, environment: Collection[str]) -> Sequence[str]:
        if permissions == "full" and _is_root() and _SANDBOX not in environment:
            return [
                "you are root, and so is what the model runs; Claude Code would refuse to skip its questions, so it is"
                " told to allow each tool instead"
            ]
        return []


def _permission_arguments(launch: Launch[Settings]) -> list[str]:
    town = [f"mcp__{launch.tools.name}"] if launch.tools else []
    match launch.permissions:
        case "read":
            allowed = [*town, *launch.settings.allow]
            own = ["--tools", _READING_TOOLS, "--permission-mode", "dontAsk"]
        case "write":
            allowed = [*town, *launch.settings.allow]
            own = ["--permission-mode", "acceptEdits"]
        case "full":
            if not _is_root() or launch.environment.get(_SANDBOX) == "1":
                return ["--dangerously-skip-permissions"]
            allowed = [*_ALL_TOOLS, *town, *launch.settings.allow]
            own = ["--permission-mode", "acceptEdits"]
    return [*own, *(["--allowedTools", ",".join(allowed)] if allowed else [])]


def _is_root() -> bool:
    return os.geteuid() == 0
