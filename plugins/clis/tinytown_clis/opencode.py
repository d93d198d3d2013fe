"""opencode: ``opencode run --format json`` with the prompt on standard input, one JSON record a line.

Source: its ``--help``, its documentation (opencode.ai/docs, "Config" and "CLI"), and version 1.18.33 seen running. `text`
carries a text of the model's, `tool_use` a tool call that is over, `step_finish` the end of one answer of the model, with
what it consumed and why it stopped; `error` ends a run. That it tries again after an error of the server is in its
log alone, which it prints to standard error when asked to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import msgspec
from tinytown.contracts import Usage
from tinytown.process import Exit
from tinytown_adapters import (
    CliAdapter,
    CliSettings,
    CommandSpec,
    Failure,
    FailureKind,
    JsonLinesReader,
    Permissions,
    Record,
    RunCli,
    RunRequest,
    RunState,
    SessionSource,
    TakenSession,
    failure_of,
)

from tinytown_clis.opencode_forks import copy_session

_ABOUT = ("command", "filePath", "path", "pattern", "query", "url", "description")
#: A call of the model that failed. It asks for a title, too (small=true), and can do without.
_STREAM_ERROR = re.compile(r'level=ERROR .*message="stream error".* small=false .*error\.error="((?:[^"\\]|\\.)*)"')
#: Errors whose name says more than their text.
_KINDS: Mapping[str, FailureKind] = {"ProviderAuthError": "unauthorized", "ContentFilterError": "refused"}
_PERMISSIONS: Mapping[Permissions, Mapping[str, str]] = {
    "read": {"edit": "deny", "bash": "deny", "external_directory": "deny"},
    "write": {"edit": "allow", "bash": "deny", "external_directory": "deny"},
    "full": {},
}


class OpencodeAdapter(CliAdapter[CliSettings]):
    """opencode. The command of its npm package is the program itself."""

    plugin: ClassVar[str] = "clis.opencode"
    kind: ClassVar[str] = "opencode"
    tool_names: ClassVar[str] = "town_{}"
    title: ClassVar[str] = "opencode"
    command: ClassVar[tuple[str, ...]] = ("opencode",)
    install: ClassVar[str] = "npm install -g opencode-ai"
    login: ClassVar[str] = "log in with opencode auth login, or set your provider's key before the kernel starts"
    login_variables: ClassVar[tuple[str, ...]] = ("OPENCODE_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY")
    own_variables: ClassVar[tuple[str, ...]] = ("OPENCODE_*",)
    session_variables: ClassVar[tuple[str, ...]] = ("OPENCODE_PID", "OPENCODE_SERVER*", "OPENCODE_SESSION*")
    # Under "write" it refuses each command of the shell: no tests, no commits.
    default_permissions: ClassVar[Permissions] = "full"
    permissions_offered: ClassVar[tuple[Permissions, ...]] = ("read", "write", "full")
    project_code: ClassVar[tuple[str, ...]] = (".opencode",)  # its plugins run in spite of --pure
    # Resumed elsewhere, it works in the directory of the session, and waits for ever for the end of the turn.
    sessions_stay_in_directory: ClassVar[bool] = True
    forks_sessions: ClassVar[bool] = True
    state_paths: ClassVar[tuple[str, ...]] = (
        "~/.local/share/opencode",
        "~/.local/state/opencode",
        "~/.config/opencode",
    )

    def command_spec(self, request: RunRequest[CliSettings]) -> CommandSpec:
        settings = request.settings
        arguments = ["run", "--format", "json", "--print-logs", "--log-level", "ERROR"]
        if request.permissions == "full":
            arguments.append("--auto")
        if settings.model:
            arguments += ["--model", settings.model]
        if request.session is not None:
            arguments += ["--session", request.session.id]
        environment: dict[str, str | None] = {
            # The highest of its configurations, merged over a person's own.
            "OPENCODE_CONFIG_CONTENT": _configuration(request),
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "NO_COLOR": "1",
        }
        if not request.trusts_project:
            environment["OPENCODE_DISABLE_PROJECT_CONFIG"] = "1"
        if request.has_own_state:
            # Its sessions alone: XDG_DATA_HOME would move what the model's commands keep there, too.
            environment["OPENCODE_DB"] = str(request.state_directory / "opencode.db")
            if request.boxed:  # where the home directory is read-only: what else it keeps beside them
                environment |= dict.fromkeys(("XDG_DATA_HOME", "XDG_STATE_HOME"), str(request.state_directory))
                if not Path(request.environment.get("HOME", "/"), ".config", "opencode").exists():
                    environment["XDG_CONFIG_HOME"] = str(request.state_directory)
        return CommandSpec(
            arguments=[*arguments, *settings.extra_args],
            stdin=request.prompt_bytes,
            environment=environment,
        )

    async def take_session(self, source: SessionSource, request: RunRequest[CliSettings], run: RunCli) -> TakenSession:
        return await copy_session(source, request, run, self.command_spec(request).environment)

    def reader(self, state: RunState, request: RunRequest[CliSettings]) -> OpencodeReader:
        return OpencodeReader(state)


def _configuration(request: RunRequest[CliSettings]) -> str:
    """What has no option: permissions, sharing, the town's tools. On top of what the environment says already."""
    given = _record(request.environment.get("OPENCODE_CONFIG_CONTENT", ""))
    ours: dict[str, object] = {"share": "disabled", "autoupdate": False}
    if _PERMISSIONS[request.permissions]:
        ours["permission"] = _PERMISSIONS[request.permissions]
    if request.tools is not None:
        server = {"type": "local", "command": [request.tools.command, *request.tools.arguments], "enabled": True}
        known = given.get("mcp")
        ours["mcp"] = {**(known if isinstance(known, dict) else {}), request.tools.name: server}
    return msgspec.json.encode({**given, **ours}).decode()


