"""What process 1 of a container owes to all others: reaping orphans, passing signals on, and a bounded end. Without trio."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

#: What a person or a supervisor sends to process 1, meant for the kernel.
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
_LAST_S = 10.0
_POLL_S = 0.05


def leave_init() -> None:
    """Where this is process 1, continue in a child, and be its init: returns in the child alone, elsewhere at once.

    The system gives process 1 every orphan of the container, and ends all processes with it. So it reaps whatever ends,
    passes signals on, and after the child gives the others, such as the town's server, 10 s to end in order.
    """
    if os.getpid() != 1:
        return
    for each in (sys.stdout, sys.stderr):
        each.flush()
    child = os.fork()
    if child == 0:
        return
    for number in _FORWARDED:
        signal.signal(number, lambda received, _: _send(child, received))
    ended, status = 0, 0
    while ended != child:
        ended, status = os.waitpid(-1, 0)
    _end_the_rest()
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _end_the_rest() -> None:
    _send(-1, signal.SIGTERM)
    deadline = time.monotonic() + _LAST_S
    with suppress(ChildProcessError):  # nobody is left
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(_POLL_S)
