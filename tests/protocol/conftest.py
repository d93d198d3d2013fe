"""What the protocol's tests share: towns on a real server whose keys can all be inspected, and settings of hypothesis."""

from __future__ import annotations

import os

import hypothesis
import pytest
from tinytown_cli.blocking_client import BlockingClient
from tinytown_testing.bare_town import BareTown, Dump, add_town, fresh_town, key_type, without_times

__all__ = ["MACHINE", "BareTown", "Dump", "add_town", "fresh_town", "key_type", "without_times"]

#: More examples for a long run: TINYTOWN_EXAMPLES=2000. The few of a normal run are the same ones every time.
EXAMPLES = int(os.environ.get("TINYTOWN_EXAMPLES", "100"))
DEADLINE_S = 240 * max(1, EXAMPLES // 100)  # it takes five on an idle machine
MACHINE = hypothesis.settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize="TINYTOWN_EXAMPLES" not in os.environ,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this directory has a deadline."""
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):
            item.add_marker(pytest.mark.deadline_s(DEADLINE_S))
            item.add_marker(pytest.mark.usefixtures("deadline"))


@pytest.fixture(scope="session")
def client(server_client: BlockingClient) -> BlockingClient:
    """A client of the session's server."""
    return server_client


@pytest.fixture
def town(bare_town: BareTown) -> BareTown:
    """A new town, alone on the server."""
    return bare_town
