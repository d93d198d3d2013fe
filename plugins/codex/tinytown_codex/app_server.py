"""One round over Codex's app server: open a thread, start a turn, follow it, answer what it asks, and steer it with mail.

Source: ``codex app-server generate-ts`` of Codex 0.171.0, and what was seen running. A message that comes during a turn is
shown to the model with the next result of a tool, or after its answer; it is repeated then as an item, with its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import trio
from tinytown.contracts import Usage
from tinytown.errors import ProcessFailed
from tinytown.process import Exit
from tinytown_adapters import (
    CliSettings,
    Failure,
    FailureKind,
    JsonRpcReader,
    Permissions,
    Record,
    RpcRefused,
    RunRequest,
    RunState,
    ask_permission,
    failure_of,
    usage_since,
)

from tinytown_codex.items import Tools, end_tool, start_tool
from tinytown_codex.schemas import may_hold_to

_SANDBOXES: Mapping[Permissions, str] = {
    "read": "read-only",
    "write": "workspace-write",
    "full": "danger-full-access",
}
_TOOLS: Tools = {
    "commandExecution": ("shell", ("command",)),
    "mcpToolCall": ("", ("arguments",)),
    "webSearch": ("web search", ("query",)),
    "collabAgentToolCall": ("agents", ("tool", "prompt")),
}
#: What an error's kind says where its text says nothing.
_KINDS: Mapping[str, FailureKind] = {
    "bioPolicy": "refused",
    "contextWindowExceeded": "context_too_long",
    "cyberPolicy": "refused",
    "internalServerError": "server_error",
    "misalignmentPolicyViolation": "refused",
    "modelNotFound": "model_unknown",
    "rateLimitExceeded": "rate_limited",
    "serverOverloaded": "overloaded",
    "unauthorized": "unauthorized",
    "usageLimitExceeded": "rate_limited",
}
_APPROVALS = {
    "item/commandExecution/requestApproval": "run",
    "item/fileChange/requestApproval": "change files",
}
_NO_SUCH_TOOLS = "required mcp servers failed to initialize"


class AppServerReader(JsonRpcReader):
    """One run of the app server: one turn of one thread."""

    def __init__(self, state: RunState, request: RunRequest[CliSettings]) -> None:
        super().__init__(state)
        self._request = request
        self._before = (request.session.used if request.session else None) or Usage()
        self._thread_id = self._turn_id = ""
        self._by_thread: dict[str, Usage] = {}  # sub-agents have threads of their own
        self._mail: dict[str, trio.Event] = {}  # by id, what the model has not been shown yet
        self._texts: list[str] = []  # that mail has come after
        self._last_error = ""
        self._over = trio.Event()

    # -- what Codex is asked to do

    async def turn(self) -> None:
        """From the greeting to the end of the answer."""
        client = {"name": "tinytown", "title": "Tinytown", "version": "1"}
        await self.call("initialize", clientInfo=client)
        await self.send({"method": "initialized"})
        request, session = self._request, self._request.session
        options = {
            "cwd": str(request.directory),
            "approvalPolicy": "on-request" if request.asks else "never",
            "sandbox": _SANDBOXES[request.permissions],
            **({"model": request.settings.model} if request.settings.model else {}),
        }
        if session is None:
            opened = await self.call("thread/start", **options)
        else:
            method = "thread/fork" if request.forks else "thread/resume"
            opened = await self.call(method, threadId=session.id, **options)
        self.state.session_used = self._before  # until it says what it has consumed
        self._thread_id = opened.text("thread", "id")
        self.state.session(self._thread_id)
        prompt = request.prompt_bytes.decode()
        schema = {"outputSchema": request.result_schema} if may_hold_to(request.result_schema) else {}
        started = await self.call("turn/start", threadId=self._thread_id, input=_text(prompt), **schema)
        self._turn_id = started.text("turn", "id")
        await self._over.wait()

    async def deliver(self, text: str) -> bool:
        """Show the model a text."""
        if not self._turn_id or self.state.is_final:
            return False
        id_ = str(uuid4())
        shown = self._mail[id_] = trio.Event()
        about = {"threadId": self._thread_id, "expectedTurnId": self._turn_id, "clientUserMessageId": id_}
        try:
            await self.call("turn/steer", **about, input=_text(text))
        except (RpcRefused, ProcessFailed):
            return False
        await shown.wait()
        return True

    async def answer(self, method: str, params: Record) -> Mapping[str, Any] | None:
        """Whether it may do what its sandbox does not let it."""
        if method not in _APPROVALS:
            return None
        about = params.text("command") or params.text("grantRoot") or params.text("reason")
        allowed = await ask_permission(self.state, self._request, f"{_APPROVALS[method]}: {about}")
        return {"decision": "accept" if allowed else "decline"}

    # -- what it says

    def on_notification(self, method: str, params: Record) -> None:
        match method:
            case "item/started":
                start_tool(self.state, params.record("item"), _TOOLS)
            case "item/completed":
                self._complete(params.record("item"))
            case "thread/tokenUsage/updated":
                self._use(params.text("threadId"), params.record("tokenUsage", "total"))
            case "warning" | "configWarning":
                self.state.warn(params.text("message") or params.text("summary"))
            case "error":
                error = params.record("error")
                self._last_error = error.text("message")
                if params.flag("willRetry"):
                    self.state.retry(_failure(error, error.text("additionalDetails"), "unreachable"))
            case "turn/completed" if params.text("threadId") in ("", self._thread_id):
                self._end_turn(params.record("turn"))
            case _:
                pass

    def end(self, ended: Exit) -> None:
        """A wrong setting is reported on stderr alone."""
        if ended.status and not self.state.is_final and ended.stderr_tail.strip():
            self.state.fail(failure_of(ended.stderr_tail.strip()))

    def failure_of(self, refused: RpcRefused) -> Failure:
        if _NO_SUCH_TOOLS in refused.message.lower():
            return Failure(kind="tools_missing", reason=f"the town's tools did not start: {refused.message}")
        return super().failure_of(refused)

    def _complete(self, item: Record) -> None:
        match item.text("type"):
            case "agentMessage":
                self.state.add_text(item.text("text"))
            case "userMessage":
                if (shown := self._mail.pop(item.text("clientId"), None)) is not None:
                    shown.set()
                    if self.state.answered:
                        self._texts.append(self.state.text)
            case "fileChange":
                for change in item.records("changes"):
                    kind = change.text("kind", "type") or change.text("kind") or "change"
                    self.state.log_line(f"{kind} {change.text('path')}")
            case kind if kind in _TOOLS:
                end_tool(self.state, item, output="aggregatedOutput", exit_code="exitCode")
            case _:
                pass

    def _end_turn(self, turn: Record) -> None:
        state = self.state
        if turn.text("status") != "completed":
            error = turn.record("error")
            reason = error.text("message") or self._last_error or f"the turn was {turn.text('status')}"
            state.fail(_failure(error, reason, "other"))
        answer = state.text if state.answered else ""
        if self._texts and self._request.result_schema is None:  # else the last one is the value
            answer = "\n\n".join([*self._texts, *([answer] if answer else [])])
        state.finish(answer)
        self._over.set()

    def _use(self, thread_id: str, total: Record) -> None:
        """What the thread has consumed since it was made. Its sub-agents' threads are new in each round."""
        self._by_thread[thread_id] = Usage(
            input_tokens=total.count("inputTokens"),
            output_tokens=total.count("outputTokens"),
            cached_tokens=total.count("cachedInputTokens"),
        )
        if not self._thread_id:  # what a resumed thread had consumed before; it may come ahead of the thread's id
            return
        own = self._by_thread.get(self._thread_id, self._before)
        self.state.session_used = own
        used = [usage_since(own, self._before)]
        used += [each for thread, each in self._by_thread.items() if thread != self._thread_id]
        self.state.set_usage(
            Usage(
                input_tokens=sum(each.input_tokens for each in used),
                output_tokens=sum(each.output_tokens for each in used),
                cached_tokens=sum(each.cached_tokens for each in used),
            )
        )


def _text(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text, "text_elements": []}]


def _failure(error: Record, reason: str, otherwise: FailureKind) -> Failure:
    """What went wrong: a refusal by its kind; all else by its words, the status of the model's server, or its kind."""
    kind = error.get("codexErrorInfo")
    status = next((each.count("httpStatusCode") for each in error.record("codexErrorInfo").values()), 0)
    known = _KINDS.get(kind, otherwise) if isinstance(kind, str) else otherwise
    if known == "refused":
        return Failure(kind=known, reason=reason or error.text("message"))
    return failure_of(reason or error.text("message"), status=status or None, otherwise=known)
