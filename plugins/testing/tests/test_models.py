"""The model server over real sockets: what each protocol's client gets, and the trouble that a script asks for."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tinytown_testing.models import ModelServer, Script, load_script

TIMEOUT_S = 20.0

#: For each protocol: where it is asked, its body for a prompt, and its body once the tool `Bash` has printed "hello".
ASKED: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "anthropic": (
        "/v1/messages?beta=true",
        {"tools": [{"name": "Bash"}], "messages": [{"role": "user", "content": "PROMPT"}]},
        {
            "tools": [{"name": "Bash"}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "PROMPT"}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "Bash", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "hello"}]},
            ],
        },
    ),
    "responses": (
        "/v1/responses",
        {"tools": [{"name": "shell", "type": "function"}], "input": "PROMPT"},
        {
            "tools": [{"name": "shell", "type": "function"}],
            "input": [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "PROMPT"}]},
                {"type": "function_call", "call_id": "1", "name": "shell", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "hello"},
            ],
        },
    ),
    "chat": (
        "/any/prefix/chat/completions",
        {"tools": [{"function": {"name": "bash"}}], "messages": [{"role": "user", "content": "PROMPT"}]},
        {
            "tools": [{"function": {"name": "bash"}}],
            "messages": [
                {"role": "system", "content": "be good"},
                {"role": "user", "content": "PROMPT"},
                {"role": "assistant", "content": None, "tool_calls": []},
                {"role": "tool", "tool_call_id": "1", "content": "hello"},
            ],
        },
    ),
    "gemini": (
        "/v1beta/models/m:generateContent",
        {
            "tools": [{"functionDeclarations": [{"name": "run_shell_command"}]}],
            "contents": [{"role": "user", "parts": [{"text": "PROMPT"}]}],
        },
        {
            "tools": [{"functionDeclarations": [{"name": "run_shell_command"}]}],
            "contents": [
                {"role": "user", "parts": [{"text": "PROMPT"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "run_shell_command", "args": {}}}]},
                {"role": "user", "parts": [{"functionResponse": {"response": {"output": "hello"}}}]},
            ],
        },
    ),
    "augment": (
        "/chat-stream",
        {"tool_definitions": [{"name": "launch-process"}], "message": "PROMPT"},
        {
            "tool_definitions": [{"name": "launch-process"}],
            "chat_history": [{"request_message": "PROMPT", "response_text": ""}],
            "nodes": [{"tool_result_node": {"content": "hello"}}],
        },
    ),
}
by_protocol = pytest.mark.parametrize("api", ASKED)


def post(server: ModelServer, path: str, body: object, headers: Mapping[str, str] = {}) -> tuple[int, str]:
    """The status and the body of an answer. Raises: OSError, HTTPException when the connection is cut."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", path, json.dumps(body), dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def ask(server: ModelServer, api: str, prompt: str, *, after_tool: bool = False, stream: bool = False) -> str:
    path, first, second = ASKED[api]
    body = json.loads(json.dumps(second if after_tool else first).replace('"PROMPT"', json.dumps(prompt)))
    if stream:
        path, body = path.replace("generateContent", "streamGenerateContent") + "?alt=sse", {**body, "stream": True}
    status, text = post(server, path, body)
    assert status == 200
    return text


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as opened:
        yield opened


@by_protocol
@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_brings_its_own_script_which_is_answered_turn_by_turn(
    server: ModelServer, api: str, stream: bool
) -> None:
    prompt = 'do <stub>[{"shell": "echo hello"}, {"text": "it said {tool_result}"}]</stub> now'
    first = ask(server, api, prompt, stream=stream)
    assert "echo hello" in first
    second = ask(server, api, prompt, after_tool=True, stream=stream)
    assert "it said " in second
    assert "hello" in second.replace("echo hello", "")
    assert [(each["api"], each["prompt"], each["turn"]) for each in server.requests] == [
        (api, prompt, 0),
        (api, prompt, 1),
    ]


@by_protocol
def test_an_http_error_has_the_status_and_the_headers_of_the_script(server: ModelServer, api: str) -> None:
    server.script = Script([{"status": 429, "message": "too many", "headers": {"retry-after": "7"}, "times": 1}])
    path, body, _ = ASKED[api]
    status, text = post(server, path, body)
    assert status == 429
    assert "too many" in text
    assert "too many" not in ask(server, api, "again")


@by_protocol
@pytest.mark.parametrize("where", ["start", "stream"])
def test_a_connection_is_cut_where_the_script_says(server: ModelServer, api: str, where: str) -> None:
    server.script = Script([{"text": "a long text in several pieces, of which only some arrive", "drop": where}])
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(server, api, "hello", stream=True)


