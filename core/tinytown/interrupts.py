"""Whether a person ended the process by Ctrl-C, or code only raised what Ctrl-C raises. Quick to import."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager


def is_from_outside(error: BaseException) -> bool:
    """Whether it was not raised by the code that it came out of: Ctrl-C, or the closing of a coroutine that is not resumed."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "") if trace else ""
    return isinstance(error, KeyboardInterrupt | GeneratorExit) and module.startswith(("trio.", __name__))


@contextmanager
def telling_interrupts() -> Generator[None]:
    """Within the block Ctrl-C differs from a KeyboardInterrupt that other code raises; within trio it always does."""
    before = signal.getsignal(signal.SIGINT)
    ours = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
