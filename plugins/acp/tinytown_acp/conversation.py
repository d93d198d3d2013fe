"""One round over the Agent Client Protocol: open a session, prompt, follow what the agent does, answer what it asks.

Source: agentclientprotocol.com, protocol version 1: JSON-RPC 2.0, one message a line. Nothing is offered to the agent that
would act outside of its own process: it reads and writes files, and runs commands, by itself and in its box.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from tinytown.contracts import Diff, Plan, PlanEntry, Said, ToolCall, Usage
from tinytown_adapters import (
    Failure,
    FailureKind,
    JsonRpcReader,
    Record,
    RpcRefused,
    RunRequest,
    RunState,
    ask_permission,
)

from tinytown_acp.settings import AcpSettings

_VERSION = 1
_AUTH_REQUIRED = -32000
_CHUNK = 8192  # characters of a text that are reported at once at most
_DIFF_LENGTH = 40_000  # characters of both texts that are compared at most
_TOOL_STATUS = {"pending": "pending", "in_progress": "running", "completed": "completed", "failed": "failed"}
_PLAN_STATUS = {"pending": "pending", "in_progress": "running", "completed": "completed"}
_STOPPED = {
    "max_tokens": "the model reached its limit of tokens",
    "max_turn_requests": "the agent reached its limit of requests",
    "refusal": "the agent refused to continue",
    "cancelled": "the agent cancelled its turn",
}


class Conversation(JsonRpcReader):
    """Reads what the agent says (`read`), and drives it (`converse`)."""

    def __init__(self, state: RunState, request: RunRequest[AcpSettings], *, mode: str = "") -> None:
        super().__init__(state)
        self._request = request
        self._mode = mode
        self._used = Usage()  # as far as it is reported with the text
        self._is_replaying = False
        self._tools: dict[str, str] = {}  # those in use, by id: what they are called

    # -- what the agent says

    def on_notification(self, method: str, params: Record) -> None:
        if method == "session/update" and not self._is_replaying:
            self._update(params.record("update"))

    def _update(self, update: Record) -> None:
        state, report = self.state, self.state.report
        match update.text("sessionUpdate"):
            case "agent_message_chunk":
                state.add_delta(update.text("content", "text")[:_CHUNK])
                self._add_usage(update.record("_meta", "usage"))
            case "agent_thought_chunk":
                report.activity(Said(text=update.text("content", "text")[:_CHUNK], thought=True))
            case "tool_call" | "tool_call_update":
                self._tool(update)
            case "plan":
                entries = tuple(
                    PlanEntry(text=entry.text("content"), status=_PLAN_STATUS.get(entry.text("status"), "pending"))  # type: ignore[arg-type]
                    for entry in update.records("entries")
                )
                report.activity(Plan(entries=entries))
            case _:
                pass

    def _add_usage(self, used: Record) -> None:
        """What one answer of the model consumed: some agents report it so, and not at the end of the turn."""
        if used:
            before = self._used
            self._used = Usage(
                input_tokens=before.input_tokens + used.count("inputTokens"),
                output_tokens=before.output_tokens + used.count("outputTokens"),
                cached_tokens=before.cached_tokens + used.count("cachedReadTokens"),
            )
            self.state.set_usage(self._used)

    def _tool(self, update: Record) -> None:
        id_ = update.text("toolCallId")
        title = update.text("title") or self._tools.get(id_) or update.text("kind") or "a tool"
        status = _TOOL_STATUS.get(update.text("status"), "running")
        if id_ not in self._tools and status not in ("completed", "failed"):
            self._tools[id_] = title
            self.state.start_tool(title)
        elif id_ in self._tools and status not in ("completed", "failed"):
            self._tools[id_] = title
        elif id_ in self._tools and status in ("completed", "failed"):
            del self._tools[id_]
            self.state.end_tool(title if status == "failed" else "")
        paths = tuple(location.text("path") for location in update.records("locations"))
        self.state.report.activity(
            ToolCall(id=id_, title=title, kind=update.text("kind") or "other", status=status, paths=paths)  # type: ignore[arg-type]
        )
        for part in update.records("content"):
            if part.text("type") == "diff":
                self.state.report.activity(Diff(path=part.text("path"), diff=_unified_diff(part)))

    # -- what the agent gets

    async def turn(self) -> None:
        """One turn of the agent: from its greeting to the end of its answer."""
        able = await self.call(
            "initialize",
            protocolVersion=_VERSION,
            clientCapabilities={"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False},
            clientInfo={"name": "tinytown", "title": "Tinytown", "version": "1"},
        )
        if able.count("protocolVersion") != _VERSION:
            reason = f"the agent speaks version {able.get('protocolVersion')} of the protocol, expected {_VERSION}"
            self.state.fail(Failure(kind="other", reason=reason))
            self.state.finish()
            return
        session_id = await self._session(able)
        self.state.session(session_id)
        settings = self._request.settings
        if self._mode:
            await self.call("session/set_mode", sessionId=session_id, modeId=self._mode)
        if settings.model:
            await self.call("session/set_model", sessionId=session_id, modelId=settings.model)
        for option, value in settings.options.items():
            await self.call("session/set_config_option", sessionId=session_id, configId=option, value=value)
        prompt = [{"type": "text", "text": self._request.prompt_bytes.decode()}]
        answer = await self.call("session/prompt", sessionId=session_id, prompt=prompt)
        self._end_turn(answer)

    async def _session(self, able: Record) -> str:
        """The id of the session to work in: a fork, the former one if the agent can load it, or else a new one."""
        tools, session = self._request.tools, self._request.session
        server = (
            [{"name": tools.name, "command": tools.command, "args": [*tools.arguments], "env": []}] if tools else []
        )
        about: dict[str, Any] = {"cwd": str(self._request.directory), "mcpServers": server}
        forks = session is not None and self._request.forks
        if session is None or not (forks or able.flag("agentCapabilities", "loadSession")):
            return (await self.call("session/new", **about)).text("sessionId")
        if forks and able.get("agentCapabilities", "sessionCapabilities", "fork") is None:
            raise RpcRefused(Record({"code": 0, "message": "no session found: the agent does not offer session/fork"}))
        self._is_replaying = True  # it tells all that was said before
        try:
            opened = await self.call("session/fork" if forks else "session/load", sessionId=session.id, **about)
        except RpcRefused as refused:
            if refused.code == _AUTH_REQUIRED:
                raise
            raise RpcRefused(Record({"code": 0, "message": f"no session found: {refused.message}"})) from refused
        finally:
            self._is_replaying = False
        return opened.text("sessionId") if forks else session.id

    def _end_turn(self, answer: Record) -> None:
        used = answer.record("usage")
        if used:
            cached = used.count("cachedReadTokens")
            given = used.count("inputTokens") + cached + used.count("cachedWriteTokens")
            self.state.set_usage(
                Usage(input_tokens=given, output_tokens=used.count("outputTokens"), cached_tokens=cached)
            )
        reason = answer.text("stopReason")
        if reason != "end_turn":
            kind: FailureKind = (
                "refused" if reason == "refusal" else "limit_reached" if reason.startswith("max_") else "other"
            )
            self.state.fail(
                Failure(kind=kind, reason=_STOPPED.get(reason, f"the agent stopped: {reason or 'no reason'}"))
            )
        self.state.finish()

    def failure_of(self, refused: RpcRefused) -> Failure:
        if refused.code == _AUTH_REQUIRED:
            return Failure(kind="unauthorized", reason=refused.message or "the agent is not logged in")
        return super().failure_of(refused)

    # -- what it asks

    async def answer(self, method: str, params: Record) -> Mapping[str, Any] | None:
        if method != "session/request_permission":
            return None
        option = await self._permission(params)
        return {"outcome": {"outcome": "selected", "optionId": option} if option else {"outcome": "cancelled"}}

    async def _permission(self, params: Record) -> str:
        """The id of the option that is chosen; empty for none."""
        self._tool(params.record("toolCall"))  # some agents name the tool here alone
        offered = {option.text("kind"): option.text("optionId") for option in params.records("options")}
        title = params.text("toolCall", "title") or params.text("toolCall", "kind") or "use a tool"
        allowed = not self._request.settings.ask or await ask_permission(self.state, self._request, title)
        verdict = "allow" if allowed else "reject"
        return offered.get(f"{verdict}_once") or offered.get(f"{verdict}_always") or ""


def _unified_diff(part: Record) -> str:
    """The change of a file; only its new text where comparing would take long."""
    old, new = part.text("oldText"), part.text("newText")
    if len(old) + len(new) > _DIFF_LENGTH:
        return new[:_DIFF_LENGTH]
    path = part.text("path")
    return "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"a/{path}", f"b/{path}"))
