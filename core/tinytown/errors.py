"""Every exception of Tinytown, sorted by whose fault it is: the user's, the town's state, a plugin's, the server's, a backend's.

Each error says in one line what was expected, what came and, in ``hint``, what to try. ``code`` is the stable
word that programs compare (`tt --json` prints it) and ``exit_code`` is what the command line ends with.
A class exists only where callers catch it differently; ``code`` makes finer distinctions.
"""

from __future__ import annotations

import errno
import os
from typing import Any, ClassVar


class TinytownError(Exception):
    """Anything Tinytown refuses or fails at. ``fields`` carries what a program may want, such as the candidates for a name."""

    code: str = "failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", code: str | None = None, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = fields
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(TinytownError):
    """A command or call with words that cannot be meant: a bad name, an empty text, an unknown option."""

    code = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """A configuration that cannot be read; ``fields`` holds ``path`` (the file) and, where known, ``key`` or ``line``."""

    code = "config"


class NotFound(TinytownError):
    """No such town, agent, task, message or plugin."""

    code = "not_found"
    exit_code = 3


class Refused(TinytownError):
    """The town's present state does not allow it: an illegal transition, a taken name, a running kernel."""

    code = "refused"
    exit_code = 4


class WaitFailed(Refused):
    """What is waited for will not happen by itself, for the reason that ``code`` names."""

    code = "will_not_be_idle"
    exit_code = 1


class StaleLease(Refused):
    """Another agent holds the lease by now; changes made under the caller's are not accepted."""

    code = "stale_lease"


class LimitReached(Refused):
    """A configured bound is reached: a full mailbox, an oversized message, too many agents."""

    code = "limit_reached"


class PluginError(TinytownError):
    """Something wrong with a plugin; ``fields`` holds ``plugin``, ``distribution`` and ``stage``."""

    code = "plugin_faulty"


class PluginRefused(PluginError):
    """A plugin that Tinytown will not load: wrong API number, async hook, unknown hook, two of one name."""

    code = "plugin_refused"
    exit_code = 2


class PluginFaulty(PluginError):
    """A plugin that does not import, or that raised while one of its hooks or objects was used."""


class ServerUnreachable(TinytownError):
    """No server to talk to, for the reason that ``code`` names; the message carries the redacted URL."""

    code = "server_unreachable"
    exit_code = 5


class Unconfirmed(ServerUnreachable):
    """The connection broke after the request was handed over: it may or may not have been carried out."""

    code = "unconfirmed"


class ProtocolViolation(TinytownError):
    """The server, or a record in it, answered something that this version cannot decode."""

    code = "protocol_violation"
    exit_code = 5


class BackendUnavailable(TinytownError):
    """A backend whose tool is missing or cannot start; ``hint`` says how to install it."""

    code = "backend_unavailable"


class ProcessFailed(TinytownError):
    """A process could not be started or watched: not found, not executable, a bad argument."""

    code = "process_failed"


class HostFailure(TinytownError):
    """This machine lacks what every round needs: the round goes back untouched, and its kernel waits before it begins another."""

    code = "host_failure"


#: What a call fails with when the machine lacks open files, processes, memory or disk space.
_LACKING = "EMFILE ENFILE ETOOMANYREFS EAGAIN ENOMEM ENOSPC EDQUOT".split()


def host_failure(error: BaseException | None, what: str = "") -> HostFailure | None:
    """What this machine lacks, if that is why `error` was raised, or what caused it; `what` says what could not be done."""
    while error is not None and not isinstance(error, HostFailure):
        if isinstance(error, OSError) and errno.errorcode.get(error.errno or 0) in _LACKING:
            lacking = os.strerror(error.errno or 0)
            return HostFailure(f"this machine is out of something: {lacking}: {what or error}", hint="free some of it")
        error = error.__cause__
    return error


#: Error codes that the function library answers with, and the class each becomes.
REPLY_CODES: dict[str, type[TinytownError]] = {
    "usage": UsageError,
    "not_found": NotFound,
    "ambiguous": UsageError,
    "exists": Refused,
    "refused": Refused,
    "stale_lease": StaleLease,
    "limit_reached": LimitReached,
    "not_allowed": Refused,
}
