"""The server-side function library: its files put together, with the tables of legal transitions compiled in. Pure.

The library's name and the prefix of its functions carry a digest of the source, so that every client calls exactly
the code it was built with, and clients of several versions can share one server.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tinytown.model import agents, tasks

ENGINE = "lua"


def _table(name: str, moves: Mapping[Any, Sequence[str]]) -> str:
    rows = ", ".join(f"{old} = {{ {', '.join(f'{new} = true' for new in news)} }}" for old, news in moves.items())
    return f"local {name} = {{ {rows} }}\n"


@cache
def _text() -> str:
    parts = sorted(Path(__file__).parent.glob("*.lua"))  # importlib.resources would cost every quick command 10 ms
    moves = _table("TASK_MOVES", tasks.TRANSITIONS) + _table("AGENT_MOVES", agents.TRANSITIONS)
    return moves + "\n".join(part.read_text("utf-8") for part in parts)


@cache
def digest() -> str:
    """Eight hex characters that tell one version of the library from another."""
    return f"{zlib.crc32(_text().encode()):08x}"  # hashlib would cost every quick command 3 ms


@cache
def function(name: str) -> str:
    """The name under which the server knows the function `name`."""
    return f"tt_{digest()}_{name}"


def source() -> str:
    """The whole library, ready for ``FUNCTION LOAD REPLACE``."""
    return f"#!{ENGINE} name=tinytown_{digest()}\nlocal PREFIX = 'tt_{digest()}_'\n{_text()}"
