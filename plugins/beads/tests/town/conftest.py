"""Commands of the plugin as a person types them: whole processes in a town of their own."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def every_test_has_a_deadline(deadline: None) -> None: ...
