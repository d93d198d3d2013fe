"""Links that were in a repository's own directory before any agent worked there: those that an agent makes are removed.

git writes through links: to ``packed-refs``, the index, reflogs, messages. A link that an agent makes in ``.git`` has the git
of whoever commits next write to a file of that person, in part what the agent has chosen. git itself makes none there, but
some tools do, before any agent works there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tinytown.files import replace_file
from tinytown.state import state_directory

from tinytown_sandbox.outside import odd_entries

_FILE = "git-links.json"


class GitLinks:
    """What is known of the repositories of one town; kept among its state, out of sight of boxes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, list[str]] | None = None

    def before_agents(self, directories: Iterable[Path]) -> dict[str, list[str]]:
        """Each of git's directories -> the links in it when it was first asked for. Never raises."""
        known = self._read() if self._known is None else self._known
        asked = {str(path): known.get(str(path)) for path in directories}
        found = {path: sorted(odd_entries(path)) for path, links in asked.items() if links is None}
        self._known = known | found
        if found:
            with suppress(OSError):
                replace_file(self._path(), json.dumps(self._known).encode())
        return {path: self._known[path] for path in asked}

    def _read(self) -> dict[str, list[str]]:
        with suppress(OSError, ValueError, AttributeError):
            return {str(path): [*map(str, links)] for path, links in json.loads(self._path().read_bytes()).items()}
        return {}

    def _path(self) -> Path:
        return state_directory(self._root) / _FILE
