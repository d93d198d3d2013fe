"""What every health check promises (H1, H2, ...), and how each promise is checked: in a real town, on a server of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Unpack

from tinytown_cli.client import TownClient
from tinytown_cli.contracts import Finding, HealthCheck

from tinytown_testing.contract_checks import CheckOptions, check_town_promises
from tinytown_testing.promises import Broken, CheckReport, Contract
from tinytown_testing.town_samples import expect_unchanged, fill_town
from tinytown_testing.trial import Trial, check_word, expect, expect_list, expect_prompt

_LEVELS = ("ok", "note", "problem")


@dataclass(slots=True)
class HealthCheckTrial(Trial):
    """One attempt at one promise of a health check."""

    make: Callable[[], HealthCheck]
    town: TownClient

    def findings(self) -> list[Finding]:
        """What it finds. Broken unless these are findings."""
        return expect_list(self.make().check(self.town), Finding, "from check()")


HEALTH_CHECK = Contract[HealthCheckTrial]("health check")


async def check_health_check(
    make: Callable[[], HealthCheck],
    **options: Unpack[CheckOptions],
) -> CheckReport:
    """Check the health checks that `make` makes. The options are those of every check, see `CheckOptions`.

    Raises: ServerUnreachable if no embedded server can be started.
    """
    return await check_town_promises(
        HEALTH_CHECK,
        lambda place, slack_s, town: HealthCheckTrial(place, slack_s, make, town),
        name=lambda: make().name,
        **options,
    )


@HEALTH_CHECK.promise("H1", "Its name is a word that can be typed and stored.")
async def _name(trial: HealthCheckTrial) -> None:
    check_word("name", trial.make().name)


@HEALTH_CHECK.promise("H2", "It returns findings, in an empty town and in one with agents and tasks.")
async def _findings(trial: HealthCheckTrial) -> None:
    trial.findings()
    fill_town(trial.town)
    trial.findings()


@HEALTH_CHECK.promise("H3", "A finding names its check and what was found; a problem has a fix.", requires=("H2",))
async def _complete(trial: HealthCheckTrial) -> None:
    for finding in trial.findings():
        if finding.level not in _LEVELS:
            raise Broken(f"expected one of {', '.join(_LEVELS)} as level, got {finding.level!r}")
        if not (expect(finding.check, str, "as check").strip() and expect(finding.found, str, "as found").strip()):
            raise Broken(f"expected texts in {finding}")
        if finding.level == "problem" and not expect(finding.fix, str, "as fix").strip():
            raise Broken(f"the problem {finding.found!r} has no fix")


@HEALTH_CHECK.promise("H4", "It changes nothing in the town.", requires=("H2",))
async def _changes_nothing(trial: HealthCheckTrial) -> None:
    expect_unchanged(trial.town, trial.findings)


@HEALTH_CHECK.promise("H5", "It returns within seconds, and leaves nothing behind.", requires=("H2",))
async def _prompt(trial: HealthCheckTrial) -> None:
    trial.findings()
    async with trial.expect_no_leaks("a health check"):
        expect_prompt("check()", trial.findings)
