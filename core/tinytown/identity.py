"""The variables that the kernel sets for the processes of a round. They apply to the town that they name only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: Set in an agent's environment: the town's root, so that `tt` works there from any directory.
TOWN_VARIABLE = "TINYTOWN_TOWN"
AGENT_ID_VARIABLE = "TINYTOWN_AGENT_ID"
AGENT_NAME_VARIABLE = "TINYTOWN_AGENT_NAME"
TASK_ID_VARIABLE = "TINYTOWN_TASK_ID"
TASK_TOKEN_VARIABLE = "TINYTOWN_TASK_TOKEN"
ROUND_ID_VARIABLE = "TINYTOWN_ROUND_ID"
#: Where the processes of a round find the town, with the rights of that round: see `contracts.RoundAccess`.
ROUND_URL_VARIABLE = "TINYTOWN_ROUND_URL"
ROUND_ID_VARIABLES = (ROUND_ID_VARIABLE, "TINYTOWN_RUN_ID")  # the second is the name of old, set for one release

#: What a process outside of a round must not inherit from one.
ROUND_VARIABLES = (
    TOWN_VARIABLE,
    AGENT_ID_VARIABLE,
    AGENT_NAME_VARIABLE,
    TASK_ID_VARIABLE,
    TASK_TOKEN_VARIABLE,
    ROUND_URL_VARIABLE,
    *ROUND_ID_VARIABLES,
)

#: What leads git elsewhere, as its hooks have it. Source: ``git rev-parse --local-env-vars``, gitnamespaces(7).
GIT_VARIABLES = frozenset(
    f"GIT_{name}"
    for name in """ALTERNATE_OBJECT_DIRECTORIES COMMON_DIR CONFIG CONFIG_COUNT CONFIG_PARAMETERS DIR GRAFT_FILE IMPLICIT_WORK_TREE
    INDEX_FILE INTERNAL_SUPER_PREFIX NAMESPACE NO_REPLACE_OBJECTS OBJECT_DIRECTORY PREFIX QUARANTINE_PATH REPLACE_REF_BASE
    SHALLOW_FILE WORK_TREE""".split()
)


def inside_a_round() -> bool:
    """Whether this process belongs to a round, of any town: what it starts ends with the round."""
    return any(os.environ.get(name) for name in ROUND_ID_VARIABLES)


def round_url(root: Path | str) -> str:
    """Where a round of the town at `root` finds it, if this process belongs to one; else empty."""
    return os.environ.get(ROUND_URL_VARIABLE, "") if means_town(root, os.environ) else ""


def means_town(root: Path | str, environment: Mapping[str, str]) -> bool:
    """Whether the variables of a round in `environment`, if there are any, are those of the town at `root`."""
    named = environment.get(TOWN_VARIABLE)
    return not named or os.path.realpath(named) == os.path.realpath(root)
