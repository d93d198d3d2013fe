"""A scripted agent of the Agent Client Protocol: ``python fake_acp_agent.py STATE``.

A script of its own, started often; standard library only. It answers with the last word of its prompt. What else it is to do
is in the prompt, as a JSON list of steps between ``<fake>`` and ``</fake>``, or as the whole prompt:

    {"say": text}  {"think": text}  {"plan": [text, ..]}  {"tool": title}  {"fail_tool": title}  {"usage": {..}}
    {"diff": [path, old, new]}  {"used": {..}}, usage of one answer
    {"ask": title}, a permission  {"call": method}, of the client  {"recall": true}, how much the session has heard
    {"stop": reason}  {"error": message}  {"exit": status}  {"die": last words}  {"sleep": seconds}  {"noise": line}
    {"stubborn": word}, which no signal ends  {"late": text}, printed by a child when all is over  {"linger": seconds}

Sessions are files in the directory STATE. FAKE_LOGIN=no: there is no login. FAKE_FORKS=no: sessions cannot be forked.
FAKE_VERSION: of the protocol. FAKE_PRINT: the bytes of this file instead of anything else, and status 0.
"""

import atexit
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

if "FAKE_PRINT" in os.environ:
    sys.stdout.buffer.write(Path(os.environ["FAKE_PRINT"]).read_bytes())
    sys.exit(0)
state = Path(sys.argv[1])
state.mkdir(parents=True, exist_ok=True)
session = ""


def send(**message: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def update(kind: str, /, **members: Any) -> None:
    send(method="session/update", params={"sessionId": session, "update": {"sessionUpdate": kind, **members}})


def ask(method: str, params: dict[str, Any]) -> dict[str, Any]:
    send(id="a1", method=method, params=params)
    answer: dict[str, Any] = json.loads(sys.stdin.readline())
    assert answer["id"] == "a1", answer
    return answer


def steps_of(text: str) -> list[dict[str, Any]]:
    """What the prompt asks for."""
    marked = re.search("<fake>(.*?)</fake>", text, re.DOTALL)
    if marked or text.startswith("["):
        found: list[dict[str, Any]] = json.loads(marked[1] if marked else text)
        return found
    return [{"say": (text[-1000:].split() or ["nothing"])[-1]}]


def prompt(params: dict[str, Any]) -> dict[str, Any]:
    text = params["prompt"][0]["text"]
    with open(state / session, "a") as file:
        file.write(json.dumps(text) + "\n")
    answer: dict[str, Any] = {"stopReason": "end_turn"}
    for step in steps_of(text):
        (verb, value), *_ = step.items()
        match verb:
            case "say":
                update("agent_message_chunk", content={"type": "text", "text": value})
            case "think":
                update("agent_thought_chunk", content={"type": "text", "text": value})
            case "tool" | "fail_tool":
                ends = "completed" if verb == "tool" else "failed"
                update("tool_call", toolCallId=value, title=value, kind="execute", status="pending")
                update("tool_call_update", toolCallId=value, status=ends)
            case "diff":
                path, old, new = value
                content = [{"type": "diff", "path": path, "oldText": old, "newText": new}]
                update("tool_call", toolCallId=path, title=path, kind="edit", status="completed", content=content)
            case "used":
                update("agent_message_chunk", content={"type": "text", "text": ""}, _meta={"usage": value})
            case "plan":
                entries = [{"content": each, "priority": "medium", "status": "pending"} for each in value]
                update("plan", entries=entries)
            case "ask":
                options = [
                    {"optionId": f"o-{kind}", "name": kind, "kind": kind} for kind in ("allow_once", "reject_once")
                ]
                about = {"sessionId": session, "toolCall": {"toolCallId": "t", "title": value}, "options": options}
                outcome = ask("session/request_permission", about)["result"]["outcome"]
                update("agent_message_chunk", content={"type": "text", "text": outcome.get("optionId", "cancelled")})
            case "call":
                update("agent_message_chunk", content={"type": "text", "text": ask(value, {})["error"]["message"]})
            case "recall":
                history = (state / session).read_text()
                update("agent_message_chunk", content={"type": "text", "text": str(history.count("\n"))})
            case "linger":
                atexit.register(time.sleep, value)
            case "sleep":
                time.sleep(value)
            case "stop":
                answer["stopReason"] = value
            case "usage":
                answer["usage"] = value
            case "noise":
                print(value, flush=True)
            case "exit":
                os._exit(value)
            case "error":
                answer["error"] = value
            case "die":
                print(value, file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            case "stubborn":
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
                script = "trap '' TERM INT HUP; echo up; while :; do sleep 1; done"
                with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as child:
                    assert child.stdout
                    child.stdout.readline()
                    update("tool_call", toolCallId=value, title=value, kind="execute", status="in_progress")
            case "late":
                subprocess.Popen(["sh", "-c", 'sleep 0.3; echo "$1"', "sh", value])
                update("agent_message_chunk", content={"type": "text", "text": "done"})
            case _:
                raise ValueError(f"unknown step {verb}")
    return answer


def open_session(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    global session
    if os.environ.get("FAKE_LOGIN") == "no":
        return None
    if method == "session/load":
        session = params["sessionId"]
        if not (state / session).exists():
            raise LookupError(session)
        update("agent_message_chunk", content={"type": "text", "text": "what was said before"})
        return {}
    said = ""
    if method == "session/fork":
        if not (state / params["sessionId"]).exists():
            raise LookupError(params["sessionId"])
        said = (state / params["sessionId"]).read_text()
        update("agent_message_chunk", content={"type": "text", "text": "what was said before"})
    session = str(uuid.uuid4())
    (state / session).write_text(said)
    (state / "servers").write_text(json.dumps(params["mcpServers"]))
    return {"sessionId": session}


for line in sys.stdin:
    request = json.loads(line)
    method, params, id_ = request["method"], request["params"], request["id"]
    result: dict[str, Any] | None = {}
    if method == "initialize":
        version = int(os.environ.get("FAKE_VERSION", "1"))
        able: dict[str, Any] = {"loadSession": True}
        if os.environ.get("FAKE_FORKS") != "no":
            able["sessionCapabilities"] = {"fork": {}}
        result = {"protocolVersion": version, "agentCapabilities": able, "authMethods": []}
    elif method in ("session/new", "session/load", "session/fork"):
        try:
            result = open_session(method, params)
        except LookupError as error:
            send(id=id_, error={"code": -32602, "message": f"no such session: {error}"})
            continue
    elif method == "session/prompt":
        result = prompt(params)
    elif method.startswith("session/set_"):
        (state / method.replace("/", ".")).write_text(json.dumps(params))
    if result is not None and "error" in result:
        send(id=id_, error={"code": -32603, "message": result["error"]})
    elif result is None:
        send(id=id_, error={"code": -32000, "message": "Authentication required"})
    else:
        send(id=id_, result=result)
