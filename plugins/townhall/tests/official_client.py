"""Speaks with a townhall by the protocol's official SDK, and prints what it got as JSON.

``official_client.py MODE http URL KEY``, or ``official_client.py MODE stdio COMMAND...``.

A process of its own: the SDK brings an event loop and a hundred modules that no test should share.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Any

import anyio
import httpx2
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client


async def follow(client: Any, reported: Notices) -> dict[str, Any]:
    """What a client hears of a task that it has subscribed to, and of one that it waits for."""
    task = (await client.call_tool("add_task", {"description": "sum them up"})).structured_content["id"]
    uri = f"tinytown://tasks/{task}"
    if client.session.protocol_version >= "2026":
        async with client.listen(resource_subscriptions=[uri]) as subscription:
            await client.call_tool("hold_task", {"task": task, "reason": "wait"})
            changed = (await anext(aiter(subscription))).uri
    elif client.server_capabilities.resources.subscribe:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the client marks it as of the protocol before
            await client.subscribe_resource(uri)
        await client.call_tool("hold_task", {"task": task, "reason": "wait"})
        changed = await reported.next_change()
    else:
        changed = None
    progress: list[str] = []
    final: list[str] = []

    async def note(_progress: float, _total: float | None, message: str | None) -> None:
        progress.append(message or "")

    async def wait() -> None:
        done = await client.call_tool("wait_for_task", {"task": task}, progress_callback=note)
        final.append(done.structured_content["state"])

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        while not progress:
            await client.call_tool("hold_task", {"task": task, "reason": "wait"})
            await client.call_tool("release_task", {"task": task})
        await client.call_tool("complete_task", {"task": task, "result": "42"})
    return {"uri": uri, "changed": changed, "progress": progress, "final": final[0]}


class Notices:
    """What a server says by itself, in the protocol before today's."""

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[str](100)

    async def take(self, message: Any) -> None:
        if getattr(message, "method", "") == "notifications/resources/updated":
            self._send.send_nowait(str(message.params.uri))

    async def next_change(self) -> str:
        return await self._receive.receive()


def problem(result: Any) -> Any:
    """What went wrong, as JSON; None if nothing did."""
    return json.loads(result.content[1].text) if result.is_error else None


async def converse(mode: Any, client: Any, reported: Notices) -> dict[str, Any]:
    async with client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        status = await client.call_tool("show_status", {})
        missing = await client.call_tool("show_agent", {"agent": "zed"})
        wrong = await client.call_tool("add_task", {"wrong": 1})
        added = await client.call_tool("add_task", {"description": "count the words", "tags": ["x"]})
        task = None if added.is_error else added.structured_content["id"]
        resources = await client.list_resources()
        read = await client.read_resource("tinytown://town/current")
        one = (
            None
            if task is None
            else json.loads((await client.read_resource(f"tinytown://tasks/{task}")).contents[0].text)
        )
        prompts = await client.list_prompts()
        conductor = await client.get_prompt("conductor")
        followed = None if added.is_error else await follow(client, reported)
        return {
            "followed": followed,
            "protocol": client.session.protocol_version,
            "tools": {
                name: [tool.annotations.read_only_hint, tool.annotations.destructive_hint]
                for name, tool in tools.items()
            },
            "town": status.structured_content["town"],
            "missing": [missing.is_error, problem(missing)["code"]],
            "wrong": [wrong.is_error, problem(wrong)["code"]],
            "added": [added.is_error, (added.structured_content or {}).get("state"), problem(added)],
            "resources": [str(resource.uri) for resource in resources.resources],
            "read": json.loads(read.contents[0].text)["town"],
            "task": one and one["description"],
            "prompts": [prompt.name for prompt in prompts.prompts],
            "conductor": conductor.messages[0].content.text,
        }


async def main(mode: Any, transport: str, *words: str) -> None:
    reported = Notices()
    if transport == "stdio":
        server = StdioServerParameters(command=words[0], args=list(words[1:]), env=dict(os.environ))
        print(json.dumps(await converse(mode, Client(server, mode=mode, message_handler=reported.take), reported)))
        return
    url, key = words
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=30) as http:
        print(
            json.dumps(await converse(mode, Client(streamable_http_client(url, http_client=http), mode=mode), reported))
        )


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