@by_protocol
def test_only_a_request_whose_answer_was_sent_whole_counts_as_answered(server: ModelServer, api: str) -> None:
    usage = {"input": 7, "output": 3, "cached": 2}
    text = "a long text in several pieces"
    troubles: list[dict[str, Any]] = [
        {"drop": "stream"},
        {"drop": "start"},
        {"status": 500},
        {"stream_error": "overloaded_error"},
    ]
    server.script = Script([{**each, "text": text, "times": 1} for each in troubles] + [{"text": text, "usage": usage}])
    for _ in troubles:
        with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
            ask(server, api, "hello", stream=True)
    for stream in (True, False):
        if stream or api != "augment":
            ask(server, api, "hello", stream=stream)
    until = time.monotonic() + TIMEOUT_S
    while "answered" not in server.model_requests[-1] and time.monotonic() < until:
        time.sleep(0.01)  # it is noted once the client has it
    answered = [each.get("answered") for each in server.model_requests]
    assert answered == [None] * len(troubles) + [usage] * (len(answered) - len(troubles))
    assert usage in answered


def test_a_silent_request_ends_with_the_server() -> None:
    with ModelServer([{"hang": "start"}]) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_S)
        connection.request("POST", "/v1/messages", "{}")
        while not server.requests:
            time.sleep(0.01)
    with pytest.raises((OSError, http.client.HTTPException)):
        connection.getresponse()
    connection.close()


def test_an_mcp_tool_is_called_by_the_name_that_the_client_gave_it(server: ModelServer) -> None:
    server.script = Script([{"mcp": {"server": "town", "tool": "send", "input": {"to": "ben"}}}])
    for name in ("mcp__town__send", "town-send", "mcp_town_send", "send_town"):
        body = {"tools": [{"name": "other"}, {"name": name}], "messages": [{"role": "user", "content": "x"}]}
        _, text = post(server, "/v1/messages", body)
        assert [part["name"] for part in json.loads(text)["content"]] == [name]
    group = {"type": "namespace", "name": "mcp__town", "tools": [{"name": "send"}]}
    _, text = post(server, "/v1/responses", {"tools": [group], "input": "x"})
    assert [(each["namespace"], each["name"]) for each in json.loads(text)["output"]] == [("mcp__town", "send")]


def test_a_command_that_has_not_ended_is_waited_for_before_the_script_continues(server: ModelServer) -> None:
    tools = [{"name": name, "type": "function"} for name in ("exec_command", "write_stdin")]
    prompt = '<stub>[{"shell": "make"}, {"text": "made"}]</stub>'
    said: list[dict[str, Any]] = [{"type": "message", "role": "user", "content": prompt}]

    def answer() -> dict[str, Any]:
        _, text = post(server, "/v1/responses", {"tools": tools, "input": said})
        output: dict[str, Any] = json.loads(text)["output"][0]
        said.append(output)
        return output

    assert answer()["name"] == "exec_command"
    for _ in range(2):
        said.append({"type": "function_call_output", "output": "Process running with session ID 7\nOutput:\n"})
        waits = answer()
        assert (waits["name"], json.loads(waits["arguments"])["session_id"]) == ("write_stdin", 7)
    said.append({"type": "function_call_output", "output": "Process exited with code 0\nOutput:\n"})
    assert answer()["content"][0]["text"] == "made"


def test_a_tool_that_is_not_offered_is_told_in_words(server: ModelServer) -> None:
    server.script = Script([{"shell": "ls"}])
    _, text = post(server, "/v1/messages", {"tools": [{"name": "Read"}], "messages": []})
    assert "no shell tool among: Read" in text


def test_the_first_rule_that_matches_answers(server: ModelServer) -> None:
    server.script = Script(
        [{"when": {"prompt": "^b", "api": "chat"}, "text": "B"}, {"when": {"turn": 0}, "text": "any"}]
    )
    said = [json.loads(ask(server, "chat", prompt))["choices"][0]["message"]["content"] for prompt in ("a", "b")]
    assert said == ["any", "B"]


def test_keys_are_not_kept(server: ModelServer) -> None:
    post(
        server,
        "/v1/messages?key=secret-value",
        {},
        {"x-api-key": "secret-value", "authorization": "Bearer secret-value"},
    )
    assert "secret-value" not in json.dumps(server.requests)


@pytest.mark.parametrize("rules", ['["text"]', '[{"when": {"colour": "red"}}]', "[{"])
def test_bad_rules_are_refused(rules: str) -> None:
    with pytest.raises(ValueError, match=r"expected a rule|unknown conditions|Expecting"):
        Script(load_script(rules))


def test_as_a_process_it_says_its_port_and_ends_when_told() -> None:
    command = [sys.executable, "-m", "tinytown_testing.models", "--script", '[{"text": "from a process"}]']
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        connection.request("POST", "/v1/messages", "{}")
        assert "from a process" in connection.getresponse().read().decode()
        connection.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
