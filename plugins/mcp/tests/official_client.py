"""Speaks with the server by the protocol's official SDK: ``official_client.py auto|legacy COMMAND...``, answers as JSON.

A process of its own: the SDK brings an event loop and a hundred modules that no test should share.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import anyio
from mcp import StdioServerParameters
from mcp.client.client import Client


async def converse(mode: Any, command: list[str]) -> dict[str, Any]:
    server = StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ))
    async with Client(server, mode=mode) as client:
        tools = await client.list_tools()
        mine = await client.call_tool("my_task", {})
        refused = await client.call_tool("send", {"to": "zed", "text": "hello", "kind": "info"})
        assert refused.is_error
        done = await client.call_tool("task_complete", {"result": "by the official client"})
        assert not done.is_error
        return {
            "protocol": client.session.protocol_version,
            "tools": [tool.name for tool in tools.tools],
            "task": mine.structured_content["task"]["id"],
            "refused": refused.structured_content["error"],
            "completed": done.structured_content["state"],
        }


if __name__ == "__main__":
    print(json.dumps(anyio.run(converse, sys.argv[1], sys.argv[2:])))
