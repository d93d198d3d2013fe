"""The agents of the town: one for each real coding CLI that is installed, all asking one model server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.real_clis.acp_agents import QWEN
from tests.real_clis.clis import (
    AIDER,
    AUGGIE,
    CLAUDE,
    CODEX,
    COPILOT,
    DIRECTORIES_VARIABLE,
    GEMINI,
    OPENCODE,
    RealCli,
)

#: A CLI gives up this soon when its model fails, and when it is silent: outages are shorter than in real life.
_GIVES_UP = {"patience_s": 10.0, "stall_s": 40.0}


@dataclass(frozen=True, slots=True)
class Seat:
    """An agent, its CLI, and how its requests are recognized: by protocol, and by model within one.

    `has_shell`: its models run commands; `sees_tools`: they are shown the town's tools; `takes_mail`: also in the middle of a
    round; `counts`: the CLI reports all that a round used; `sees_cuts`: it takes no answer
    that was cut off for a whole one.
    """

    name: str
    kind: str
    program: str
    api: str
    model: str
    environment: Callable[[str], Mapping[str, str]]
    tables: Callable[[str], Mapping[str, Any]]
    has_shell: bool = True
    sees_tools: bool = True
    takes_mail: bool = False
    counts: bool = True
    sees_cuts: bool = True


def _seat(name: str, cli: RealCli, api: str, model: str = "") -> Seat:
    def tables(url: str) -> Mapping[str, Any]:
        # Boxes have tests of their own; aider offers no more than it does by itself.
        wide = {} if cli is AIDER else {"permissions": "full"}
        return cli.tables({**cli.settings(url), **wide, **_GIVES_UP})

    return Seat(
        name,
        cli.kind,
        cli.kind,
        api,
        model,
        cli.environment,
        tables,
        has_shell=cli.has_shell,
        sees_tools=cli.has_shell,
        takes_mail=cli.takes_mail,
        counts=cli.tells_usage,
    )


def _qwen_tables(url: str) -> Mapping[str, Any]:
    return {"acp": {"agents": {QWEN.kind: {"permissions": "full", **QWEN.settings(url), **_GIVES_UP}}}}


SEATS = (
    _seat("ada", CLAUDE, "anthropic"),
    _seat("ben", CODEX, "responses"),
    _seat("cleo", AUGGIE, "augment"),
    _seat("dan", GEMINI, "gemini"),
    _seat("eve", COPILOT, "chat", "gpt-5"),
    _seat("fay", AIDER, "chat", "gpt-4o"),
    _seat("gus", OPENCODE, "chat", "m"),
    # It asks its model more than it reports: what is worth remembering, whether a command is harmless.
    Seat(
        "hal",
        QWEN.kind,
        QWEN.program,
        "chat",
        "qwen",
        QWEN.environment,
        _qwen_tables,
        sees_tools=QWEN.shows_tools,
        counts=False,
        sees_cuts=False,
    ),
)


def installed_seats() -> tuple[Seat, ...]:
    """Those whose CLI is in one of the directories that TINYTOWN_REAL_CLIS names."""
    places = os.environ.get(DIRECTORIES_VARIABLE, "")
    return tuple(seat for seat in SEATS if places and shutil.which(seat.program, path=places))


def whose(seats: Sequence[Seat], api: str, model: str) -> Seat | None:
    """The agent that has asked for this model by this protocol; aider asks a smaller one for the words of its commits."""
    return next((seat for seat in seats if seat.api == api and model.startswith(seat.model)), None)
