"""The Lua text of the server-side functions: the town's files put together with the tables of legal transitions. Pure.

Files are joined in the order of their names. `PRELUDE_FILE` is what every library builds on, a plugin's too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tinytown.model import agents, tasks

PRELUDE_FILE = "10_prelude.lua"


def _table(name: str, moves: Mapping[Any, Sequence[str]]) -> str:
    rows = ", ".join(f"{old} = {{ {', '.join(f'{new} = true' for new in news)} }}" for old, news in moves.items())
    return f"local {name} = {{ {rows} }}\n"


def _tables() -> str:
    return _table("TASK_MOVES", tasks.TRANSITIONS) + _table("AGENT_MOVES", agents.TRANSITIONS)


@cache
def prelude_source() -> str:
    """The tables of transitions and the prelude: time, refusals, records, events, finding agents and tasks, `register`."""
    return _tables() + Path(__file__).with_name(PRELUDE_FILE).read_text("utf-8")


@cache
def town_source() -> str:
    """Everything that changes a town, prelude included."""
    parts = sorted(Path(__file__).parent.glob("*.lua"))  # importlib.resources would cost every quick command 10 ms
    return _tables() + "\n".join(part.read_text("utf-8") for part in parts)
