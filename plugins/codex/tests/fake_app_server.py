"""Speaks the protocol of Codex's app server as the real one was seen to: a script of its own, standard library only.

The prompt says what happens in the turn: ``wait`` for mail during a command, ``ask`` for permission, ``fail``
(``at once``: before the model was asked), or an answer.
"""

from __future__ import annotations

import json
import sys
from typing import Any

THREAD, TURN = "thread-1", "turn-1"


def say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


def notify(method: str, **params: Any) -> None:
    say(method=method, params={"threadId": THREAD, "turnId": TURN, **params})


def item(done: bool, **about: Any) -> None:
    notify("item/completed" if done else "item/started", item=about)


def hear() -> dict[str, Any]:
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    heard: dict[str, Any] = json.loads(line)
    return heard


def use(tokens: int, thread: str = THREAD) -> None:
    total = {"inputTokens": tokens, "outputTokens": 1, "cachedInputTokens": 0}
    notify("thread/tokenUsage/updated", threadId=thread, tokenUsage={"total": total})


def turn(prompt: str, used: int, schema: Any) -> None:
    answer = "word" if schema is None else json.dumps(dict.fromkeys(schema["required"], 3))
    if "wait" in prompt:
        item(False, type="commandExecution", command="make")
        steer = hear()
        assert steer["params"]["expectedTurnId"] == TURN
        say(id=steer["id"], result={"turnId": TURN})
        item(True, type="commandExecution", status="completed")
        mail = steer["params"]["input"][0]["text"]
        item(True, type="userMessage", clientId=steer["params"]["clientUserMessageId"])
        answer = f"got {mail}"
    if "ask" in prompt:
        say(id=77, method="item/commandExecution/requestApproval", params={"command": "git push"})
        answer = hear()["result"]["decision"]
    if "at once" not in prompt:
        use(used + 100)
        use(30, "thread-of-a-sub-agent")
    if "fail" in prompt:
        kind = "cyberPolicy" if "refuse" in prompt else "internalServerError"
        error = {"message": "we are down", "codexErrorInfo": kind}
        notify("error", error=error, willRetry=False)
        notify("turn/completed", turn={"id": TURN, "status": "failed", "error": error})
        return
    item(True, type="agentMessage", text=answer)
    notify("turn/completed", turn={"id": TURN, "status": "completed", "error": None})


def main() -> None:
    used = 0
    while True:
        heard = hear()
        match heard["method"]:
            case "initialize":
                say(id=heard["id"], result={"userAgent": "fake"})
            case "thread/resume" if heard["params"]["threadId"] != THREAD:
                say(id=heard["id"], error={"code": -32600, "message": "no rollout found for thread id"})
            case "thread/start" | "thread/resume" | "thread/fork":
                used = 0 if heard["method"] == "thread/start" else 1000
                if used:
                    use(used)
                say(id=heard["id"], result={"thread": {"id": THREAD}})
            case "turn/start":
                say(id=heard["id"], result={"turn": {"id": TURN}})
                turn(heard["params"]["input"][0]["text"], used, heard["params"].get("outputSchema"))
            case _:
                pass


if __name__ == "__main__":
    main()
