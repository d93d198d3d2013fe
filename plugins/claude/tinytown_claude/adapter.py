"""How Claude Code is called: ``claude -p`` with one JSON record a line on its standard input and one coming back.

What it may do is said in `permissions`.

Source: ``claude --help`` and the documentation of Claude Code, checked by running versions 2.1.197 and 2.1.332.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
import trio
from tinytown_adapters import (
    CliAdapter,
    CliSessionRecord,
    CliSettings,
    CommandSpec,
    Permissions,
    RunCli,
    RunRequest,
    RunState,
    SessionSource,
    TakenSession,
    ask_permission,
)

from tinytown_claude.permissions import TRUSTED_PLACE, has_sandbox, permission_arguments, permission_warnings
from tinytown_claude.reader import ClaudeReader, user_message

_MCP_FILE = "town-mcp.json"
_FORK_FILE = "tmp/fork.jsonl"
_PROJECT_NOTES = "CLAUDE.md"
_NOTES_BYTES = 200_000
_TOTALS = b'{"type":"cost-state"'
#: Tools that reach for other agents than the town's, that work for nobody once the round has ended, or that leave its workspace.
DENIED_TOOLS = (
    "ListAgents",
    "SendMessage",
    "CronCreate",
    "CronDelete",
    "CronList",
    "ScheduleWakeup",
    "EnterWorktree",
    "ExitWorktree",
)


class Settings(CliSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.claude]``: beside the settings of every coding CLI, the CLI's own limits for one round (0: none).

    `allow` are tools that ``permissions = "read"`` or ``"write"`` let the model use beside those of the profile, in
    Claude Code's own words: ``["Bash(git *)", "Bash(pytest *)"]``.
    """

    max_turns: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)] = 0
    max_budget_usd: Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000_000)] = 0.0
    allow: tuple[str, ...] = ()


