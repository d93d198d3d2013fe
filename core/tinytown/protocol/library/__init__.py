"""The Lua text of the server-side functions: the town's files put together with the tables of legal transitions. Pure.

Files are joined in the order of their names. `PRELUDE_FILE` is what every library builds on, a plugin's too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from tinytown.model import agents, tasks

PRELUDE_FILE = "10_prelude.lua"
_HERE = os.path.dirname(__file__)


def _table(name: str, moves: Mapping[Any, Sequence[str]]) -> str:
    rows = ", ".join(f"{old} = {{ {', '.join(f'{new} = true' for new in news)} }}" for old, news in moves.items())
    return f"local {name} = {{ {rows} }}\n"


def _tables() -> str:
    return _table("TASK_MOVES", tasks.TRANSITIONS) + _table("AGENT_MOVES", agents.TRANSITIONS)


@cache
def prelude_source() -> str:
    """The tables of transitions and the prelude: time, refusals, records, events, finding agents and tasks, `register`."""
    return _tables() + _read(PRELUDE_FILE)


@cache
def town_source() -> str:
    """Everything that changes a town, prelude included."""
    names = sorted(name for name in os.listdir(_HERE) if name.endswith(".lua"))
    return _tables() + "\n".join(map(_read, names))


def _read(name: str) -> str:
    # `importlib.resources` would cost every quick command 10 ms, `pathlib` 3.
    with open(os.path.join(_HERE, name), encoding="utf-8") as file:
        return file.read()
