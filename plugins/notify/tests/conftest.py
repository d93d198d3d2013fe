"""Attempts that follow each other quickly."""

from __future__ import annotations

import pytest


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinytown_notify.delivery._FIRST_RETRY_S", 0.01)
    monkeypatch.setattr("tinytown_notify.delivery._LONGEST_RETRY_S", 0.05)
