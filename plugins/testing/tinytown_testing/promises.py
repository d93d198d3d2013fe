"""Promises: numbered sentences about an object of a plugin, each with a check, and what came of checking them.

Knows how a book of promises is kept, run and reported, and that a check may hang; what is promised stands in the other
modules of this package. A promise that could not be tried is never reported as kept.
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

from tinytown_testing.shields import Shields

Status = Literal["ok", "broken", "not_applicable"]

#: What one promise may take before it counts as broken, whatever it is about.
PATIENCE_S = 300.0
_STUCK_S = 5.0  # beyond the patience, before shields are taken away
_SEEN_LENGTH = 600
_RAISED_LENGTH = 300


class Attempt(Protocol):
    """What every trial has."""

    shields: Shields


T = TypeVar("T", bound=Attempt)
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Promise:
    """One numbered sentence. It is not tried when one of those that it `rests_on` is broken, or rests on a broken one."""

    id: str
    sentence: str
    rests_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one promise: `seen` is what broke it, or why it could not be tried."""

    promise: Promise
    status: Status
    seen: str = ""
    duration_s: float = 0.0

    def __str__(self) -> str:
        line = f"{self.promise.id} {self.status.replace('_', ' ')}: {self.promise.sentence}"
        return f"{line}\n    {self.seen}" if self.seen else line


class BrokenPromise(AssertionError):
    """At least one promise is broken; says which, and what was seen. `findings` has them."""

    def __init__(self, subject: str, findings: tuple[Finding, ...]) -> None:
        super().__init__("\n".join([subject, *map(str, findings)]))
        self.subject = subject
        self.findings = findings


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What came of all promises that `subject` (``backend echo``) was held to, in their order."""

    subject: str
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> tuple[Finding, ...]:
        return self._having("broken")

    @property
    def passed(self) -> tuple[Finding, ...]:
        return self._having("ok")

    @property
    def not_applicable(self) -> tuple[Finding, ...]:
        """Those that could not be tried, each with the reason in `seen`."""
        return self._having("not_applicable")

    def raise_if_broken(self) -> None:
        """Raises: BrokenPromise, naming every promise that is broken."""
        if self.broken:
            raise BrokenPromise(self.subject, self.broken)

    def __str__(self) -> str:
        return "\n".join([self.subject, *map(str, self.findings)])

    def _having(self, status: Status) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.status == status)


class Broken(Exception):
    """Raised inside a check: the promise is broken, and this is what was seen."""


class NotApplicable(Exception):
    """Raised inside a check: the promise cannot be tried, for this reason."""


class Book(Generic[T]):
    """The promises of one contract. A check takes a trial and raises `Broken` or `NotApplicable`."""

    def __init__(self, contract: str) -> None:
        self.contract = contract
        self._checks: dict[str, tuple[Promise, Callable[[T], Awaitable[None]]]] = {}

    @property
    def promises(self) -> tuple[Promise, ...]:
        return tuple(promise for promise, _ in self._checks.values())

    def promise(
        self, id: str, sentence: str, *, rests_on: tuple[str, ...] = ()
    ) -> Callable[[Callable[[T], Awaitable[None]]], Callable[[T], Awaitable[None]]]:
        """The decorator that makes a function the check of a new promise."""
        assert id not in self._checks, id
        assert self._checks.keys() >= set(rests_on), "a promise rests on earlier ones"

        def enter(check: Callable[[T], Awaitable[None]]) -> Callable[[T], Awaitable[None]]:
            self._checks[id] = (Promise(id, sentence, rests_on), check)
            return check

        return enter

    async def hold(self, subject: str, trial: T, only: Collection[str] | None) -> CheckReport:
        """Try the promises (those in `only`, or all), one after the other. Raises: UsageError for an unknown id."""
        unknown = set(only or ()) - self._checks.keys()
        if unknown:
            raise UsageError(
                f"no such promise of a {self.contract}: {', '.join(sorted(unknown))}",
                hint=f"the promises are {', '.join(self._checks)}",
            )
        findings: list[Finding] = []
        unfit: dict[str, str] = {}  # promise that nothing can rest on -> the broken one that is the reason
        for promise, check in self._checks.values():
            if only is not None and promise.id not in only:
                continue
            reason = next((unfit[id] for id in promise.rests_on if id in unfit), None)
            if reason is not None:
                unfit[promise.id] = reason
                findings.append(Finding(promise, "not_applicable", f"it rests on {reason}, which is broken"))
                continue
            findings.append(await _try(promise, check, trial))
            if findings[-1].status == "broken":
                unfit[promise.id] = promise.id
        return CheckReport(subject, tuple(findings))


async def _try(promise: Promise, check: Callable[[T], Awaitable[None]], trial: T) -> Finding:
    began = trio.current_time()

    def found(status: Status, seen: str = "") -> Finding:
        return Finding(promise, status, shown(seen, _SEEN_LENGTH), trio.current_time() - began)

    try:
        async with open_background() as nursery:
            over = trio.Event()
            nursery.start_soon(_free_the_stuck, over, trial.shields)
            try:
                with trio.move_on_after(PATIENCE_S) as patience:
                    await check(trial)
            finally:
                over.set()
        if patience.cancelled_caught:
            return found("broken", f"this took more than {PATIENCE_S:.0f} s")
    except NotApplicable as reason:
        return found("not_applicable", str(reason))
    except Broken as seen:
        return found("broken", str(seen))
    except (Exception, SystemExit) as error:  # the object's code may raise anything; it is the object's doing
        return found("broken", f"it raised {described(error)}")
    return found("ok")


async def _free_the_stuck(over: trio.Event, shields: Shields) -> None:
    """See to it that the check ends: some time after it should have, whether its patience or its caller ended it."""
    try:
        with trio.move_on_after(PATIENCE_S):
            await over.wait()
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _STUCK_S):
            await over.wait()
        if not over.is_set():
            shields.take_later_ones_away()


def described(error: BaseException) -> str:
    """An error with the place it was raised at, as far as that is outside of this kit."""
    text = str(error) if isinstance(error, TinytownError) else "".join(traceback.format_exception_only(error)).strip()
    named = text if not isinstance(error, TinytownError) else f"{type(error).__name__}: {text}"
    kit = Path(__file__).parent
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent != kit]
    if not frames:
        return named
    return f"{named} (at {Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})"


def raised(error: Exception) -> str:
    """What a piece of the object's code has raised, in words; what a trial has seen stays as it is."""
    return str(error) if isinstance(error, Broken) else f"it raised {shown(repr(error), _RAISED_LENGTH)}"


def run_check(
    check: Callable[P, Coroutine[Any, Any, CheckReport]], *arguments: P.args, **options: P.kwargs
) -> CheckReport:
    """Run one of the checks without an async test: ``run_check(check_gate, MyGate).raise_if_broken()``."""
    return trio.run(partial(check, *arguments, **options))
