"""Whether a text matches the pattern of a variable, in bounded time whatever the pattern is."""

from __future__ import annotations

import re
import signal
import threading
from types import FrameType

_CPU_S = 1.0


def fits_pattern(pattern: str, text: str) -> bool:
    """Whether all of `text` matches.

    Raises: ValueError for an invalid pattern, and for one that takes longer than a second of CPU time: nested repetition
    can take exponential time. Only the main thread, in which commands run, is bounded.
    """

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    watched = threading.current_thread() is threading.main_thread()
    # By processor time, so that the timer of nobody else is touched and a busy machine changes nothing.
    before = signal.signal(signal.SIGVTALRM, give_up) if watched else None
    try:
        if watched:
            signal.setitimer(signal.ITIMER_VIRTUAL, _CPU_S)
        return re.fullmatch(pattern, text) is not None
    except re.error as error:
        raise ValueError(str(error)) from error
    except (TimeoutError, RecursionError, OverflowError) as error:
        raise ValueError("matching takes too long: nested repetition?") from error
    finally:
        if watched:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
