"""How long the lease of a kernel lasts."""

from __future__ import annotations

from tinytown.model.results import Host
from tinytown.model.time import parse_rfc3339


def lease_left(host: Host, now_ms: int) -> float:
    """Seconds until the lease of a kernel expires; below 0 for one that has expired. `now_ms` is the server's clock."""
    return round((parse_rfc3339(host.lease_until) - now_ms) / 1000, 3) if host.lease_until else 0.0
