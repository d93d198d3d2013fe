"""Permission that a CLI asks for in the middle of a round: by the settings' rules, else by whoever answers questions here."""

from __future__ import annotations

from fnmatch import fnmatchcase

from tinytown_adapters.adapter import RunRequest
from tinytown_adapters.run_state import RunState
from tinytown_adapters.settings import CliSettings

ALLOW, DENY = "allow", "deny"


async def ask_permission(state: RunState, request: RunRequest[CliSettings], what: str) -> bool:
    """Whether the CLI may do `what` (``run: git push``). Its model waits for the answer, its silence is no stall."""
    settings = request.settings
    if any(fnmatchcase(what, pattern) for pattern in settings.ask_deny):
        answer: str | None = DENY
    elif any(fnmatchcase(what, pattern) for pattern in settings.ask_allow):
        answer = ALLOW
    else:
        question = f"{request.directory}: may I {what}?"
        with state.waiting_for_answer():
            answer = await state.report.ask(question, (ALLOW, DENY), timeout_s=settings.ask_s)
    allowed = (answer or settings.ask_default) == ALLOW
    state.log_line(f"{'permitted' if allowed else 'not permitted'}{'' if answer else ' (no answer)'}: {what}")
    return allowed
