"""Ends a test that takes too long, and says what each of its tasks was waiting for."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import trio

#: Frames in these directories say nothing about a test.
_TRIO = (Path(trio.__file__).parent, Path(trio.__file__).parent / "_core")
_PATIENCE_S = 10.0  # for what a test does when it is cancelled


@contextmanager
def deadline_of(seconds: float) -> Generator[None]:
    """Raises TimeoutError in the block after `seconds`.

    Within trio the run is cancelled, so that the next test finds none: its error is a trio.TrioInternalError with the
    TimeoutError as its cause. What does not heed that is interrupted wherever it is. Only for the main thread.
    """

    def give_up(_number: int, _frame: FrameType | None) -> None:
        error = TimeoutError(f"the test took more than {seconds:g} s")
        if not cancelled and trio.lowlevel.in_trio_run():
            cancelled.append(True)
            signal.setitimer(signal.ITIMER_REAL, _PATIENCE_S)
            trio.lowlevel.current_trio_token().run_sync_soon(_raise, error)
        else:
            raise error

    cancelled: list[bool] = []
    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _raise(error: TimeoutError) -> None:
    root = trio.lowlevel.current_root_task()
    for task in _below(root) if root else ():
        stack = traceback.StackSummary.extract(task.iter_await_frames())
        stack[:] = [frame for frame in stack if Path(frame.filename).parent not in _TRIO]
        if stack:
            error.add_note(f"{task.name} waits in\n{''.join(stack.format())}")
    raise error


def _below(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield child
            yield from _below(child)
