"""What every gate promises (G1, G2, ...), and how each promise is tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Unpack

import trio
from tinytown.contracts import Gate, Verdict
from tinytown.model.text import shown
from tinytown.town import Town

from tinytown_testing.contract_checks import CheckOptions, check_connected_promises
from tinytown_testing.promises import Broken, CheckReport, Contract, NotApplicable, raised
from tinytown_testing.samples import HOSTILE_TEXTS
from tinytown_testing.scenarios import GateScenario, GateScenarios
from tinytown_testing.trial import CANCELLED_AT_STEPS, Trial, check_word, expect, expect_quick

_CHECK_S = 60.0
_UNDER_WAY_S = 0.2
_numbers = count()


@dataclass(slots=True)
class GateTrial(Trial):
    """One attempt at one promise of a gate."""

    make: Callable[[], Gate]
    scenarios: GateScenarios
    town: Town

    def work(self, scenario: GateScenario) -> Path:
        """A new directory with the scenario's work in it."""
        directory = self.sandbox.work / f"judged-{next(_numbers)}"
        directory.mkdir()
        scenario.prepare(directory)
        return directory

    async def verdict(self, scenario: GateScenario, directory: Path | None = None, gate: Gate | None = None) -> Verdict:
        """The verdict on the scenario's work. Broken unless it is one."""
        agent = self.sandbox.agent()
        work = self.sandbox.work_context(agent, self.sandbox.task(scenario.task, agent=agent), self.town)
        where, judge = directory or self.work(scenario), gate or self.make()
        verdict = await self.within("the check", _CHECK_S, lambda: judge.check(work, where))
        expect(expect(verdict, Verdict, "from check()").passed, bool, "as passed")
        expect(verdict.evidence, str, "as evidence")
        return verdict

    def wants(self, text: str, gate: Gate | None = None) -> bool:
        """Whether the gate wants a task with this text."""
        return (gate or self.make()).wants(self.sandbox.task(text, agent=self.sandbox.agent()))

    def known(self) -> list[GateScenario]:
        """Work to judge: all that the maker gave, else a directory with one small file."""
        given = (self.scenarios.passing, self.scenarios.refused)
        return [each for each in given if isinstance(each, GateScenario)] or [_SMALL]

    def given(self, name: str) -> GateScenario:
        """A scenario of the maker's. Raises: NotApplicable when there is none."""
        scenario = getattr(self.scenarios, name)
        if isinstance(scenario, GateScenario):
            return scenario
        raise NotApplicable(scenario or f"no scenario {name!r} was given")


_SMALL = GateScenario(prepare=lambda directory: (directory / "work.txt").write_text("some work\n"))
_NOTHING = GateScenario(prepare=lambda directory: None)

GATE = Contract[GateTrial]("gate")


async def check_gate(
    make: Callable[[], Gate],
    *,
    scenarios: GateScenarios | None = None,
    **options: Unpack[CheckOptions],
) -> CheckReport:
    """Check the gates that `make` makes. The options are those of every check, see `CheckOptions`."""
    return await check_connected_promises(
        GATE,
        lambda place, slack_s, town: GateTrial(place, slack_s, make, scenarios or GateScenarios(), town),
        name=lambda: make().name,
        **options,
    )


@GATE.promise("G1", "Its name is a word that can be typed and stored.")
async def _name(trial: GateTrial) -> None:
    check_word("name", trial.make().name)


@GATE.promise("G2", "It returns a verdict on any work, and leaves nothing running.")
async def _verdict(trial: GateTrial) -> None:
    for scenario in trial.known():
        await trial.verdict(scenario)
    async with trial.expect_no_leaks("a check"):
        for scenario in trial.known():
            await trial.verdict(scenario)


@GATE.promise("G3", "It accepts an empty directory, and a task with any text.", requires=("G2",))
async def _any_work(trial: GateTrial) -> None:
    await trial.verdict(_NOTHING)
    for what, text in HOSTILE_TEXTS.items():
        try:
            await trial.verdict(GateScenario(task=text, prepare=_SMALL.prepare))
        except Exception as error:
            raise Broken(f"a task with {what}: {raised(error)}") from error


@GATE.promise("G4", "Good work passes.", requires=("G2",))
async def _passes(trial: GateTrial) -> None:
    verdict = await trial.verdict(trial.given("passing"))
    if not verdict.passed:
        raise Broken(f"work that should pass was refused: {shown(verdict.evidence, 200)}")


@GATE.promise("G5", "Bad work is refused.", requires=("G2",))
async def _refuses(trial: GateTrial) -> None:
    scenario = trial.given("refused")
    if not trial.wants(scenario.task):
        raise Broken("work that should be refused is never checked: wants() says False of its task")
    verdict = await trial.verdict(scenario)
    if verdict.passed:
        raise Broken(f"work that should be refused passed: {shown(verdict.evidence, 200) or 'without evidence'}")


@GATE.promise("G6", "A refusal includes evidence: it is all that the agent learns.", requires=("G2",))
async def _evidence(trial: GateTrial) -> None:
    refusals = [verdict for scenario in trial.known() if not (verdict := await trial.verdict(scenario)).passed]
    if not refusals:
        raise NotApplicable("refused nothing, and no scenario 'refused' was given")
    if not all(verdict.evidence.strip() for verdict in refusals):
        raise Broken("refused without evidence")


@GATE.promise("G7", "The same work gets the same verdict, and is not changed.", requires=("G2",))
async def _same_again(trial: GateTrial) -> None:
    for scenario in trial.known():
        directory = trial.work(scenario)
        before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
        first, second = [(await trial.verdict(scenario, directory)).passed for _ in range(2)]
        if first != second:
            raise Broken(f"the same work {'passed' if first else 'was refused'} first and then not")
        changed = [path for path, content in before.items() if not path.is_file() or path.read_bytes() != content]
        if changed:
            raise Broken(f"the check changed {changed[0].relative_to(directory)}")


@GATE.promise("G8", "A cancelled check ends promptly and leaves nothing running.", requires=("G2",))
async def _cancelled(trial: GateTrial) -> None:
    slow = trial.scenarios.slow if isinstance(trial.scenarios.slow, GateScenario) else None
    async with trial.expect_no_leaks("a check that was cancelled"):
        for step in CANCELLED_AT_STEPS:
            await trial.cancel_and_wait("the check", lambda: trial.verdict(trial.known()[0]), at_step=step)
        if slow is not None:
            await trial.cancel_and_wait(
                "the check", lambda: trial.verdict(slow), when=partial(trio.sleep, _UNDER_WAY_S)
            )


@GATE.promise("G9", "It never blocks the event loop.", requires=("G2",))
async def _event_loop(trial: GateTrial) -> None:
    scenarios = trial.known()

    async def work() -> None:
        for scenario in scenarios:
            await trial.verdict(scenario)

    await trial.expect_responsive("the check", work)


@GATE.promise("G10", "wants() answers promptly and consistently for a task with any text.")
async def _wants(trial: GateTrial) -> None:
    gate = trial.make()
    for what, text in HOSTILE_TEXTS.items():
        try:
            answers: list[object] = [trial.wants(text, gate), trial.wants(text, gate)]
        except Exception as error:
            raise Broken(f"a task with {what}: {raised(error)}") from error
        if not isinstance(answers[0], bool) or answers[0] != answers[1]:
            raise Broken(f"expected True or False twice from wants(), got {answers[0]!r} and {answers[1]!r}")
    expect_quick("asking wants()", lambda: trial.wants("do it", gate))
