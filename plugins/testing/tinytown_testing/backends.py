"""The check of an agent backend: all its promises, those of `backend_promises` and of `backend_surroundings`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from tinytown.contracts import AgentBackend

from tinytown_testing.backend_surroundings import BACKEND as BACKEND
from tinytown_testing.backend_trial import BackendTrial
from tinytown_testing.contract_checks import CheckOptions, check_promises
from tinytown_testing.promises import CheckReport
from tinytown_testing.scenarios import BackendScenarios


async def check_agent_backend(
    make: Callable[[], AgentBackend],
    *,
    scenarios: BackendScenarios | None = None,
    **options: Unpack[CheckOptions],
) -> CheckReport:
    """Check the backends that `make` makes. The options are those of every check, see `CheckOptions`.

    Real time passes: do not use a clock that jumps. Raises: UsageError for an unknown promise; nothing for a broken one,
    see `CheckReport.raise_if_broken`.
    """
    return await check_promises(
        BACKEND,
        lambda place, slack_s: BackendTrial(place, slack_s, make, scenarios or BackendScenarios()),
        name=lambda: make().kind,
        **options,
    )
