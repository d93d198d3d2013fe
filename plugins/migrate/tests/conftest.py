"""The protocol's server and towns, to bring old towns from and into."""

from __future__ import annotations

from tests.protocol.conftest import client, deadline, town

__all__ = ["client", "deadline", "town"]
