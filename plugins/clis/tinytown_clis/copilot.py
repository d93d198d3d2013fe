"""GitHub Copilot CLI: headless because its prompt comes on standard input, ``--output-format json`` for one record a line.

Source: its ``--help``, and version 1.0.102 seen running. Most records are pieces of what comes whole later.
`assistant.message` carries the answer and the calls of tools, `model.call_failure` says that it will try again,
`session.error` that it gave up, `result` closes the run: with an `exitCode` of 0 also after an `abort`.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import ClassVar

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

_MCP_FILE = "copilot-mcp.json"
_ABOUT = ("command", "path", "file_path", "pattern", "query", "url", "description")
_ALLOWED: Mapping[Permissions, Sequence[str]] = {
    "read": ("--deny-tool", "write", "--deny-tool", "shell"),
    "write": ("--allow-tool", "write"),
    "full": ("--allow-all",),
}


class CopilotAdapter(CliAdapter[CliSettings]):
    """Copilot CLI. The process that is started is a wrapper: the one that works is its child, in the same group."""

    plugin: ClassVar[str] = "clis.copilot"
    kind: ClassVar[str] = "copilot"
    tool_names: ClassVar[str] = "town-{}"
    title: ClassVar[str] = "GitHub Copilot CLI"
    command: ClassVar[tuple[str, ...]] = ("copilot",)
    install: ClassVar[str] = "npm install -g @github/copilot"
    login: ClassVar[str] = "log in with copilot login, or set COPILOT_GITHUB_TOKEN before the kernel starts"
    login_variables: ClassVar[tuple[str, ...]] = (
        "COPILOT_GITHUB_TOKEN",
        "GH_TOKEN",
        "GITHUB_TOKEN",
        "COPILOT_PROVIDER_API_KEY",
    )
    own_variables: ClassVar[tuple[str, ...]] = ("COPILOT_*",)
    session_variables: ClassVar[tuple[str, ...]] = ("COPILOT_AGENT_*", "COPILOT_CLI*")
    # Under "write" it refuses each command of the shell: no tests, no commits.
    default_permissions: ClassVar[Permissions] = "full"
    permissions_offered: ClassVar[tuple[Permissions, ...]] = ("read", "write", "full")
    state_paths: ClassVar[tuple[str, ...]] = ("~/.copilot",)

    def command_spec(self, request: RunRequest[CliSettings]) -> CommandSpec:
        settings = request.settings
        arguments = ["--output-format", "json", "--no-ask-user", *_ALLOWED[request.permissions]]
        arguments += ["-C", str(request.directory)]  # else a resumed session works where it was made
        files: dict[str, bytes] = {}
        if settings.model:
            arguments += ["--model", settings.model]
        if request.session is not None:
            arguments.append(f"--resume={request.session.id}")
        if request.tools is not None:
            files[_MCP_FILE] = request.tools.as_mcp_servers(type="local", tools=["*"])
            arguments += ["--additional-mcp-config", f"@{request.work_dir / _MCP_FILE}"]
            if request.permissions != "full":
                arguments += ["--allow-tool", request.tools.name]
        environment: dict[str, str | None] = {"COPILOT_AUTO_UPDATE": "false", "NO_COLOR": "1"}
        if not request.trusts_project:
            environment["COPILOT_ALLOW_ALL"] = (
                None  # it would trust the workspace's hooks, MCP servers and plugins, too
            )
        if request.has_own_state:
            environment["COPILOT_HOME"] = str(request.state_directory)
        return CommandSpec(
            arguments=[*arguments, *settings.extra_args],
            stdin=request.prompt_bytes,
            files=files,
            environment=environment,
            first_signal=signal.SIGINT,
        )

    def reader(self, state: RunState, request: RunRequest[CliSettings]) -> CopilotReader:
        return CopilotReader(state, request.tools.name if request.tools else "")


class CopilotReader(JsonLinesReader):
    """One run of Copilot CLI. `tools_name` is what the town's MCP server was called, empty without one."""

    def __init__(self, state: RunState, tools_name: str = "") -> None:
        super().__init__(state)
        self._tools_name = tools_name

    def on_record(self, record: Record) -> None:
        state, data = self.state, record.record("data")
        match record.text("type"):
            case "session.mcp_servers_loaded":
                for server in data.records("servers"):
                    if server.text("name") == self._tools_name and server.text("status") == "failed":
                        state.warn("the town's tools are unavailable: MCP server failed")
            case "model.call_failure":
                status = data.count("statusCode") or None
                state.retry(failure_of(data.text("errorMessage"), status=status, otherwise="unreachable"))
            case "abort":
                state.fail(Failure(kind="other", reason=f"it was aborted: {data.text('reason')}"))
            case "assistant.message":
                state.add_text(data.text("content"))
                for call in data.records("toolRequests"):
                    state.start_tool(call.text("name"), call.brief("arguments", keys=_ABOUT))
            case "tool.execution_complete":
                problem = data.text("error", "message") or data.text("result", "content") or "it was refused"
                state.end_tool("" if data.flag("success") else problem[:200])
            case "session.error":
                status = data.count("statusCode") or None
                state.fail(failure_of(f"{data.text('message')} ({data.text('errorType')})", status=status))
            case "session.warning":
                state.warn(data.text("message"))
            case "result":
                self._result(record)
            case _:
                pass

    def end(self, ended: Exit) -> None:
        """A missing login and an unknown session are reported on standard error alone."""
        if ended.status and not self.state.is_final:
            found = failure_of(ended.stderr_tail)
            if found.kind in ("unauthorized", "no_session"):
                self.state.fail(found)

    def _result(self, record: Record) -> None:
        """Of usage it tells requests and milliseconds, no tokens."""
        self.state.session(record.text("sessionId"))
        self.state.finish()
