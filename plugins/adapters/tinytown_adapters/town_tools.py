"""How a CLI is told to start the town's own tools: an MCP server over stdio, ``tt agent-tools``, as the agent that it serves.

Who that is, and the password of the town's server where there is one, stands in a file of the agent's own: so nothing
secret gets into a CLI's arguments or into the environment of what the model runs. The server itself is `cli`'s.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from tinytown.config import PASSWORD_VARIABLE, URL_VARIABLE
from tinytown_cli.command_table import COMMANDS

from tinytown_adapters.remembered import write_private

SERVER_NAME = "town"
COMMAND = "agent-tools"
_FILE = "town-tools.json"
_ALSO = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", URL_VARIABLE, PASSWORD_VARIABLE)


@dataclass(frozen=True, slots=True)
class TownTools:
    """The MCP server as a command without a secret in it; it needs no variables of its own. `name` is what it is to be called."""

    command: str
    arguments: tuple[str, ...]
    name: str = SERVER_NAME

    def claude_style(self, **more: object) -> bytes:
        """The configuration that most CLIs take, as JSON: ``{"mcpServers": {"town": {"command": .., "args": [..]}}}``."""
        server = {"command": self.command, "args": self.arguments, **more}
        return msgspec.json.encode({"mcpServers": {self.name: server}})


def prepare_town_tools(place: Path, environment: Mapping[str, str]) -> TownTools | None:
    """The tools for a round with this (whole) `environment`; None when this Tinytown has none. Raises: OSError."""
    if not any(name == COMMAND for name in COMMANDS):
        return None
    needed = {name: value for name, value in environment.items() if name.startswith("TINYTOWN_") or name in _ALSO}
    write_private(place / _FILE, msgspec.json.encode(needed))
    # -P: a file of the workspace must not be taken for a module of Python's.
    return TownTools(sys.executable, ("-P", "-m", __name__, str(place / _FILE)))


def main() -> None:
    """``python -m tinytown_adapters.town_tools FILE``: ``tt agent-tools`` with the variables in FILE."""
    with open(sys.argv[1], "rb") as file:
        os.environ.update(msgspec.json.decode(file.read(), type=dict[str, str]))
    sys.argv = ["tt", COMMAND]
    from tinytown_cli.__main__ import main as tt  # late: it may read the environment

    tt()


if __name__ == "__main__":
    main()
