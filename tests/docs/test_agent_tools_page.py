"""The page of the town's tools for agents lists every tool that `tt agent-tools` serves, with its arguments."""

from __future__ import annotations

import re
from pathlib import Path

from tinytown_testing.shell import Shell

PAGE = Path(__file__).parents[2] / "docs" / "agent-tools.md"


def test_the_page_has_every_tool_with_its_arguments(tt: Shell) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|([^|]*)\|", PAGE.read_text(), re.MULTILINE))
    served = {
        tool["name"]: {
            name + ("" if name in tool["inputSchema"].get("required", ()) else "?")
            for name in tool["inputSchema"]["properties"]
        }
        for tool in tt("agent-tools", "--list", "--json").json["tools"]
    }
    assert {name: set(re.findall(r"`(\w+\??)`", words)) for name, words in rows.items()} == served
