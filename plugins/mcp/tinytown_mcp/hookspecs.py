"""The hook that the server of agents' tools calls. Found by its entry point in the group ``tinytown.hookspecs``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinytown.config import Config
from tinytown.hookspecs import Contribution, hookspec

from tinytown_mcp import contracts

CONTRIBUTIONS = {"agent_tools": Contribution("tinytown_agent_tools", contracts.AgentTool)}


@hookspec
def tinytown_agent_tools(settings: Any, config: Config, root: Path) -> Sequence[contracts.AgentTool]:  # type: ignore[empty-body]
    """Tools for agents beside the town's own, served to their coding CLI over MCP. Since API 2."""
