#!/usr/bin/env python3
"""Stands in for a coding CLI that has reported its result and does not end."""

import json
import sys
import time

sys.stdin.readline()
print(
    json.dumps({"type": "system", "subtype": "init", "session_id": "s-1", "tools": [], "mcp_servers": []}), flush=True
)
print(
    json.dumps({"type": "result", "subtype": "success", "is_error": False, "result": "made it", "session_id": "s-1"}),
    flush=True,
)
time.sleep(3600)