def _record(text: str) -> dict[str, object]:
    try:
        return msgspec.json.decode(text, type=dict[str, object]) if text else {}
    except ValueError:
        return {}


class OpencodeReader(JsonLinesReader):
    """One run of opencode."""

    def __init__(self, state: RunState) -> None:
        super().__init__(state)
        self._used = Usage()

    def on_record(self, record: Record) -> None:
        state, part = self.state, record.record("part")
        state.session(record.text("sessionID"))
        match record.text("type"):
            case "text":
                state.add_text(part.text("text"))
            case "tool_use":
                # It is reported when it is over.
                state.start_tool(part.text("tool"), part.brief("state", "input", keys=_ABOUT))
                failed = part.text("state", "status") == "error"
                state.end_tool((part.text("state", "error") or "it failed")[:200] if failed else "")
            case "step_finish":
                self._finish_step(part)
            case "error":
                state.fail(_failure(record.record("error")))
            case _:
                pass

    def on_stderr(self, text: str) -> None:
        if found := _STREAM_ERROR.search(text):
            self.state.retry(failure_of(found[1], otherwise="server_error"))

    def end(self, ended: Exit) -> None:
        """A run may end with an error of which standard error alone tells."""
        if ended.status and "Session not found" in ended.stderr_tail:
            self.state.fail(Failure(kind="no_session", reason="Session not found"))
        elif ended.status and self.state.retrying is not None:
            self.state.fail(self.state.retrying)

    def _finish_step(self, part: Record) -> None:
        tokens, before = part.record("tokens"), self._used
        cached = tokens.count("cache", "read")
        self._used = Usage(
            input_tokens=before.input_tokens + tokens.count("input") + tokens.count("cache", "write") + cached,
            output_tokens=before.output_tokens + tokens.count("output") + tokens.count("reasoning"),
            cached_tokens=before.cached_tokens + cached,
            # A price of nothing is that of a model whose price it does not know.
            cost_usd=(before.cost_usd or 0.0) + (part.number("cost") or 0.0) or None,
        )
        self.state.set_usage(self._used)
        if part.text("reason") != "tool-calls":
            self.state.finish()


def _failure(error: Record) -> Failure:
    """Of ``{"name": "APIError", "data": {"message": .., "statusCode": .., "responseHeaders": {..}}}``."""
    name, data = error.text("name"), error.record("data")
    after = data.text("responseHeaders", "retry-after")
    text = f"{data.text('message') or name}" + (f" (retry-after: {after})" if after else "")
    if name in _KINDS:
        return Failure(kind=_KINDS[name], reason=text)
    return failure_of(text, status=data.count("statusCode") or None)
