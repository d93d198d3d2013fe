"""What the records of Claude Code are read as."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from tinytown.contracts import Failed, Finished, Outcome, Usage
from tinytown.process import Exit, Line, RunningCommand
from tinytown_adapters import Record, RunState
from tinytown_adapters.outcomes import FixHints, outcome_of_exit
from tinytown_claude.reader import ClaudeReader
from tinytown_testing import ReportRecorder

RECORDINGS = Path(__file__).parent / "recordings"
INPUTS = Path(__file__).parent / "inputs"


def read(*records: dict[str, Any] | str) -> tuple[RunState, ReportRecorder]:
    recorder = ReportRecorder()
    state = RunState(recorder)
    reader = ClaudeReader(state, "town")
    for record in records:
        reader.read(Line("stdout", record if isinstance(record, str) else json.dumps(record), cut=False))
    return state, recorder


async def test_a_tool_call_is_one_line_and_its_refusal_another() -> None:
    call = {"type": "tool_use", "name": "Bash", "input": {"command": "git push\n", "description": "x"}}
    refusal = {"type": "tool_result", "content": "needs approval", "is_error": True}
    state, recorder = read(
        {"type": "assistant", "message": {"content": [call]}}, {"type": "user", "message": {"content": [refusal]}}
    )
    assert recorder.lines == ["Bash: git push", "failed: needs approval"]
    assert state.is_waiting_for_model


async def test_usage_is_that_of_each_message_once_and_then_the_results() -> None:
    message = {
        "id": "m1",
        "content": [],
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 1},
    }
    final = {"input_tokens": 7, "output_tokens": 5}
    state, recorder = read(
        {"type": "assistant", "message": message},
        {"type": "assistant", "message": message},
        {"type": "result", "subtype": "success", "result": "done", "usage": final, "total_cost_usd": 0.25},
    )
    assert recorder.used[1] == Usage(input_tokens=7, output_tokens=1, cached_tokens=4)
    assert state.used == Usage(input_tokens=7, output_tokens=5, cost_usd=0.25)
    assert (state.is_final, state.failure, state.text) == (True, None, "done")


def result(total: int, cost_usd: float, own: int, *, basis: str = "list") -> dict[str, Any]:
    """The record that ends a run which consumed `own` tokens, of a session that has consumed `total`."""
    model = {"inputTokens": total, "outputTokens": 2, "costUSD": cost_usd, "costBasis": basis}
    return {
        "type": "result",
        "subtype": "success",
        "result": "done",
        "session_id": "s",
        "usage": {"input_tokens": own, "output_tokens": 1},
        "total_cost_usd": cost_usd,
        "modelUsage": {"a-model": model},
    }


@pytest.mark.parametrize(
    ("before", "record", "expected"),
    [
        # The totals are those of the session, with what sub-agents consumed in it.
        (
            Usage(input_tokens=100, cost_usd=1.0),
            result(160, 1.5, 50),
            Usage(input_tokens=60, output_tokens=2, cost_usd=0.5),
        ),
        (Usage(), result(160, 1.5, 50), Usage(input_tokens=160, output_tokens=2, cost_usd=1.5)),
        # Former releases began to count with each run.
        (
            Usage(input_tokens=100, cost_usd=1.0),
            result(60, 0.5, 50),
            Usage(input_tokens=60, output_tokens=2, cost_usd=0.5),
        ),
        # The price of a model that it does not know is not one.
        (Usage(), result(60, 0.5, 60, basis="unknown"), Usage(input_tokens=60, output_tokens=2, cost_usd=None)),
    ],
)
async def test_a_resumed_session_pays_for_what_is_new(before: Usage, record: dict[str, Any], expected: Usage) -> None:
    state = RunState(ReportRecorder())
    ClaudeReader(state, used_before=before).on_record(Record(record))
    assert state.used == expected


def since(tokens: int, cost_usd: float, basis: str = "list") -> dict[str, Any]:
    model = {"inputTokens": tokens, "outputTokens": 1, "costUSD": cost_usd, "costBasis": basis}
    return {"model_usage_since_last_result": {"a-model": model}}


async def test_totals_that_lack_a_killed_run_of_the_session_are_not_charged_whole() -> None:
    state = RunState(ReportRecorder())
    before = Usage(input_tokens=140, cost_usd=1.0)  # as its messages said, of runs that were killed, too
    ClaudeReader(state, used_before=before).on_record(Record(result(150, 1.5, 50) | since(50, 0.5)))
    assert state.used == Usage(input_tokens=50, output_tokens=1, cost_usd=0.5)
    assert state.session_used is not None
    assert state.session_used.input_tokens == 150


async def test_two_turns_of_a_run_are_charged_together() -> None:
    state = RunState(ReportRecorder())
    reader = ClaudeReader(state, used_before=Usage(input_tokens=100, cost_usd=1.0))
    reader.on_record(Record(result(150, 1.5, 50) | since(50, 0.5)))
    reader.on_record(Record(result(180, 1.75, 30) | since(30, 0.25)))
    assert state.used == Usage(input_tokens=80, output_tokens=2, cost_usd=0.75)


async def test_a_turn_with_a_price_that_is_guessed_has_none() -> None:
    state = RunState(ReportRecorder())
    ClaudeReader(state).on_record(Record(result(60, 0.5, 60, basis="unknown") | since(60, 0.5, "unknown")))
    assert state.used == Usage(input_tokens=60, output_tokens=2, cost_usd=None)


async def test_the_total_of_a_session_that_was_cut_off_is_what_its_messages_say() -> None:
    state = RunState(ReportRecorder())
    reader = ClaudeReader(state, used_before=Usage(input_tokens=100, cost_usd=1.0))
    message = {"id": "m", "content": [], "usage": {"input_tokens": 7, "output_tokens": 1}}
    reader.on_record(Record({"type": "assistant", "message": message}))
    assert state.session_used == Usage(input_tokens=107, output_tokens=1, cost_usd=1.0)


async def test_success_with_an_error_in_it_is_a_failure() -> None:
    result = {
        "type": "result",
        "subtype": "success",
        "is_error": True,
        "api_error_status": 401,
        "result": "API Error: 401",
    }
    state, _ = read(result)
    assert state.failure is not None
    assert state.failure.kind == "unauthorized"


@pytest.mark.parametrize("limit", ["max_turns", "max_budget_usd"])
async def test_a_limit_of_the_settings_is_named_and_what_was_consumed_is_not_lost(limit: str) -> None:
    state, _ = read(
        {"type": "assistant", "message": {"id": "m1", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}}},
        {
            "type": "result",
            "subtype": f"error_{limit}",
            "is_error": True,
            "usage": {"input_tokens": 0},
            "total_cost_usd": 0.5,
        },
    )
    assert state.failure is not None
    assert state.failure.kind == "limit_reached"
    assert limit in state.failure.reason
    assert state.used == Usage(input_tokens=3, output_tokens=1, cost_usd=0.5)


async def test_a_limit_of_a_subscription_says_itself_when_it_is_over() -> None:
    limit = {"status": "rejected", "resetsAt": time.time() + 3600, "rateLimitType": "five_hour"}
    state, _ = read(
        {"type": "rate_limit_event", "rate_limit_info": limit},
        {"type": "result", "subtype": "success", "is_error": True, "result": "You've hit your session limit"},
    )
    assert state.failure is not None
    assert state.failure.kind == "rate_limited"
    assert state.failure.retry_after_s == pytest.approx(3600, abs=60)


async def test_a_limit_that_is_near_is_none() -> None:
    near = {"type": "rate_limit_event", "rate_limit_info": {"status": "allowed_warning", "resetsAt": 1}}
    state, _ = read(near, {"type": "result", "subtype": "success", "result": "done"})
    assert state.failure is None


async def test_tools_of_the_town_that_did_not_start_are_told() -> None:
    servers = [{"name": "town", "status": "failed"}, {"name": "other", "status": "failed"}]
    _, recorder = read({"type": "system", "subtype": "init", "session_id": "s", "mcp_servers": servers})
    assert recorder.lines == ["warning: the town's tools are unavailable: MCP server is failed"]


@pytest.mark.parametrize(
    "record",
    [
        "[]",
        "{",
        "plain words",
        '{"type": []}',
        '{"type": "assistant", "message": 3}',
        '{"type": "assistant", "message": {"content": [1, {"type": "text"}], "usage": "x"}}',
        '{"type": "user", "message": {"content": "text"}}',
        '{"type": "system", "subtype": "init", "mcp_servers": {}}',
        '{"type": "stream_event"}',
        '{"type": "result", "usage": [], "result": 5, "permission_denials": [{}]}',
        "[" * 10_000,
    ],
)
async def test_a_record_of_another_shape_costs_itself_alone(record: str) -> None:
    state, _ = read(record, {"type": "result", "subtype": "success", "result": "done"})
    assert (state.text, state.failure) == ("done", None)


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.jsonl")), ids=lambda path: path.stem)
async def test_a_run_that_is_cut_off_anywhere_has_not_finished(path: Path) -> None:
    message = [event["out"] for event in map(json.loads, path.read_text().splitlines()) if "out" in event]
    for kept in range(len(message)):
        for last in ("", message[kept][: len(message[kept]) // 2], message[kept][:-1]):
            assert not isinstance(outcome_of([*message[:kept], last]), Finished)
    assert isinstance(outcome_of(message), Finished) == (
        path.stem in ("answer", "tool", "failed_tool", "mcp", "resume")
    )


def outcome_of(lines: list[str]) -> Outcome:
    """The outcome of a run that printed these lines and ended as if all were well."""
    state, _, *_ = read(*lines)
    return outcome_of_exit(
        Exit(1, 0, None, "exited", "", "", 0.1),
        state,
        FixHints("It", "buy one", "find the key", "model"),
        limit_s=1.0,
    )


def test_a_refusal_is_one_when_it_comes_as_an_error() -> None:
    text = "API Error: the safeguards flagged this message. Try rephrasing the request in a new session."
    record = {"type": "result", "subtype": "success", "is_error": True, "stop_reason": "refusal", "result": text}
    refusal = outcome_of([json.dumps(record)])
    assert isinstance(refusal, Failed)
    assert (refusal.retryable, refusal.cause) == (False, "refused")
    assert refusal.reason == f"the model refused: {text}"


def test_success_is_believed_only_with_an_answer_that_the_model_has_ended() -> None:
    tool_use, refusal, empty, good = (
        outcome_of([line]) for line in (INPUTS / "results.jsonl").read_text().splitlines()
    )
    assert isinstance(tool_use, Failed)
    assert tool_use.retryable
    assert "in the middle of a tool call: Let me look." in tool_use.reason
    assert isinstance(refusal, Failed)
    assert (refusal.retryable, refusal.cause) == (False, "refused")
    assert "I can't help with that." in refusal.reason
    assert isinstance(empty, Failed)
    assert empty.retryable
    assert isinstance(good, Finished)
    assert good.text == "done"
    assert good.usage is not None
    assert good.usage.cost_usd == 0.0422


@pytest.mark.parametrize("reason", ["max_tokens", "pause_turn", "model_context_window_exceeded"])
def test_an_answer_that_was_cut_off_is_none(reason: str) -> None:
    outcome = outcome_of(
        [json.dumps({"type": "result", "subtype": "success", "result": "half", "stop_reason": reason})]
    )
    assert isinstance(outcome, Failed)
    assert "half" in outcome.reason


class Typed(RunningCommand):
    """A running command that keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[dict[str, Any]] = []
        self.has_more = trio.Event()

    async def send(self, content: bytes) -> None:
        self.sent.append(json.loads(content))
        self.has_more.set()
        self.has_more = trio.Event()


