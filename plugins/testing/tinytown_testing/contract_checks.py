"""The frame that all checks of a contract share: open a sandbox, make a trial, check its promises.

Knows nothing of any one contract; `plugin_check` calls the checks for everything that a plugin contributes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypedDict, TypeVar, Unpack

from tinytown.model.text import shown
from tinytown.town import Town
from tinytown_cli.client import TownClient

from tinytown_testing.promises import CheckReport, Contract
from tinytown_testing.sandbox import Sandbox, use_sandbox
from tinytown_testing.trial import SLACK_S, Trial

T = TypeVar("T", bound=Trial)


class CheckOptions(TypedDict, total=False):
    """The keywords of every check.

    - `only`: the ids of the promises to check (``{"B3"}``), by default all.
    - `sandbox`: where to check; by default in a sandbox of its own.
    - `slack_s`: how much longer than stated everything may take, by default `SLACK_S`.
    """

    only: Collection[str] | None
    sandbox: Sandbox | None
    slack_s: float


async def check_promises(
    contract: Contract[T],
    make_trial: Callable[[Sandbox, float], T],
    *,
    name: Callable[[], object] | None = None,
    subject: str = "",
    only: Collection[str] | None = None,
    sandbox: Sandbox | None = None,
    slack_s: float = SLACK_S,
) -> CheckReport:
    """Check the promises of `contract`, in the sandbox, on the trial that `make_trial` makes from it and `slack_s`.

    The report is about `subject`, by default the contract's name, and `name`, which is called in the sandbox. Raises:
    UsageError for an unknown id in `only`.
    """
    async with use_sandbox(sandbox) as place:
        named = "" if name is None else f" {shown(str(name()))}"
        return await contract.check(f"{subject or contract.name}{named}", make_trial(place, slack_s), only)


async def check_connected_promises(
    contract: Contract[T],
    make_trial: Callable[[Sandbox, float, Town], T],
    *,
    name: Callable[[], object],
    **options: Unpack[CheckOptions],
) -> CheckReport:
    """As `check_town_promises`, with the town as the kernel's objects are given it."""
    async with use_sandbox(options.get("sandbox")) as place, place.open_town() as town:
        options["sandbox"] = place
        return await check_promises(contract, lambda _, slack_s: make_trial(place, slack_s, town), name=name, **options)


async def check_town_promises(
    contract: Contract[T],
    make_trial: Callable[[Sandbox, float, TownClient], T],
    *,
    name: Callable[[], object],
    **options: Unpack[CheckOptions],
) -> CheckReport:
    """As `check_promises`, with a town whose server runs and whose kernel does not.

    Raises: ServerUnreachable if no embedded server can be started.
    """
    async with use_sandbox(options.get("sandbox")) as place:
        options["sandbox"] = place
        with place.open_client() as town:
            return await check_promises(
                contract, lambda _, slack_s: make_trial(place, slack_s, town), name=name, **options
            )
