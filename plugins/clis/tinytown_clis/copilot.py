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
    Failure,
    JsonLinesReader,
    Launch,
    Permissions,
    Plan,
    Record,
    RunNotes,
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
    # Under "write" it refuses each command of the shell: no tests, no commits.
    default_permissions: ClassVar[Permissions] = "full"
    permissions_offered: ClassVar[tuple[Permissions, ...]] = ("read", "write", "full")

    def plan(self, launch: Launch[CliSettings]) -> Plan:
        settings = launch.settings
        arguments = ["--output-format", "json", "--no-ask-user", *_ALLOWED[launch.permissions]]
        files: dict[str, bytes] = {}
        if settings.model:
            arguments += ["--model", settings.model]
        if launch.session is not None:
            arguments.append(f"--resume={launch.session.id}")
        if launch.tools is not None:
            files[_MCP_FILE] = launch.tools.claude_style(type="local", tools=["*"])
            arguments += ["--additional-mcp-config", f"@{launch.place / _MCP_FILE}"]
            if launch.permissions != "full":
                arguments += ["--allow-tool", launch.tools.name]
        environment: dict[str, str | None] = {"COPILOT_AUTO_UPDATE": "false", "NO_COLOR": "1"}
        if launch.has_own_state:
            environment["COPILOT_HOME"] = str(launch.state)
        return Plan(
            arguments=[*arguments, *settings.extra_args],
            stdin=launch.prompt.encode("utf-8", "replace"),
            files=files,
            environment=environment,
            first_signal=signal.SIGINT,
        )

    def reader(self, notes: RunNotes, launch: Launch[CliSettings]) -> CopilotReader:
        return CopilotReader(notes, launch.tools.name if launch.tools else "")


class CopilotReader(JsonLinesReader):
    """One run of Copilot CLI. `tools_name` is what the town's MCP server was called, empty without one."""

    def __init__(self, notes: RunNotes, tools_name: str = "") -> None:
        super().__init__(notes)
        self._tools_name = tools_name

    def take(self, record: Record) -> None:
        notes, data = self.notes, record.record("data")
        match record.text("type"):
            case "session.mcp_servers_loaded":
                for server in data.records("servers"):
                    if server.text("name") == self._tools_name and server.text("status") == "failed":
                        notes.warn("the town's tools are not there: its MCP server has failed")
            case "model.call_failure":
                status = data.count("statusCode") or None
                notes.retry(failure_of(data.text("errorMessage"), status=status, otherwise="unreachable"))
            case "abort":
                notes.fail(Failure(kind="other", reason=f"it was aborted: {data.text('reason')}"))
            case "assistant.message":
                notes.say(data.text("content"))
                for call in data.records("toolRequests"):
                    notes.start_tool(call.text("name"), call.brief("arguments", keys=_ABOUT))
            case "tool.execution_complete":
                problem = data.text("error", "message") or data.text("result", "content") or "it was refused"
                notes.end_tool("" if data.flag("success") else problem[:200])
            case "session.error":
                status = data.count("statusCode") or None
                notes.fail(failure_of(f"{data.text('message')} ({data.text('errorType')})", status=status))
            case "session.warning":
                notes.warn(data.text("message"))
            case "result":
                self._result(record)
            case _:
                pass

    def end(self, ended: Exit) -> None:
        """A missing login and an unknown session are told on standard error alone."""
        if ended.status and not self.notes.is_final:
            found = failure_of(ended.stderr_tail)
            if found.kind in ("unauthorized", "no_session"):
                self.notes.fail(found)

    def _result(self, record: Record) -> None:
        """Of usage it tells requests and milliseconds, no tokens."""
        self.notes.session(record.text("sessionId"))
        self.notes.finish()