async def test_a_value_that_fits_the_schema_is_the_answer_though_a_call_of_a_tool_ends_the_turn() -> None:
    given = {"type": "tool_use", "name": "StructuredOutput", "input": {"n": 3}}
    final = {"type": "result", "subtype": "success", "stop_reason": "tool_use", "result": "", "session_id": "s"}
    state, _ = read({"type": "assistant", "message": {"content": [given]}}, {**final, "structured_output": {"n": 3}})
    assert (state.is_final, state.answered, state.text, state.failure) == (True, True, '{"n":3}', None)
    state, _ = read({**final, "structured_output": False})
    assert (state.text, state.failure) == ("false", None)


@asynccontextmanager
async def conversation(**options: Any) -> AsyncGenerator[tuple[ClaudeReader, RunState, Typed]]:
    """A reader that converses, until its last turn has ended."""
    state, running = RunState(ReportRecorder()), Typed()
    reader = ClaudeReader(state, **options)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.converse, running)
            await trio.testing.wait_all_tasks_blocked()
            yield reader, state, running


def hear(reader: ClaudeReader, **record: Any) -> None:
    reader.read(Line("stdout", json.dumps(record), cut=False))


async def test_mail_counts_as_shown_when_it_is_repeated() -> None:
    taken: list[bool] = []

    async def deliver(reader: ClaudeReader) -> None:
        taken.append(await reader.deliver("the port is 80"))

    async with conversation() as (reader, state, running), trio.open_nursery() as nursery:
        nursery.start_soon(deliver, reader)
        await trio.testing.wait_all_tasks_blocked()
        (message,) = running.sent
        assert message["message"]["content"] == "the port is 80"
        hear(reader, type="user", isReplay=True, uuid="another", message={"content": "please"})
        hear(reader, type="result", subtype="success", result="all done")  # the mail opens another turn
        assert (taken, state.is_final) == ([], False)
        hear(reader, type="user", isReplay=True, uuid=message["uuid"], message={"content": "the port is 80"})
        await trio.testing.wait_all_tasks_blocked()
        assert taken == [True]
        hear(reader, type="result", subtype="success", result="noted")
        assert (state.is_final, state.text) == (True, "all done\n\nnoted")
        assert not await reader.deliver("too late")


