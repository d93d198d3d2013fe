"""Which reply a request gets: rules in their order, or the script that a prompt brings along. Pure but for a lock."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

from tinytown_testing.models.requests import WAITING_TOOL, ModelRequest

Reply: TypeAlias = Mapping[str, Any]

_OF_PROMPT = re.compile(r"<stub>(.*?)</stub>", re.DOTALL)
_PATTERNS = {"path", "model", "prompt", "system", "body"}
_WAITING_MS = 30_000
_CONDITIONS = _PATTERNS | {"api", "has_tools", "tool", "tool_result", "turn"}


class Script:
    """A list of rules. The first whose `when` holds and whose `times` are not used up answers; else the text "ok" does.

    A rule is a reply with two optional keys more, ``{"when": {...}, "times": N, ...reply}``.

    - `when`, all of it: `api` (anthropic, responses, chat, gemini, augment); `path`, `model`, `prompt` (the last
      person's turn), `system`, `body` (the raw request), each a regular expression that is searched for; `has_tools`
      (titles and summaries are asked for without); `tool`, offered under this name; `tool_result`, whether one came
      last; `turn`, how often the model has spoken since the person did.
    - A reply is one of: `text`, in which ``{prompt}``, ``{tool_result}``, ``{n}`` (the number of the request) and
      ``{model}`` are filled in; `tool`, a call ``{"name": ..., "input": {...}}``, or `tools`, a list of them;
      `shell`, a command for whatever shell tool the client offers; `mcp`, ``{"server": ..., "tool": ..., "input":
      {...}}``, a call of that MCP tool under the name that the client gave it; `turns`, a list of replies, used in
      turn, the last one for all that follow.
    - With it: `usage` (``{"input": N, "output": N, "cached": N}``), `stop` (the stop reason), `delay` (seconds before
      anything is sent), `chunk_delay` (seconds between the events of a stream).
    - Or trouble: `status`, an HTTP error, with `error` (its type), `message`, `headers` (``{"retry-after": "1"}``)
      and `raw` (a literal body); `stream_error`, an error event of this type inside of a stream that has begun (what does
      not stream gets 529 for an overload, else 500); `hang` (``"start"``: never answer; ``"stream"``: begin and fall
      silent); `drop` (``"start"``: close without an answer; ``"stream"``: cut the stream half way).

    Raises: ValueError for what is not a list of rules.
    """

    def __init__(self, rules: Sequence[Reply] = ()) -> None:
        for rule in rules:
            if not isinstance(rule, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - it may come from a file
                raise ValueError(f"expected a rule to be an object, got {rule!r}")  # noqa: TRY004 - bad content
            if unknown := set(rule.get("when") or {}) - _CONDITIONS:
                raise ValueError(f"unknown conditions in 'when': {', '.join(sorted(unknown))}")
        self.rules = list(rules)
        self._used = [0] * len(self.rules)
        self._lock = threading.Lock()

    def choose(self, request: ModelRequest) -> Reply:
        """The reply to this request, which uses up one of its rule's `times`. Waiting for a command uses up none."""
        if request.running is not None and WAITING_TOOL in request.tools:
            waiting = {"session_id": request.running, "chars": "", "yield_time_ms": _WAITING_MS}
            return {"tool": {"name": WAITING_TOOL, "input": waiting}}
        own = _OF_PROMPT.findall(request.prompt)
        if own and request.tools:
            try:  # the last: an interrupted round before it may be part of the same turn
                return _of_turn(_listed(json.loads(own[-1])), request.turn)
            except ValueError as error:
                return {"status": 400, "message": f"the script in the prompt is no JSON: {error}"}
        with self._lock:
            for index, rule in enumerate(self.rules):
                if self._used[index] < rule.get("times", self._used[index] + 1) and matches(rule.get("when"), request):
                    self._used[index] += 1
                    return _of_turn(rule["turns"], request.turn) if rule.get("turns") else rule
        return {"text": "ok"}


def load_script(source: str) -> list[Reply]:
    """Rules from JSON text, or from the file of this name; none from an empty text. Raises: OSError, ValueError."""
    if not source:
        return []
    text = source if source.lstrip()[:1] in ("[", "{") else Path(source).read_text()
    return _listed(json.loads(text))


def matches(when: Mapping[str, Any] | None, request: ModelRequest) -> bool:
    """Whether all that `when` says holds for the request."""
    patterns = {
        "path": request.path,
        "model": request.model,
        "prompt": request.prompt,
        "system": request.system,
        "body": request.raw,
    }
    values = {
        "api": request.api,
        "has_tools": bool(request.tools),
        "tool_result": request.ends_with_tool_result,
        "turn": request.turn,
    }
    for key, wanted in (when or {}).items():
        if key in patterns:
            holds = re.search(wanted, patterns[key], re.DOTALL) is not None
        elif key == "tool":
            holds = wanted in request.tools
        else:
            holds = values[key] == wanted
        if not holds:
            return False
    return True


def _listed(value: Any) -> list[Reply]:
    return cast(list[Reply], value) if isinstance(value, list) else [value]


def _of_turn(turns: Sequence[Reply], turn: int) -> Reply:
    return turns[min(turn, len(turns) - 1)] if turns else {"text": "ok"}
