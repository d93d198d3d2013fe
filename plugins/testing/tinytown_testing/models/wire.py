"""How each protocol writes an answer, whole or as the events of a stream, and how it writes an error. Pure.

An event is a pair: its name, or None where the protocol has none, and an object or a literal text.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from tinytown_testing.models.answers import Answer, new_id
from tinytown_testing.models.requests import Api
from tinytown_testing.models.scripts import Reply

Body: TypeAlias = dict[str, Any]
Event: TypeAlias = tuple[str | None, Body | str]

#: The name of an event that is a line of JSON and no server-sent event at all.
LINE = "line"
_PIECE_CHARACTERS = 24

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
_GEMINI_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def _pieces(text: str) -> list[str]:
    return [text[start : start + _PIECE_CHARACTERS] for start in range(0, len(text), _PIECE_CHARACTERS)]


# -- Anthropic Messages ------------------------------------------------------------------------------------


def _anthropic_body(answer: Answer) -> Body:
    content: list[Body] = [{"type": "text", "text": answer.text}] if answer.text else []
    content += [
        {"type": "tool_use", "id": new_id("toolu_"), "name": tool.name, "input": tool.input} for tool in answer.tools
    ]
    return {
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        "stop_reason": answer.stop or ("tool_use" if answer.tools else "end_turn"),
        "stop_sequence": None,
        "usage": {
            "input_tokens": answer.input_tokens,
            "output_tokens": answer.output_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": answer.cached_tokens,
        },
    }


def _anthropic_events(answer: Answer) -> Iterator[Event]:
    def event(kind: str, **members: Any) -> Event:
        return kind, {"type": kind, **members}

    body = _anthropic_body(answer)
    begun: Body = {**body, "content": [], "stop_reason": None, "usage": {**body["usage"], "output_tokens": 1}}
    yield event("message_start", message=begun)
    for index, block in enumerate(body["content"]):
        if block["type"] == "text":
            empty: Body = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(block["text"])]
        else:
            empty = {**block, "input": {}}
            texts = _pieces(json.dumps(block["input"]))
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in texts]
        yield event("content_block_start", index=index, content_block=empty)
        for delta in deltas:
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    stopped = {"stop_reason": body["stop_reason"], "stop_sequence": None}
    yield event("message_delta", delta=stopped, usage={"output_tokens": answer.output_tokens})
    yield event("message_stop")


# -- OpenAI Responses --------------------------------------------------------------------------------------


def _responses_body(answer: Answer) -> Body:
    output: list[Body] = []
    if answer.text:
        content: list[Body] = [{"type": "output_text", "text": answer.text, "annotations": []}]
        output.append(
            {"type": "message", "id": new_id("msg_"), "role": "assistant", "status": "completed", "content": content}
        )
    for tool in answer.tools:
        item: Body = {"call_id": new_id("call_"), "name": tool.name}
        if tool.free_form:
            text = tool.input if isinstance(tool.input, str) else json.dumps(tool.input)
            item |= {"type": "custom_tool_call", "id": new_id("ctc_"), "input": text}
        else:
            arguments = json.dumps(tool.input)
            item |= {"type": "function_call", "id": new_id("fc_"), "arguments": arguments, "status": "completed"}
            if tool.namespace:
                item["namespace"] = tool.namespace
        output.append(item)
    return {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if answer.stop else "completed",
        "model": answer.model,
        "output": output,
        "error": None,
        "incomplete_details": {"reason": answer.stop} if answer.stop else None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": answer.input_tokens,
            "input_tokens_details": {"cached_tokens": answer.cached_tokens},
            "output_tokens": answer.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": answer.input_tokens + answer.output_tokens,
        },
    }


def _responses_events(answer: Answer) -> Iterator[Event]:
    sent = 0

    def event(kind: str, **members: Any) -> Event:
        nonlocal sent
        sent += 1
        return kind, {**members, "type": kind, "sequence_number": sent}

    body = _responses_body(answer)
    begun: Body = {**body, "status": "in_progress", "output": [], "usage": None}
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    for index, item in enumerate(body["output"]):
        place = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            part: Body = item["content"][0]
            place["content_index"] = 0
            empty: Body = {**item, "status": "in_progress", "content": []}
            yield event("response.output_item.added", output_index=index, item=empty)
            yield event("response.content_part.added", part={**part, "text": ""}, **place)
            for piece in _pieces(answer.text):
                yield event("response.output_text.delta", delta=piece, **place)
            yield event("response.output_text.done", text=answer.text, **place)
            yield event("response.content_part.done", part=part, **place)
        elif item["type"] == "function_call":
            empty = {**item, "status": "in_progress", "arguments": ""}
            yield event("response.output_item.added", output_index=index, item=empty)
            for piece in _pieces(item["arguments"]):
                yield event("response.function_call_arguments.delta", delta=piece, **place)
            yield event("response.function_call_arguments.done", arguments=item["arguments"], **place)
        else:
            yield event("response.output_item.added", output_index=index, item={**item, "input": ""})
        yield event("response.output_item.done", output_index=index, item=item)
    yield event(f"response.{body['status']}", response=body)


# -- OpenAI Chat Completions -------------------------------------------------------------------------------


def _chat_calls(answer: Answer) -> list[Body]:
    return [
        {
            "id": new_id("call_"),
            "type": "function",
            "function": {"name": tool.name, "arguments": json.dumps(tool.input)},
        }
        for tool in answer.tools
    ]


def _chat_usage(answer: Answer) -> Body:
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
    }


def _chat_body(answer: Answer) -> Body:
    message: Body = {"role": "assistant", "content": answer.text or None}
    if answer.tools:
        message["tool_calls"] = _chat_calls(answer)
    stop = answer.stop or ("tool_calls" if answer.tools else "stop")
    return {
        "id": new_id("chatcmpl-"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": answer.model,
        "usage": _chat_usage(answer),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": stop}],
    }


def _chat_events(answer: Answer) -> Iterator[Event]:
    frame: Body = {
        "id": new_id("chatcmpl-"),
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": answer.model,
    }

    def chunk(delta: Body, stop: Any = None) -> Event:
        return None, {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": stop}]}

    yield chunk({"role": "assistant", "content": ""})
    for piece in _pieces(answer.text):
        yield chunk({"content": piece})
    for index, call in enumerate(_chat_calls(answer)):
        yield chunk({"tool_calls": [{**call, "index": index}]})
    yield chunk({}, answer.stop or ("tool_calls" if answer.tools else "stop"))
    yield None, {**frame, "choices": [], "usage": _chat_usage(answer)}
    yield None, "[DONE]"


# -- Gemini ------------------------------------------------------------------------------------------------


def _gemini_chunk(answer: Answer, parts: list[Body], stop: Any = None) -> Body:
    candidate: Body = {"index": 0, "content": {"role": "model", "parts": parts}}
    if stop:
        candidate["finishReason"] = stop
    return {
        "candidates": [candidate],
        "modelVersion": answer.model,
        "responseId": new_id("r"),
        "usageMetadata": {
            "promptTokenCount": answer.input_tokens,
            "candidatesTokenCount": answer.output_tokens,
            "cachedContentTokenCount": answer.cached_tokens,
            "totalTokenCount": answer.input_tokens + answer.output_tokens,
        },
    }


def _gemini_calls(answer: Answer) -> list[Body]:
    return [{"functionCall": {"id": new_id("call_"), "name": tool.name, "args": tool.input}} for tool in answer.tools]


def _gemini_body(answer: Answer) -> Body:
    text: list[Body] = [{"text": answer.text}] if answer.text else []
    return _gemini_chunk(answer, text + _gemini_calls(answer), answer.stop or "STOP")


def _gemini_events(answer: Answer) -> Iterator[Event]:
    for piece in _pieces(answer.text):
        yield None, _gemini_chunk(answer, [{"text": piece}])
    yield None, _gemini_chunk(answer, _gemini_calls(answer) or [{"text": ""}], answer.stop or "STOP")


# -- Augment -----------------------------------------------------------------------------------------------


def _augment_events(answer: Answer) -> Iterator[Event]:
    for piece in _pieces(answer.text):
        yield LINE, {"text": piece, "nodes": [{"id": 1, "type": 0, "content": piece}]}
    nodes: list[Body] = []
    for number, tool in enumerate(answer.tools, 2):
        use = {"tool_use_id": new_id("toolu_"), "tool_name": tool.name, "input_json": json.dumps(tool.input)}
        nodes.append({"id": number, "type": 5, "content": "", "tool_use": use})
    usage = {
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
        "cache_read_input_tokens": answer.cached_tokens,
        "cache_creation_input_tokens": 0,
    }
    nodes.append({"id": 90, "type": 10, "content": "", "token_usage": usage})
    yield LINE, {"text": "", "nodes": nodes, "stop_reason": answer.stop or (3 if answer.tools else 1)}


# -- all of them -------------------------------------------------------------------------------------------

BODIES: Mapping[Api, Callable[[Answer], Body]] = {
    "anthropic": _anthropic_body,
    "responses": _responses_body,
    "chat": _chat_body,
    "gemini": _gemini_body,
}
EVENTS: Mapping[Api, Callable[[Answer], Iterator[Event]]] = {
    "anthropic": _anthropic_events,
    "responses": _responses_events,
    "chat": _chat_events,
    "gemini": _gemini_events,
    "augment": _augment_events,
}


def error_body(api: Api, status: int, reply: Reply) -> Body:
    """The body of an HTTP error, with the `error` and the `message` that the reply names."""
    kind = reply.get("error") or _ERROR_TYPES.get(status, "api_error")
    message = reply.get("message") or f"scripted {kind}"
    if api == "gemini":
        state = reply.get("error") or _GEMINI_STATUSES.get(status, "UNKNOWN")
        return {"error": {"code": status, "message": message, "status": state}}
    if api == "anthropic":
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": new_id("req_")}
    return {"error": {"message": message, "type": kind, "param": None, "code": kind}}


def stream_error(api: Api, kind: str, message: str) -> Event:
    """The event by which a stream that has begun says that it failed."""
    if api == "anthropic":
        return "error", {"type": "error", "error": {"type": kind, "message": message}}
    if api == "responses":
        failed: Body = {"id": new_id("resp_"), "object": "response", "status": "failed", "output": []}
        response: Body = {**failed, "error": {"code": kind, "message": message}}
        return "response.failed", {"type": "response.failed", "response": response}
    body: Body = {"error": {"code": 500, "message": message, "type": kind, "status": kind}}
    return (LINE if api == "augment" else None), body