async def test_a_turn_about_mail_leaves_the_value_as_it_is() -> None:
    async with conversation() as (reader, state, running), trio.open_nursery() as nursery:
        nursery.start_soon(reader.deliver, "the port is 80")
        await trio.testing.wait_all_tasks_blocked()
        hear(reader, type="result", subtype="success", result='{"n": 3}', structured_output={"n": 3})
        assert not state.is_final
        hear(reader, type="user", isReplay=True, uuid=running.sent[0]["uuid"], message={"content": "the port is 80"})
        hear(reader, type="result", subtype="success", result="noted")
        assert (state.is_final, state.text) == (True, '{"n":3}')


async def test_a_failure_ends_the_run_though_mail_is_waiting() -> None:
    async with conversation() as (reader, state, _), trio.open_nursery() as nursery:
        nursery.start_soon(reader.deliver, "the port is 80")
        await trio.testing.wait_all_tasks_blocked()
        hear(reader, type="result", subtype="success", is_error=True, api_error_status=529, result="overloaded")
        assert state.is_final
        assert state.failure is not None
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("allowed", "behavior"), [(True, "allow"), (False, "deny"), (None, "deny")])
async def test_what_it_may_do_is_asked_and_answered(allowed: bool | None, behavior: str) -> None:
    asked: list[str] = []

    async def ask(what: str) -> bool:
        asked.append(what)
        return bool(allowed)

    async with conversation(ask=None if allowed is None else ask) as (reader, _, running):
        request = {"subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "git push"}}
        has_more = running.has_more
        hear(reader, type="control_request", request_id="r1", request=request)
        await has_more.wait()
        response = running.sent[0]["response"]
        assert (response["request_id"], response["response"]["behavior"]) == ("r1", behavior)
        assert asked == ([] if allowed is None else ["Bash: git push"])
        hear(reader, type="result", subtype="success", result="end")
