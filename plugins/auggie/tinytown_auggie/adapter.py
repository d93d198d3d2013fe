"""How Auggie is called: ``auggie --print`` with the prompt in a file, and one JSON record at the very end.

Source: ``auggie --help``, checked by running version 0.36.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
from tinytown_adapters import CliAdapter, CliSettings, CommandSpec, Permissions, RunRequest, RunState

from tinytown_auggie.reader import AuggieReader, was_asked

_PROMPT_FILE = "prompt.md"
_MCP_FILE = "town-mcp.json"
_EDITING_TOOLS = ("remove-files", "save-file", "apply_patch", "str-replace-editor")
_PROCESS_TOOLS = ("launch-process", "write-process", "kill-process")
_DENIED: Mapping[Permissions, Sequence[str]] = {
    "read": (*_EDITING_TOOLS, *_PROCESS_TOOLS),
    "write": _PROCESS_TOOLS,
    "full": (),
}


class Settings(CliSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.auggie]``: beside the settings of every coding CLI, its own limit for one round (0: none).

    `rules` are files with instructions that it adds to its own.
    """

    max_turns: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)] = 0
    rules: tuple[str, ...] = ()


class AuggieAdapter(CliAdapter[Settings]):
    """Auggie. It is one process of node; signals end it and leave its tools running, which the run supervisor then ends."""

    plugin: ClassVar[str] = "auggie"
    kind: ClassVar[str] = "auggie"
    tool_names: ClassVar[str] = "{}_town"
    title: ClassVar[str] = "Auggie"
    command: ClassVar[tuple[str, ...]] = ("auggie",)
    install: ClassVar[str] = "npm install -g @augmentcode/auggie"
    login: ClassVar[str] = "log in with auggie login, or set AUGMENT_SESSION_AUTH before the kernel starts"
    login_variables: ClassVar[tuple[str, ...]] = ("AUGMENT_SESSION_AUTH", "AUGMENT_API_TOKEN")
    own_variables: ClassVar[tuple[str, ...]] = ("AUGMENT_*",)
    session_variables: ClassVar[tuple[str, ...]] = ("AUGMENT_AGENT", "AUGMENT_SESSION_ID")
    # Under "write" the model has no shell: no tests, no commits.
    default_permissions: ClassVar[Permissions] = "full"
    permissions_offered: ClassVar[tuple[Permissions, ...]] = ("read", "write", "full")
    state_paths: ClassVar[tuple[str, ...]] = ("~/.augment",)
    # A script that they name for its start is run, whatever the permissions.
    project_code: ClassVar[tuple[str, ...]] = (".augment/settings.json", ".augment/settings.local.json")
    reports_progress: ClassVar[bool] = False

    def command_spec(self, request: RunRequest[Settings]) -> CommandSpec:
        settings = request.settings
        arguments = ["--print", "--output-format", "json", "--instruction-file", str(request.work_dir / _PROMPT_FILE)]
        files = {_PROMPT_FILE: request.prompt_bytes}
        for tool in _DENIED[request.permissions]:
            arguments += ["--permission", f"{tool}:deny"]
        if settings.patience_s:
            # It is patient without end and tells nothing of it, so that our own clock cannot be.
            arguments += ["--retry-timeout", str(max(1, round(settings.patience_s)))]
        if settings.model:
            arguments += ["--model", settings.model]
        if settings.max_turns:
            arguments += ["--max-turns", str(settings.max_turns)]
        for path in settings.rules:
            arguments += ["--rules", path]
        if request.session is not None:
            arguments += ["--resume", request.session.id]
        if request.tools is not None:
            files[_MCP_FILE] = request.tools.as_mcp_servers()
            arguments += ["--mcp-config", str(request.work_dir / _MCP_FILE)]
        if request.has_own_state:
            arguments += ["--augment-cache-dir", str(request.state_directory)]
        return CommandSpec(
            arguments=[*arguments, *settings.extra_args],
            files=files,
            environment={"AUGMENT_DISABLE_AUTO_UPDATE": "1", "NO_COLOR": "1"},
        )

    def reader(self, state: RunState, request: RunRequest[Settings]) -> AuggieReader:
        home = Path(request.environment.get("HOME", "~")).expanduser()
        sessions = (request.state_directory if request.has_own_state else home / ".augment") / "sessions"

        def asked(session_id: str) -> bool | None:
            return was_asked(sessions / f"{Path(session_id).name}.json", request.prompt)

        return AuggieReader(state, request.tools.name if request.tools else "", asked)
