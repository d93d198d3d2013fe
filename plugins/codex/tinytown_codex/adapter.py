"""How Codex is called: its app server, which takes mail and asks in the middle of a turn; or ``codex exec --json``, with the
prompt on its standard input and one JSON record a line coming back.

Source: ``codex exec --help`` and the documentation of Codex, checked by running version 0.171.0.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import trio
from tinytown_adapters import (
    CliAdapter,
    CliSettings,
    CommandSpec,
    Permissions,
    Reader,
    RunCli,
    RunRequest,
    RunState,
    SessionSource,
    TakenSession,
    TownTools,
    git_directories,
)

from tinytown_codex.app_server import AppServerReader
from tinytown_codex.forks import take_rollouts
from tinytown_codex.reader import CodexReader
from tinytown_codex.schemas import may_hold_to

_SCHEMA_FILE = "result-schema.json"


class Settings(CliSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.codex]``: the settings of every coding CLI. Without `app_server` a round is a run of ``codex exec``, whose model
    takes no mail and asks nothing in the middle of a turn.
    """

    app_server: bool = True


class CodexAdapter(CliAdapter[Settings]):
    """Codex. What npm installs is a wrapper around the real program, which gets the wrapper's signals with its group."""

    plugin: ClassVar[str] = "codex"
    kind: ClassVar[str] = "codex"
    title: ClassVar[str] = "Codex"
    command: ClassVar[tuple[str, ...]] = ("codex",)
    install: ClassVar[str] = "npm install -g @openai/codex"
    login: ClassVar[str] = "log in with codex login, or set CODEX_API_KEY before the kernel starts"
    login_variables: ClassVar[tuple[str, ...]] = ("CODEX_API_KEY",)
    default_permissions: ClassVar[Permissions] = "write"  # it brings its own sandbox
    permissions_offered: ClassVar[tuple[Permissions, ...]] = ("read", "write", "full")
    sandbox_trial: ClassVar[tuple[str, ...]] = ("sandbox", "--", "true")
    state_paths: ClassVar[tuple[str, ...]] = ("~/.codex",)
    forks_sessions: ClassVar[bool] = True
    can_ask: ClassVar[bool] = True
    tool_names: ClassVar[str] = "mcp__town__{}"
    prompt_limit_chars: ClassVar[int | None] = 1_000_000  # it takes 1,048,576 in all and adds some of its own
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"codex-mini": {"model": "gpt-5.4-mini"}}

    def has_own_sandbox(self) -> bool:
        return True

    def command_spec(self, request: RunRequest[Settings]) -> CommandSpec:
        settings = request.settings
        environment: dict[str, str | None] = {}
        if request.permissions == "write":
            environment["TMPDIR"] = str(request.temporary_directory)
        if request.has_own_state:
            environment["CODEX_HOME"] = str(request.state_directory)
        if settings.app_server:
            arguments = ["app-server", *_write_arguments(request)]
            if request.tools is not None:
                arguments += _tools_arguments(request.tools)
            arguments += settings.extra_args
            return CommandSpec(arguments=arguments, environment=environment, first_signal=signal.SIGINT)
        arguments = ["exec", "--json", "--skip-git-repo-check", *_permission_arguments(request)]
        if settings.model:
            arguments += ["-m", settings.model]
        if request.tools is not None:
            arguments += _tools_arguments(request.tools)
        files: dict[str, bytes] = {}
        if request.result_schema is not None and may_hold_to(request.result_schema):
            files[_SCHEMA_FILE] = msgspec.json.encode(request.result_schema)
            arguments += ["--output-schema", str(request.work_dir / _SCHEMA_FILE)]
        arguments += settings.extra_args
        if request.session is not None:  # what comes after it may be no option of `exec`
            arguments += ["fork" if request.forks else "resume", request.session.id]
        return CommandSpec(
            arguments=[*arguments, "-"],
            stdin=request.prompt_bytes,
            files=files,
            environment=environment,
            first_signal=signal.SIGINT,
        )

    async def take_session(self, source: SessionSource, request: RunRequest[Settings], run: RunCli) -> TakenSession:
        user = Path(request.environment.get("CODEX_HOME") or Path(request.environment.get("HOME", "/"), ".codex"))
        return await trio.to_thread.run_sync(take_rollouts, source, request, user)

    def reader(self, state: RunState, request: RunRequest[Settings]) -> Reader:
        if request.settings.app_server:
            return AppServerReader(state, request)
        return CodexReader(
            state,
            used_before=request.session.used if request.session else None,
            tools_name=request.tools.name if request.tools else "",
        )


def _permission_arguments(request: RunRequest[Settings]) -> Sequence[str]:
    match request.permissions:
        case "read":
            return ["--sandbox", "read-only"]
        case "write":
            return ["--sandbox", "workspace-write", *_write_arguments(request)]
        case "full":
            return ["--dangerously-bypass-approvals-and-sandbox"]


def _write_arguments(request: RunRequest[Settings]) -> Sequence[str]:
    """What its sandbox lets pass with the profile ``write``: else no commit, and neither `tt` nor a package index."""
    if request.permissions != "write":
        return []
    # It would open /tmp, too, and leave an empty directory .git in there, which git takes the place for a repository by.
    settings = {
        "network_access": True,
        "exclude_slash_tmp": True,
        "writable_roots": [str(each) for each in git_directories(request.directory)],
    }
    return [word for key, value in settings.items() for word in ("-c", f"sandbox_workspace_write.{key}={_json(value)}")]


def _tools_arguments(tools: TownTools) -> Sequence[str]:
    """The town's server, as settings; `required`, because otherwise it would go unnoticed that it did not start."""
    table = f"mcp_servers.{tools.name}"
    values = {
        "command": tools.command,
        "args": tools.arguments,
        "required": True,
        "default_tools_approval_mode": "approve",
    }
    # Texts, lists of texts and truth values are written alike in JSON and TOML.
    return [word for key, value in values.items() for word in ("-c", f"{table}.{key}={_json(value)}")]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
