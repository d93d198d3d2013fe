"""What trials of all contracts need: bounds on time, cancellation at a chosen step, and a look at what is left behind.

Knows nothing of any one contract. What it finds it raises as `Broken`.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar, cast

import trio
from tinytown.concurrency import open_background
from tinytown.errors import UsageError
from tinytown.model.ids import check_id
from tinytown.model.text import shown

from tinytown_testing.force_cancel import ForceCancel
from tinytown_testing.leaks import held_resources, leaked_since
from tinytown_testing.promises import Broken
from tinytown_testing.sandbox import Sandbox

T = TypeVar("T")

#: What an ended call may take beyond the grace it was given; a busy machine is not the object's fault.
SLACK_S = 5.0

#: How often a task is let run before it is cancelled: dense at the beginning, where opening and starting happen.
CANCELLED_AT_STEPS = (0, 1, 2, 3, 5, 8, 13, 21)

_TICK_S = 0.01
#: Between two ticks of the event loop. A person does not notice less, and a busy machine causes less.
LONGEST_GAP_S = 0.3
_GAP_ATTEMPTS = 3
#: What a command may wait for one plugin.
LONGEST_WAIT_S = 10.0


def own_time_s() -> float:
    """A clock that stands still while this thread waits for a processor that others use."""
    return time.monotonic() - _waited_ns() / 1e9


def _waited_ns() -> int:
    """How long this thread has waited so, as far as the system says. Source: proc(5), ``schedstat``."""
    with suppress(OSError, ValueError, IndexError), open("/proc/thread-self/schedstat", "rb") as file:
        return int(file.read().split()[1])
    return 0


class LoopMonitor:
    """The longest time for which the event loop did nothing else, not counting that in which the machine was busy."""

    def __init__(self) -> None:
        self._last = own_time_s()
        self.longest_gap_s = 0.0

    def tick(self) -> None:
        now = own_time_s()
        self.longest_gap_s = max(self.longest_gap_s, now - self._last)
        self._last = now


@dataclass(slots=True)
class Trial:
    """One attempt at one promise on a bench."""

    sandbox: Sandbox
    slack_s: float
    force_cancel: ForceCancel = field(default_factory=ForceCancel, kw_only=True)

    @asynccontextmanager
    async def expect_no_leaks(self, when: str) -> AsyncGenerator[None]:
        """Broken if more is held after the block than before: tasks, threads, descriptors, processes, temporary files."""
        before = held_resources(self.sandbox.root, self.sandbox.temporary)
        yield
        left = await leaked_since(before, self.sandbox.root, self.sandbox.temporary)
        if left:
            raise Broken(f"{when} left {', '.join(left)}")

    async def within(self, what: str, bound_s: float, call: Callable[[], Awaitable[T]]) -> T:
        """The result of a call. Broken if it does not end within `bound_s` and the slack."""
        with trio.move_on_after(bound_s + self.slack_s):
            return await call()
        raise Broken(f"{what} had not ended after {bound_s + self.slack_s:.1f} s")

    async def cancel_and_wait(
        self,
        what: str,
        call: Callable[[], Awaitable[object]],
        *,
        grace_s: float = 0.0,
        at_step: int | None = None,
        when: Callable[[], Awaitable[object]] | None = None,
    ) -> bool:
        """Run a call in a task of its own, cancel it at its step `at_step` or once `when` returns, and see it end.

        Returns whether it was cancelled before it ended by itself. Broken if it continues for more than `grace_s` and the
        slack; whatever it raises comes out.
        """
        scope, asked_or_ended, ended = trio.CancelScope(), trio.Event(), trio.Event()

        def ask() -> None:
            asked_or_ended.set()
            scope.cancel()

        async def live() -> None:
            try:
                with _call_at_step(at_step, ask), scope:
                    await call()
            finally:
                ended.set()
                asked_or_ended.set()

        async def ask_when() -> None:
            if when is not None:
                await when()
                ask()

        async with open_background() as nursery:
            nursery.start_soon(live)
            nursery.start_soon(ask_when)
            await asked_or_ended.wait()
            with trio.move_on_after(grace_s + self.slack_s):
                await ended.wait()
            if not ended.is_set():
                self.force_cancel.remove_new_shields()
                raise Broken(f"{what} went on for {grace_s + self.slack_s:.1f} s after it was cancelled")
        return scope.cancelled_caught

    async def expect_responsive(self, what: str, call: Callable[[], Awaitable[object]]) -> None:
        """Broken if the event loop stands still during the call, and not by chance."""
        gaps_s: list[float] = []
        while len(gaps_s) < _GAP_ATTEMPTS and (not gaps_s or gaps_s[-1] > LONGEST_GAP_S):
            monitor = LoopMonitor()
            async with open_background() as nursery:
                nursery.start_soon(_tick_forever, monitor)
                await call()
                monitor.tick()
            gaps_s.append(monitor.longest_gap_s)
        if min(gaps_s) > LONGEST_GAP_S:
            raise Broken(f"{what} let nothing else run for {min(gaps_s):.2f} s")


def expect_quick(what: str, call: Callable[[], object]) -> None:
    """Broken if a call that nothing else can run beside takes long, and not by chance."""
    taken_s: list[float] = []
    while len(taken_s) < _GAP_ATTEMPTS and (not taken_s or taken_s[-1] > LONGEST_GAP_S):
        began = own_time_s()
        call()
        taken_s.append(own_time_s() - began)
    if min(taken_s) > LONGEST_GAP_S:
        raise Broken(f"{what} took {min(taken_s):.2f} s, in which nothing else could run")


def check_word(attribute: str, word: object) -> None:
    """Broken unless this is a word that can be typed and stored."""
    word = expect(word, str, f"as {attribute}")
    try:
        check_id(attribute, word)
    except UsageError as error:
        raise Broken(f"expected a word of letters, digits, '.', '_' or '-' as {attribute}, got {word!r}") from error


def expect(value: object, kind: type[T], where: str) -> T:
    """The value itself. Broken when it is of another type than its annotation says."""
    if not isinstance(value, kind):
        raise Broken(f"expected {kind.__name__} {where}, got {type(value).__name__} {shown(repr(value))}")
    return value


def expect_texts(value: object, where: str) -> list[str]:
    """The texts one by one. Broken unless the value has texts and nothing else in it."""
    outcome_text = f"{type(value).__name__} {shown(repr(value))}"
    if inspect.iscoroutine(value):
        value.close()  # or Python would complain, later and elsewhere, that nobody awaited it
        raise Broken(f"expected a list of texts {where}, got a coroutine: it must not be async")
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise Broken(f"expected a list of texts {where}, got {outcome_text}")
    return [expect(each, str, f"in the list of texts {where}") for each in cast("Iterable[object]", value)]


def expect_list(value: object, kind: type[T], where: str) -> list[T]:
    """The items of a sequence. Broken when it is none, or has an item of another type."""
    got = f"{type(value).__name__} {shown(repr(value))}"
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise Broken(f"expected a list of {kind.__name__} {where}, got {got}")
    return [expect(item, kind, f"in the list {where}") for item in cast("Iterable[object]", value)]


def expect_prompt(what: str, call: Callable[[], object]) -> None:
    """Broken if a call for which a command waits takes more than `LONGEST_WAIT_S`."""
    began = time.monotonic()
    call()
    if (taken_s := time.monotonic() - began) > LONGEST_WAIT_S:
        raise Broken(f"{what} took {taken_s:.1f} s")


def expect_context_manager(made: object) -> None:
    """Broken unless this, which `open()` gave, can be entered."""
    if not (hasattr(made, "__aenter__") and hasattr(made, "__aexit__")):
        if inspect.iscoroutine(made):
            made.close()  # or Python would complain, later and elsewhere, that nobody awaited it
        raise Broken(
            f"expected an asynchronous context manager from open(), got {type(made).__name__};"
            " put @asynccontextmanager above it"
        )


async def _tick_forever(monitor: LoopMonitor) -> None:
    while True:
        monitor.tick()
        await trio.sleep(_TICK_S)


@contextmanager
def _call_at_step(step: int | None, ask: Callable[[], None]) -> Generator[None]:
    """Call `ask` before the step of the current task that is `step` steps ahead."""
    if step is None:
        yield
        return
    instrument = _StepTrigger(trio.lowlevel.current_task(), step, ask)
    instrument.begin()
    trio.lowlevel.add_instrument(instrument)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(instrument)


class _StepTrigger(trio.abc.Instrument):
    def __init__(self, task: trio.lowlevel.Task, step: int, ask: Callable[[], None]) -> None:
        self._task = task
        self._steps_left = step
        self._ask = ask

    def begin(self) -> None:
        if self._steps_left == 0:
            self._ask()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._steps_left -= 1
            if self._steps_left <= 0:
                self._ask()
