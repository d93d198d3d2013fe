"""How Claude Code is called: ``claude -p`` with the prompt on its standard input and one JSON record a line coming back.

What it may do is said in `permissions`.

Source: ``claude --help`` and the documentation of Claude Code, checked by running version 2.1.197.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Sequence
from typing import Annotated, ClassVar

import msgspec
from tinytown_adapters import CliAdapter, CliSettings, CommandSpec, Permissions, RunRequest, RunState

from tinytown_claude.permissions import has_sandbox, permission_arguments, permission_warnings
from tinytown_claude.reader import ClaudeReader

_MCP_FILE = "town-mcp.json"


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
    permissions_offered: ClassVar[tuple[Permissions, ...]] = ("read", "write", "full")
    sessions_stay_in_directory: ClassVar[bool] = True
    prompt_limit_chars: ClassVar[int | None] = 2_500_000  # 10 MB on its standard input, of at most 4 bytes each

    def command_spec(self, request: RunRequest[Settings]) -> CommandSpec:
        settings = request.settings
        town = f"mcp__{request.tools.name}" if request.tools else ""
        granted = permission_arguments(request, [*settings.allow, *filter(None, [town])])
        arguments = ["-p", "--output-format", "stream-json", "--verbose", *granted.arguments]
        files: dict[str, bytes] = dict(granted.files)
        if request.session is not None:
            arguments += ["--resume", request.session.id]
        if settings.model:
            arguments += ["--model", settings.model]
        if settings.max_turns:
            arguments += ["--max-turns", str(settings.max_turns)]
        if settings.max_budget_usd:
            arguments += ["--max-budget-usd", f"{settings.max_budget_usd:.4f}"]
        if request.tools is not None:
            files[_MCP_FILE] = request.tools.as_mcp_servers()
            arguments += ["--mcp-config", str(request.work_dir / _MCP_FILE), "--strict-mcp-config"]
        environment: dict[str, str | None] = {
            # The town tries again later, too; what it must not do is to wait for hours.
            "CLAUDE_CODE_MAX_RETRIES": request.environment.get("CLAUDE_CODE_MAX_RETRIES", "4"),
            "DISABLE_AUTOUPDATER": "1",
        }
        if request.has_own_state:
            environment["CLAUDE_CONFIG_DIR"] = str(request.state_directory)
        return CommandSpec(
            arguments=[*arguments, *settings.extra_args],
            stdin=request.prompt.encode("utf-8", "replace"),
            files=files,
            environment=environment,
            first_signal=signal.SIGINT,  # SIGTERM leaves its tools running
        )

    def reader(self, state: RunState, request: RunRequest[Settings]) -> ClaudeReader:
        return ClaudeReader(state, request.tools.name if request.tools else "")

    def permissions_by_default(self) -> Permissions:
        # Without its sandbox it lets pass, unasked, only the shell commands that it knows to be harmless: too few.
        return "write" if has_sandbox() else "full"

    def warnings(self, settings: Settings, permissions: Permissions, environment: Collection[str]) -> Sequence[str]:
        return permission_warnings(permissions, environment)
