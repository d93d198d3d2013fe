"""Gemini CLI: headless because its prompt comes on standard input, ``-o stream-json`` for one JSON record a line.

Source: its ``--help``, its shipped code, and version 0.61.0 seen running. `init` opens a run, `message` carries the
prompt and pieces of the answer, `tool_use` and `tool_result` the tools, `result` closes it. That it tries again is reported on
standard error alone, and errors of the server are reported as text with JSON in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

import msgspec
from tinytown.contracts import Usage
from tinytown.process import Exit
from tinytown_adapters import (
    CliAdapter,
    CliSettings,
    CommandSpec,
    Failure,
    JsonLinesReader,
    Permissions,
    Record,
    RunRequest,
    RunState,
    failure_of,
)

_SETTINGS_FILE = "state/.gemini/settings.json"
_ATTEMPTS = 4
_APPROVAL: Mapping[Permissions, str] = {"read": "default", "write": "auto_edit", "full": "yolo"}
_ABOUT = ("command", "file_path", "path", "dir_path", "pattern", "query", "url")
#: ``Attempt 2 failed with status 429. Retrying with backoff... _ApiError: {...}``
_RETRY = re.compile(r"Attempt \d+ failed(?: with status (\d+))?\. Retrying")
_CODE = re.compile(r'"code":\s*(\d{3})')


class GeminiAdapter(CliAdapter[CliSettings]):
    """Gemini CLI. It is node; without GEMINI_CLI_NO_RELAUNCH the process that is started ignores signals."""

    plugin: ClassVar[str] = "clis.gemini"
    kind: ClassVar[str] = "gemini"
    tool_names: ClassVar[str] = "mcp_town_{}"
    title: ClassVar[str] = "Gemini CLI"
    command: ClassVar[tuple[str, ...]] = ("gemini",)
    install: ClassVar[str] = "npm install -g @google/gemini-cli"
    login: ClassVar[str] = "log in with gemini, or set GEMINI_API_KEY before the kernel starts"
    login_variables: ClassVar[tuple[str, ...]] = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    own_variables: ClassVar[tuple[str, ...]] = ("GEMINI_*", "GOOGLE_*")
    session_variables: ClassVar[tuple[str, ...]] = ("GEMINI_CLI", "GEMINI_SESSION*")
    # Under "write" it does not offer the model a shell at all: no tests, no commits.
    default_permissions: ClassVar[Permissions] = "full"
    permissions_offered: ClassVar[tuple[Permissions, ...]] = ("read", "write", "full")
    # Without trust in the folder it does nothing at all, and with it these run.
    project_code: ClassVar[tuple[str, ...]] = (".gemini/settings.json", ".gemini/extensions", ".gemini/.env")
    state_paths: ClassVar[tuple[str, ...]] = ("~/.gemini",)
    tools_need_own_state: ClassVar[bool] = True
    sessions_stay_in_directory: ClassVar[bool] = True

    def command_spec(self, request: RunRequest[CliSettings]) -> CommandSpec:
        settings = request.settings
        arguments = ["--output-format", "stream-json", "--approval-mode", _APPROVAL[request.permissions]]
        if settings.model:
            arguments += ["--model", settings.model]
        if request.session is not None:
            arguments += ["--resume", request.session.id]
        files: dict[str, bytes] = {}
        environment: dict[str, str | None] = {
            "GEMINI_CLI_NO_RELAUNCH": "true",
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            "NO_COLOR": "1",
        }
        if request.has_own_state:
            files[_SETTINGS_FILE] = _settings(request)
            environment["GEMINI_CLI_HOME"] = str(request.state_directory)
        return CommandSpec(
            arguments=[*arguments, *settings.extra_args],
            # It reads each @name as a file to attach; so escaped the model sees the backslash, too.
            stdin=request.prompt_bytes.replace(b"@", b"\\@"),
            files=files,
            environment=environment,
        )

    def reader(self, state: RunState, request: RunRequest[CliSettings]) -> GeminiReader:
        return GeminiReader(state)

    def warnings(self, settings: CliSettings, permissions: Permissions, environment: Collection[str]) -> Sequence[str]:
        own = settings.state == "agent" or (
            settings.state == "auto" and any(name in environment for name in self.login_variables)
        )
        if own or not settings.town_tools:
            return []
        return [
            "Gemini CLI takes the town's tools from its own settings alone, and those of yours are left as they are: with"
            " your login its models use tt in their shell; with GEMINI_API_KEY they get the tools"
        ]


def _settings(request: RunRequest[CliSettings]) -> bytes:
    """Settings for what has no option: its patience, its updates, the login by key, the town's tools."""
    settings: dict[str, object] = {
        "general": {"maxAttempts": _ATTEMPTS, "enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    }
    if request.environment.get("GEMINI_API_KEY"):
        # With a base URL of one's own and nothing selected it takes a way to log in that it then refuses.
        settings["security"] = {"auth": {"selectedType": "gemini-api-key"}}
    if request.tools is not None:
        server = {"command": request.tools.command, "args": request.tools.arguments, "trust": True}
        settings["mcpServers"] = {request.tools.name: server}
    return msgspec.json.encode(settings)


class GeminiReader(JsonLinesReader):
    """One run of Gemini CLI."""

    def on_record(self, record: Record) -> None:
        state = self.state
        if session_id := record.text("session_id"):
            state.session(session_id)
        match record.text("type"):
            case "message" if record.text("role") == "assistant":
                state.add_delta(record.text("content"))
            case "tool_use":
                state.start_tool(record.text("tool_name"), record.brief("parameters", keys=_ABOUT))
            case "tool_result":
                failed = record.text("status") != "success"
                state.end_tool((record.text("error", "message") or record.text("output"))[:200] if failed else "")
            case "error":
                state.warn(record.text("message"))
            case "result":
                self._result(record)
            case _:
                pass

    def on_stderr(self, text: str) -> None:
        if found := _RETRY.search(text):
            status = int(found[1]) if found[1] else None
            self.state.retry(failure_of(text, status=status, otherwise="unreachable"))

    def end(self, ended: Exit) -> None:
        """What went wrong before the first record is reported on standard error, below a stack trace, and by the status."""
        if self.state.is_final or not ended.status:
            return
        reason = _last_message(ended.stderr_tail)
        match ended.status:
            case 41:
                self.state.fail(Failure(kind="unauthorized", reason=reason))
            case 42 if "session" in reason.lower():
                self.state.fail(Failure(kind="no_session", reason=reason))
            case 53:
                self.state.fail(Failure(kind="limit_reached", reason=reason))
            case _:
                pass

    def _result(self, record: Record) -> None:
        state, stats = self.state, record.record("stats")
        if stats:
            state.set_usage(
                Usage(
                    input_tokens=stats.count("input_tokens"),
                    output_tokens=stats.count("output_tokens"),
                    cached_tokens=stats.count("cached"),
                )
            )
        if record.text("status") == "error":
            text = record.text("error", "message") or record.text("error", "type")
            code = _CODE.search(text)
            state.fail(failure_of(text, status=int(code[1]) if code else None))
        state.finish()


def _last_message(stderr: str) -> str:
    """The message in the JSON that it prints at the very end of its standard error; else the last line of that."""
    start = stderr.rfind("\n{")
    try:
        found = msgspec.json.decode(stderr[start:], type=dict[str, object]) if start >= 0 else {}
    except ValueError:
        found = {}
    return Record(found).text("error", "message") or stderr.strip().rpartition("\n")[2] or "no reason was given"
