"""How a CLI starts the town's own tools: an MCP server over stdio, ``tt agent-tools``, which acts as the agent it serves.

The agent's identity, and the password of the town's server if there is one, are in a file that only its owner can read:
no secret gets into a CLI's arguments or into the environment of what the model runs. The server itself is the
distribution `tinytown-mcp`'s.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import msgspec
from tinytown.config import PASSWORD_VARIABLE, URL_VARIABLE

from tinytown_adapters.session_store import write_private

SERVER_NAME = "town"
COMMAND = "agent-tools"
_COMMAND_GROUP = "tinytown.commands"
_FILE = "town-tools.json"
_ALSO = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", URL_VARIABLE, PASSWORD_VARIABLE)


@dataclass(frozen=True, slots=True)
class TownTools:
    """The MCP server as a command: no secret in it, no variables needed. `name` is the server's name in the CLI."""

    command: str
    arguments: tuple[str, ...]
    name: str = SERVER_NAME

    def as_mcp_servers(self, **more: object) -> bytes:
        """The configuration that most CLIs take, as JSON: ``{"mcpServers": {"town": {"command": .., "args": [..]}}}``."""
        server = {"command": self.command, "args": self.arguments, **more}
        return msgspec.json.encode({"mcpServers": {self.name: server}})


def prepare_town_tools(work_dir: Path, environment: Mapping[str, str]) -> TownTools | None:
    """The tools for a round with this (whole) `environment`; None if they are not installed. Raises: OSError."""
    if not _is_installed():
        return None
    needed = {name: value for name, value in environment.items() if name.startswith("TINYTOWN_") or name in _ALSO}
    write_private(work_dir / _FILE, msgspec.json.encode(needed))
    # -P: a file of the workspace must not be taken for a module of Python's.
    return TownTools(sys.executable, ("-P", "-m", __name__, str(work_dir / _FILE)))


@cache
def _is_installed() -> bool:
    """Whether some distribution announces the command."""
    return bool(entry_points(group=_COMMAND_GROUP, name=COMMAND))


def main() -> None:
    """``python -m tinytown_adapters.town_tools FILE``: ``tt agent-tools`` with the variables in FILE."""
    with open(sys.argv[1], "rb") as file:
        os.environ.update(msgspec.json.decode(file.read(), type=dict[str, str]))
    sys.argv = ["tt", COMMAND]
    runpy.run_module("tinytown", run_name="__main__")


if __name__ == "__main__":
    main()
