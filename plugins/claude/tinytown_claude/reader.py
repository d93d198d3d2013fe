"""What the records of ``--output-format stream-json`` mean, and those that it takes. Knows nothing of how the CLI is called.

Source: Claude Code 2.1.332, seen running. `init` opens a turn, `assistant` and `user` carry texts, tool calls and their
results, `system/api_retry` says that it is trying again, `result` closes the turn. A message that comes during a turn is
shown to the model with the next result of a tool, or opens another turn; it is repeated at that moment, with its id.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from uuid import uuid4

import msgspec
import trio
from tinytown.contracts import Usage
from tinytown.errors import ProcessFailed
from tinytown.process import Exit, RunningCommand
from tinytown_adapters import Failure, JsonLinesReader, Record, RunState, failure_of, usage_since

_ABOUT = ("command", "file_path", "path", "pattern", "url", "query", "description", "prompt")
#: Reasons for which a model stops before its answer is complete. Source: the Messages API, `stop_reason`.
_UNFINISHED = {
    "tool_use": "it ended in the middle of a tool call",
    "pause_turn": "it ended in the middle of a long turn",
    "max_tokens": "its answer was cut off at the limit of the model",
    "model_context_window_exceeded": "its answer was cut off at the end of the model's context",
}
_LIMITS = {"error_max_turns": "max_turns", "error_max_budget_usd": "max_budget_usd"}
_LONGEST_PROBLEM = 200
_REQUESTS = 64


class ClaudeReader(JsonLinesReader):
    """One run of Claude Code. `tools_name` is what the town's MCP server was called, empty without one; `used_before` what a
    resumed session had consumed: its totals are those of the session, and include what sub-agents consume."""

    def __init__(
        self,
        state: RunState,
        tools_name: str = "",
        *,
        used_before: Usage | None = None,
        ask: Callable[[str], Awaitable[bool]] | None = None,
    ) -> None:
        super().__init__(state)
        self._ask = ask  # whether it may do something, by whoever decides that
        self._put, self._requests = trio.open_memory_channel[Record](_REQUESTS)
        self._tools_name = tools_name
        self._before = used_before or Usage()
        state.session_used = used_before
        self._since: list[Usage] = []  # what each turn has consumed, where it says so
        self._used: dict[str, Usage] = {}  # by message: its records repeat what it has consumed
        self._refused_until: float | None = (
            None  # by the limits of a subscription, in seconds since 1970; 0 if not said
        )
        self._running: RunningCommand | None = None
        self._mail: dict[str, trio.Event] = {}  # by id, what the model has not been shown yet
        self._answers: list[str] = []  # of the turns so far
        self._value = ""  # the last one that fits the schema of the task, as JSON
        self._over = trio.Event()

    async def converse(self, running: RunningCommand) -> None:
        """Until the last turn has ended; meanwhile what it asks is answered."""
        self._running = running
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._answer_requests, running)
            await self._over.wait()
            nursery.cancel_scope.cancel()

    async def deliver(self, text: str) -> bool:
        """Show the model a text."""
        if self._running is None or self.state.is_final:
            return False
        id_ = str(uuid4())
        shown = self._mail[id_] = trio.Event()
        try:
            await self._running.send(user_message(text, id_))
        except ProcessFailed:
            return False
        await shown.wait()
        return True

    async def _answer_requests(self, running: RunningCommand) -> None:
        async with trio.open_nursery() as nursery:
            async for record in self._requests:
                nursery.start_soon(self._answer, running, record)

    async def _answer(self, running: RunningCommand, record: Record) -> None:
        request = record.record("request")
        answer: dict[str, object] = {"behavior": "deny", "message": "this needs a permission that was not given"}
        if self._ask is not None and request.text("subtype") == "can_use_tool":
            what = f"{request.text('tool_name')}: {request.brief('input', keys=_ABOUT)}"
            if await self._ask(what):
                answer = {"behavior": "allow", "updatedInput": request.get("input")}
        response = {"subtype": "success", "request_id": record.text("request_id"), "response": answer}
        await running.send(msgspec.json.encode({"type": "control_response", "response": response}) + b"\n")

    def on_record(self, record: Record) -> None:
        if session_id := record.text("session_id"):
            self.state.session(session_id)
        match record.text("type"), record.text("subtype"):
            case "system", "init":
                self._begin(record)
            case "system", "api_retry":
                status = record.number("error_status")
                text = record.text("error") or "an error of the model's server"
                self.state.retry(
                    failure_of(text, status=int(status) if status is not None else None, otherwise="unreachable")
                )
            case "assistant", _:
                self._assistant(record.record("message"))
            case "user", _:
                if record.flag("isReplay") and (shown := self._mail.pop(record.text("uuid"), None)) is not None:
                    shown.set()
                for part in record.records("message", "content"):
                    if part.text("type") == "tool_result":
                        refused = part.flag("is_error")
                        self.state.end_tool(part.brief("content")[:_LONGEST_PROBLEM] if refused else "")
            case "control_request", _:
                with suppress(trio.WouldBlock):  # it would have to ask more than it can wait for
                    self._put.send_nowait(record)
            case "rate_limit_event", _:
                if record.text("rate_limit_info", "status") == "rejected":
                    self._refused_until = record.number("rate_limit_info", "resetsAt") or 0.0
            case "result", subtype:
                self._result(record, subtype)
            case _:
                pass

    def end(self, ended: Exit) -> None:
        """Wrong arguments and unknown sessions are reported on stderr alone."""
        if ended.status and not self.state.is_final and ended.stderr_tail.strip():
            found = failure_of(ended.stderr_tail)
            if found.kind in ("no_session", "unauthorized", "model_unknown"):
                self.state.fail(found)

    def _begin(self, record: Record) -> None:
        for server in record.records("mcp_servers"):
            if server.text("name") == self._tools_name and server.text("status") in (
                "failed",
                "needs-auth",
                "disabled",
            ):
                self.state.warn(f"the town's tools are unavailable: MCP server is {server.text('status')}")

    def _assistant(self, message: Record) -> None:
        for part in message.records("content"):
            match part.text("type"):
                case "text":
                    self.state.add_text(part.text("text"))
                case "tool_use":
                    self.state.start_tool(part.text("name"), part.brief("input", keys=_ABOUT))
                case _:
                    pass
        if message.record("usage"):
            self._used[message.text("id")] = usage_of(message.record("usage"))
            self.state.session_used = _sum(self._used, self._before)
            self.state.set_usage(_sum(self._used))

    def _result(self, record: Record, subtype: str) -> None:
        state = self.state
        if models := record.record("model_usage_since_last_result"):
            self._since.append(_total(models, sum(each.number("costUSD") or 0.0 for each in models.values())))
        if record.record("usage") or record.record("modelUsage"):
            self._use(record)
        if self._since:
            cost_usd = _added(self._since).cost_usd
            state.set_usage(msgspec.structs.replace(state.used or Usage(), cost_usd=cost_usd))
        for denial in record.records("permission_denials"):
            tool, about = denial.text("tool_name"), denial.brief("tool_input", keys=_ABOUT)
            state.warn(f"its permissions refused {tool}: {about}" if about else f"its permissions refused {tool}")
        text, stop = record.text("result"), record.text("stop_reason")
        if (
            value := record.get("structured_output")
        ) is not None:  # it is given by a call of a tool, which ends the turn
            text, stop = msgspec.json.encode(value).decode(), "end_turn"
            self._value = text
        if stop == "refusal":  # newer versions call it an error, too
            state.fail(Failure(kind="refused", reason=f"the model refused: {text}"))
        elif record.flag("is_error") or subtype.startswith("error"):
            state.fail(self._failure(record, subtype, text))
        elif stop in _UNFINISHED:
            state.fail(Failure(kind="other", reason=f"{_UNFINISHED[stop]}: {text}"))
        if text.strip():
            self._answers.append(text)
        if not self._mail or state.failure is not None:  # else it opens another turn
            state.finish(self._value or "\n\n".join(self._answers))
            self._over.set()

    def _use(self, record: Record) -> None:
        """Enter what the run has consumed: what is new in the totals, or else what its own messages say."""
        own, cost_usd = usage_of(record.record("usage")), record.number("total_cost_usd")
        if not own.input_tokens:  # so it is when a limit of its own has ended it
            own = _sum(self._used)
        total = _total(record.record("modelUsage"), cost_usd)
        before = self._before
        # Until 2.1.197 the totals were those of the run; later ones lack what runs of the session had consumed that were killed.
        lacks = total.input_tokens < before.input_tokens + own.input_tokens or (cost_usd or 0.0) < (
            before.cost_usd or 0.0
        )
        if total.input_tokens < own.input_tokens:
            total = msgspec.structs.replace(own, cost_usd=cost_usd)
        self.state.session_used = total
        if lacks and self._since:
            self.state.set_usage(_added(self._since))
        else:
            self.state.set_usage(usage_since(total, Usage() if lacks else before))

    def _failure(self, record: Record, subtype: str, text: str) -> Failure:
        if subtype in _LIMITS:
            return Failure(kind="limit_reached", reason=f"the limit {_LIMITS[subtype]} of [plugins.claude] was reached")
        message = text or record.brief("errors") or subtype
        failure = failure_of(message, status=record.count("api_error_status") or None)
        if self._refused_until is not None and failure.kind in ("rate_limited", "other"):
            after_s = max(0.0, self._refused_until - time.time()) if self._refused_until else failure.retry_after_s
            return Failure(kind="rate_limited", reason=failure.reason, retry_after_s=after_s)
        return failure


def user_message(text: str, id_: str = "") -> bytes:
    """A line that has the model read a text; with an id, which is repeated when it does."""
    record = {"type": "user", "message": {"role": "user", "content": text}}
    return msgspec.json.encode(record | ({"uuid": id_} if id_ else {})) + b"\n"


def usage_of(usage: Record) -> Usage:
    """A record of usage. What was written to the cache is input like any other; what was read from it is counted apart, too."""
    cached = usage.count("cache_read_input_tokens")
    return Usage(
        input_tokens=usage.count("input_tokens") + usage.count("cache_creation_input_tokens") + cached,
        output_tokens=usage.count("output_tokens"),
        cached_tokens=cached,
    )


def _total(by_model: Record, cost_usd: float | None) -> Usage:
    """The sum of what each model has consumed; no price where it guesses that of one of them."""
    models = list(by_model.values())
    guessed = any(each.text("costBasis") == "unknown" for each in models)
    cached = sum(each.count("cacheReadInputTokens") for each in models)
    return Usage(
        input_tokens=cached
        + sum(each.count("inputTokens") + each.count("cacheCreationInputTokens") for each in models),
        output_tokens=sum(each.count("outputTokens") for each in models),
        cached_tokens=cached,
        cost_usd=None if guessed else cost_usd,
    )


def _added(parts: Sequence[Usage]) -> Usage:
    """What several turns have consumed; no price if one of them has none."""
    prices = [each.cost_usd for each in parts]
    return Usage(
        input_tokens=sum(each.input_tokens for each in parts),
        output_tokens=sum(each.output_tokens for each in parts),
        cached_tokens=sum(each.cached_tokens for each in parts),
        cost_usd=None if None in prices else sum(filter(None, prices)),
    )


def _sum(parts: dict[str, Usage], before: Usage | None = None) -> Usage:
    """What the messages, and what was `before` them, have consumed; its cost is that of before."""
    every = [*parts.values(), *([before] if before else [])]
    return Usage(
        input_tokens=sum(each.input_tokens for each in every),
        output_tokens=sum(each.output_tokens for each in every),
        cached_tokens=sum(each.cached_tokens for each in every),
        cost_usd=before.cost_usd if before else None,
    )