class ClaudeAdapter(CliAdapter[Settings]):
    """Claude Code. It is native: the process that is started is the one that works."""

    plugin: ClassVar[str] = "claude"
    kind: ClassVar[str] = "claude"
    title: ClassVar[str] = "Claude Code"
    command: ClassVar[tuple[str, ...]] = ("claude",)
    install: ClassVar[str] = "npm install -g @anthropic-ai/claude-code@latest"
    login: ClassVar[str] = "log in with claude and /login, or set ANTHROPIC_API_KEY before the kernel starts"
    login_variables: ClassVar[tuple[str, ...]] = (
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "CLAUDE_CODE_USE_BEDROCK",
        "CLAUDE_CODE_USE_VERTEX",
    )
    own_variables: ClassVar[tuple[str, ...]] = ("ANTHROPIC_*", "CLAUDE_CODE_*", "AWS_BEARER_TOKEN_BEDROCK")
    session_variables: ClassVar[tuple[str, ...]] = (
        "CLAUDECODE",
        "CLAUDE_CODE_AGENT*",
        "CLAUDE_CODE_CONTAINER_ID",
        "CLAUDE_CODE_ENTRYPOINT",
        "CLAUDE_CODE_EXECPATH",
        "CLAUDE_CODE_PARENT*",
        "CLAUDE_CODE_REMOTE*",
        "CLAUDE_CODE_SESSION*",
        "CLAUDE_CODE_SSE_PORT",
        "CLAUDE_CODE_TASK*",
        "CLAUDE_CODE_TMPDIR",
    )
    permissions_offered: ClassVar[tuple[Permissions, ...]] = ("read", "write", "full")
    state_paths: ClassVar[tuple[str, ...]] = ("~/.claude", "~/.claude.json")
    sessions_stay_in_directory: ClassVar[bool] = True
    forks_sessions: ClassVar[bool] = True
    can_ask: ClassVar[bool] = True
    tool_names: ClassVar[str] = "mcp__town__{}"
    prompt_limit_chars: ClassVar[int | None] = 2_500_000  # 10 MB on its standard input, of at most 4 bytes each

    def command_spec(self, request: RunRequest[Settings]) -> CommandSpec:
        settings = request.settings
        town = f"mcp__{request.tools.name}" if request.tools else ""
        granted = permission_arguments(request, [*settings.allow, *filter(None, [town])])
        formats = ["--input-format", "stream-json", "--output-format", "stream-json"]
        arguments = ["-p", *formats, "--verbose", "--replay-user-messages", *granted.arguments]
        arguments += ["--disallowedTools", ",".join(DENIED_TOOLS)]
        files: dict[str, bytes] = dict(granted.files)
        if request.session is not None:
            arguments += ["--resume", request.session.id, *(["--fork-session"] if request.forks else [])]
        if settings.model:
            arguments += ["--model", settings.model]
        if settings.max_turns:
            arguments += ["--max-turns", str(settings.max_turns)]
        if settings.max_budget_usd:
            arguments += ["--max-budget-usd", f"{settings.max_budget_usd:.4f}"]
        if request.result_schema is not None:
            arguments += ["--json-schema", msgspec.json.encode(request.result_schema).decode()]
        if request.tools is not None:
            # Else they are behind its tool search, and a round may begin before they are there.
            files[_MCP_FILE] = request.tools.as_mcp_servers(alwaysLoad=True)
            arguments += ["--mcp-config", str(request.work_dir / _MCP_FILE)]
        if request.tools is not None or not request.trusts_project:
            arguments += ["--strict-mcp-config"]
        environment: dict[str, str | None] = {
            # What others wrote is text: @path in it names no file to attach.
            "CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1",
            # The town tries again later, too; what it must not do is to wait for hours.
            "CLAUDE_CODE_MAX_RETRIES": request.environment.get("CLAUDE_CODE_MAX_RETRIES", "4"),
            "DISABLE_AUTOUPDATER": "1",
        }
        if not request.trusts_project:
            environment["CLAUDE_CODE_DISABLE_ATTACHMENTS"] = "1"  # the same for releases that do not know the former
            arguments += ["--setting-sources", "user"]
            if notes := _project_notes(request.directory):  # they came with the project's settings
                files[_PROJECT_NOTES] = notes
                arguments += ["--append-system-prompt-file", str(request.work_dir / _PROJECT_NOTES)]
        if request.boxed:
            environment[TRUSTED_PLACE] = "1"
        if request.has_own_state:
            environment["CLAUDE_CONFIG_DIR"] = str(request.state_directory)
        return CommandSpec(
            arguments=[*arguments, *settings.extra_args],
            stdin=user_message(request.prompt_bytes.decode()),
            files=files,
            environment=environment,
            first_signal=signal.SIGINT,  # SIGTERM leaves its tools running
        )

    def reader(self, state: RunState, request: RunRequest[Settings]) -> ClaudeReader:
        return ClaudeReader(
            state,
            request.tools.name if request.tools else "",
            used_before=request.session.used if request.session else None,
            ask=partial(ask_permission, state, request) if request.asks else None,
        )

    async def take_session(self, source: SessionSource, request: RunRequest[Settings], run: RunCli) -> TakenSession:
        # By its file it resumes a session of any directory; by its id, only one of its own directory and state.
        user = request.environment.get("CLAUDE_CONFIG_DIR") or Path(request.environment.get("HOME", "/"), ".claude")
        for home in (source.work_dir / "state", Path(user)):
            found = await trio.to_thread.run_sync(source.read, home, f"projects/*/{source.session_id}.jsonl")
            if found is not None:
                record = CliSessionRecord(id=str(request.work_dir / _FORK_FILE), agent_id="", directory="")
                return TakenSession(record, {_FORK_FILE: _without_costs(found[1])})
        raise source.gone

    def has_own_sandbox(self) -> bool:
        return has_sandbox()

    def permissions_by_default(self) -> Permissions:
        # Without its sandbox it lets pass, unasked, only the shell commands that it knows to be harmless: too few.
        return "write" if has_sandbox() else "full"

    def warnings(self, settings: Settings, permissions: Permissions, environment: Collection[str]) -> Sequence[str]:
        return permission_warnings(permissions, environment)


def _without_costs(transcript: bytes) -> bytes:
    """The whole lines of a session's file but for its totals: what a copy consumes is counted from zero."""
    lines = transcript.split(b"\n")[:-1]  # the last may be in the middle of being written
    return b"".join(line + b"\n" for line in lines if not line.startswith(_TOTALS))


def _project_notes(directory: Path) -> bytes:
    """The project's notes for Claude Code, as text: what they name is not read, and nothing in them runs."""
    try:
        with open(os.open(directory / _PROJECT_NOTES, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            return file.read(_NOTES_BYTES)
    except OSError:
        return b""
