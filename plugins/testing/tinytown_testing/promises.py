"""Promises: numbered sentences about an object of a plugin, each with a check, and the results of the checks.

Knows how the promises of a contract are registered, checked and reported, and that a check may hang; the promises
themselves are in the other modules of this package. A promise that was not checked is never reported as ok.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeVar

import trio
from tinytown.concurrency import open_background
from tinytown.errors import TinytownError, UsageError
from tinytown.model.text import shown

from tinytown_testing.force_cancel import ForceCancel

Status = Literal["ok", "broken", "not_applicable"]

#: After this long a promise counts as broken, whatever it is about.
PROMISE_TIMEOUT_S = 300.0
_STUCK_S = 5.0  # after the timeout, before new shields are removed
_DETAIL_LENGTH = 600
_RAISED_LENGTH = 300


class Attempt(Protocol):
    """What every trial has."""

    force_cancel: ForceCancel


T = TypeVar("T", bound=Attempt)
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Promise:
    """One numbered sentence. It is skipped if a promise that it `requires` is broken or skipped."""

    id: str
    sentence: str
    requires: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromiseResult:
    """The result of one check: `detail` is what was observed, or why the promise does not apply."""

    promise: Promise
    status: Status
    detail: str = ""
    duration_s: float = 0.0

    def __str__(self) -> str:
        line = f"{self.promise.id} {self.status.replace('_', ' ')}: {self.promise.sentence}"
        return f"{line}\n    {self.detail}" if self.detail else line


class BrokenPromise(AssertionError):
    """At least one promise is broken. The message names each with what was observed; `results` has them."""

    def __init__(self, subject: str, results: tuple[PromiseResult, ...]) -> None:
        super().__init__("\n".join([subject, *map(str, results)]))
        self.subject = subject
        self.results = results


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The results of all promises checked on `subject` (``backend echo``), in order."""

    subject: str
    results: tuple[PromiseResult, ...]

    @property
    def broken(self) -> tuple[PromiseResult, ...]:
        return self._having("broken")

    @property
    def passed(self) -> tuple[PromiseResult, ...]:
        return self._having("ok")

    @property
    def not_applicable(self) -> tuple[PromiseResult, ...]:
        """Those that were not checked, each with the reason in `detail`."""
        return self._having("not_applicable")

    def raise_if_broken(self) -> None:
        """Raises: BrokenPromise, naming every promise that is broken."""
        if self.broken:
            raise BrokenPromise(self.subject, self.broken)

    def __str__(self) -> str:
        return "\n".join([self.subject, *map(str, self.results)])

    def _having(self, status: Status) -> tuple[PromiseResult, ...]:
        return tuple(result for result in self.results if result.status == status)


class Broken(Exception):
    """Raised inside a check: the promise is broken, and this is what was observed."""


class NotApplicable(Exception):
    """Raised inside a check: the promise cannot be checked, for this reason."""


class Contract(Generic[T]):
    """The promises of one contract. A check takes a trial and raises `Broken` or `NotApplicable`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._checks: dict[str, tuple[Promise, Callable[[T], Awaitable[None]]]] = {}

    @property
    def promises(self) -> tuple[Promise, ...]:
        return tuple(promise for promise, _ in self._checks.values())

    def promise(
        self, id: str, sentence: str, *, requires: tuple[str, ...] = ()
    ) -> Callable[[Callable[[T], Awaitable[None]]], Callable[[T], Awaitable[None]]]:
        """A decorator: the function checks a new promise."""
        assert id not in self._checks, id
        assert self._checks.keys() >= set(requires), "a promise requires earlier ones only"

        def register(check: Callable[[T], Awaitable[None]]) -> Callable[[T], Awaitable[None]]:
            self._checks[id] = (Promise(id, sentence, requires), check)
            return check

        return register

    async def check(self, subject: str, trial: T, only: Collection[str] | None) -> CheckReport:
        """Check all promises, or those in `only`, one by one. Raises: UsageError for an unknown id."""
        unknown = set(only or ()) - self._checks.keys()
        if unknown:
            raise UsageError(
                f"a {self.name} has no promise {', '.join(sorted(unknown))}",
                hint=f"the promises are {', '.join(self._checks)}",
            )
        results: list[PromiseResult] = []
        causes: dict[str, str] = {}  # broken or skipped promise -> the broken one that is the cause
        for promise, check in self._checks.values():
            if only is not None and promise.id not in only:
                continue
            cause = next((causes[id] for id in promise.requires if id in causes), None)
            if cause is not None:
                causes[promise.id] = cause
                results.append(PromiseResult(promise, "not_applicable", f"requires {cause}, which is broken"))
                continue
            results.append(await _try(promise, check, trial))
            if results[-1].status == "broken":
                causes[promise.id] = promise.id
        return CheckReport(subject, tuple(results))


async def _try(promise: Promise, check: Callable[[T], Awaitable[None]], trial: T) -> PromiseResult:
    began = trio.current_time()

    def result(status: Status, detail: str = "") -> PromiseResult:
        return PromiseResult(promise, status, shown(detail, _DETAIL_LENGTH), trio.current_time() - began)

    try:
        async with open_background() as nursery:
            over = trio.Event()
            nursery.start_soon(_unblock, over, trial.force_cancel)
            try:
                with trio.move_on_after(PROMISE_TIMEOUT_S) as timeout:
                    await check(trial)
            finally:
                over.set()
        if timeout.cancelled_caught:
            return result("broken", f"timed out after {PROMISE_TIMEOUT_S:.0f} s")
    except NotApplicable as reason:
        return result("not_applicable", str(reason))
    except Broken as broken:
        return result("broken", str(broken))
    except (Exception, SystemExit) as error:  # the object's code may raise anything
        return result("broken", f"raised {described(error)}")
    return result("ok")


async def _unblock(over: trio.Event, force_cancel: ForceCancel) -> None:
    """Make sure that the check ends, some time after its timeout or its caller cancelled it."""
    try:
        with trio.move_on_after(PROMISE_TIMEOUT_S):
            await over.wait()
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _STUCK_S):
            await over.wait()
        if not over.is_set():
            force_cancel.remove_new_shields()


def described(error: BaseException) -> str:
    """An error, and where it was raised if that is outside this kit."""
    text = str(error) if isinstance(error, TinytownError) else "".join(traceback.format_exception_only(error)).strip()
    named = text if not isinstance(error, TinytownError) else f"{type(error).__name__}: {text}"
    kit = Path(__file__).parent
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent != kit]
    if not frames:
        return named
    return f"{named} (at {Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})"


def raised(error: Exception) -> str:
    """The text for an error raised by the object's code; that of a broken promise is unchanged."""
    return str(error) if isinstance(error, Broken) else f"raised {shown(repr(error), _RAISED_LENGTH)}"


def run_check(
    check: Callable[P, Coroutine[Any, Any, CheckReport]], *arguments: P.args, **options: P.kwargs
) -> CheckReport:
    """Run one of the checks without an async test: ``run_check(check_gate, MyGate).raise_if_broken()``."""
    return trio.run(partial(check, *arguments, **options))
