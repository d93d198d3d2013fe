"""What is kept of a round after its end: a short record, the same for every host. Observers of rounds may keep more."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

TEXT_CHARACTERS = 4096


class RoundRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One round that has ended. Times are RFC 3339 in UTC by the clock of its kernel.

    `tasks` are all that it had, `task` is the first of them. `text` is the end of the final answer, at most `TEXT_CHARACTERS`.
    `usage` has the members of `contracts.Usage`, as far as the backend reported. `host` is the machine that
    has the round's files.
    """

    round_id: str
    outcome: str
    agent: str = ""
    cli: str = ""
    task: str | None = None
    tasks: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    reason: str = ""
    text: str = ""
    session_id: str | None = None
    began_at: str = ""
    ended_at: str = ""
    duration_s: float = 0.0
    usage: Mapping[str, int | float | None] | None = None
    host: str = ""
    prompt_bytes: int = 0
