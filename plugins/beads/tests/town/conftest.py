"""Commands of the plugin as a person types them: whole processes in a town of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tinytown_testing.shell import Shell, open_shell


@pytest.fixture(autouse=True)
def every_test_has_a_deadline(deadline: None) -> None: ...


@pytest.fixture
def bare() -> Iterator[Shell]:
    """Runs ``tt`` in an empty directory."""
    with open_shell() as shell:
        yield shell


@pytest.fixture(scope="module")
def tt() -> Iterator[Shell]:
    """Runs ``tt`` in a town without a kernel that the tests of a module share. Each test uses names of its own."""
    with open_shell() as shell:
        shell("init", "--name", "t")
        yield shell
