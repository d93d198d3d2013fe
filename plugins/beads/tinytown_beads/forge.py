"""Whether the gates of pull requests and CI runs are open, asked of a forge through the program `gh`. Stateless.

If `gh` cannot answer (missing, no login, timeout), the gate stays shut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import trio

#: ``open``: the step may begin. ``lost``: it never will by itself, a person has to look. ``shut``: not yet, or not known.
Verdict = Literal["open", "lost", "shut"]

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/#-]{0,199}")
_TIMEOUT_S = 60.0


async def look(gh: str, gate: Mapping[str, Any], directory: str) -> Verdict:
    """The verdict on a gate of the type ``gh:pr`` or ``gh:run``; `gh` runs in `directory`."""
    word = str(gate.get("await_id") or gate.get("id") or "").strip().removeprefix("#")
    if not _WORD.fullmatch(word):
        return "lost"
    if gate.get("type") == "gh:pr":
        answer = await _ask([gh, "pr", "view", word, "--json", "state"], directory)
        return {"MERGED": "open", "CLOSED": "lost"}.get(str(answer.get("state")), "shut")  # type: ignore[return-value]
    answer = await _ask([gh, "run", "view", word, "--json", "status,conclusion"], directory)
    if answer.get("status") != "completed":
        return "shut"
    return "open" if answer.get("conclusion") == "success" else "lost"


async def _ask(command: list[str], directory: str) -> Mapping[str, Any]:
    """The JSON object that a command prints; empty when it does not."""
    with trio.move_on_after(_TIMEOUT_S):
        try:
            done = await trio.run_process(
                command, cwd=directory, stdin=b"", capture_stdout=True, capture_stderr=True, check=False
            )
            if done.returncode == 0:
                return msgspec.json.decode(done.stdout, type=dict[str, Any])
        except (OSError, msgspec.DecodeError):
            pass
    return {}
