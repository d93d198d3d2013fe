"""Where the kernel that serves the numbers says so: a field of the plugin's data."""

from __future__ import annotations

PLUGIN = "metrics"
ADDRESS = "address"
