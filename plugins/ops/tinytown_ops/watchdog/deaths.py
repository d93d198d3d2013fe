"""Which plugin was called when a process of the town died: a line in a file that outlives the process accuses it.

A plugin that ends the interpreter in its import or in a hook (`os._exit`, a crash in an extension) would end the town at each
start. Before each call its name is written, afterwards it is removed. A line that is left accuses the plugin, and after
`MOST_DEATHS` it is not loaded: until the installation, the settings or its files have changed.
"""

from __future__ import annotations

import fcntl
import importlib.util
import logging
import os
import weakref
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tinytown.config import CONFIG_FILE
from tinytown.entry_points import installed, loading_state
from tinytown.errors import PluginRefused, TinytownError
from tinytown.hookspecs import ENTRY_POINT_GROUP
from tinytown.identity import inside_a_round
from tinytown.state import state_directory

_log = logging.getLogger("tinytown.kernel")

#: How many deaths it takes: one may be a ``kill -9`` at a bad moment.
MOST_DEATHS = 2

_FILE = "plugin-calls"
_IMPORT = "load"


class Death(NamedTuple):
    """A call of a plugin that never returned: its import (``load``), or a hook. `at_ns` is when it began, since 1970."""

    plugin: str
    stage: str
    at_ns: int

    def __str__(self) -> str:
        during = "its import" if self.stage == _IMPORT else self.stage
        return f"a process of the town died in {during}"


def read_deaths(root: Path) -> list[Death]:
    """What is recorded of the town at `root` on this machine, oldest first."""
    with suppress(OSError, TinytownError):
        state, deaths, _ = _read(state_directory(root) / _FILE)
        return deaths if state == loading_state(root / CONFIG_FILE) else []
    return []


class CallGuard:
    """Marks the calls of plugins in the town at `root`, and refuses to load a plugin in whose calls processes have died.

    One process at a time marks them: the kernel while it runs, else a command. The others only know of deaths.
    """

    def __init__(self, root: Path) -> None:
        self._descriptor = -1
        self._state = loading_state(root / CONFIG_FILE)
        self._deaths: list[Death] = []
        self._calls: list[tuple[str, str]] = []
        self._left_out: set[str] = set()
        self._end = 0
        with suppress(OSError, TinytownError):  # without the file nothing is marked
            self._open(state_directory(root) / _FILE)

    def check(self, plugin: str) -> None:
        """Raises: PluginRefused for a plugin that is not to be loaded."""
        deaths = [death for death in self._deaths if death.plugin == plugin]
        if len(deaths) >= MOST_DEATHS and deaths[-1].at_ns > _changed_ns(plugin):
            self._left_out.add(plugin)
            raise PluginRefused(
                f"it is not loaded: processes of the town died in it, {len(deaths)} in a row; the last time {deaths[-1]}",
                hint="update it, or install it again; it is tried again once that or the settings have changed",
                code="plugin_deaths",
            )

    @contextmanager
    def call(self, plugin: str, stage: str) -> Generator[None]:
        """Around a call."""
        self._calls.append((plugin, stage))
        self._mark()
        try:
            yield
        finally:  # whatever it raised, the process lives
            self._calls.pop()
            if plugin not in self._left_out and any(death[:2] == (plugin, stage) for death in self._deaths):
                self._keep(death for death in self._deaths if death[:2] != (plugin, stage))
            self._mark()

    def _open(self, path: Path) -> None:
        if not inside_a_round():
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
            else:
                self._descriptor = descriptor
                weakref.finalize(self, os.close, descriptor)
        state, deaths, left = _read(path)
        if state == self._state:
            self._deaths = deaths
        if self._descriptor >= 0:
            if left and state == self._state:
                _log.error("plugin %s: %s", left.plugin, left)
                self._deaths.append(left)
            self._keep(self._deaths)

    def _keep(self, deaths: Iterable[Death]) -> None:
        self._deaths = list(deaths)
        if self._descriptor >= 0:
            lines = [self._state, *("\t".join(map(str, death)) for death in map(tuple, self._deaths))]
            content = "".join(f"{line}\n" for line in lines).encode()
            os.pwrite(self._descriptor, content, 0)
            self._end = len(content)
            os.ftruncate(self._descriptor, self._end)

    def _mark(self) -> None:
        """Write which call is in progress, as a line without an end."""
        if self._descriptor >= 0:
            marker = "\t".join(self._calls[-1]).encode() if self._calls else b""
            with suppress(OSError):  # a full disk
                os.pwrite(self._descriptor, marker, self._end)
                os.ftruncate(self._descriptor, self._end + len(marker))


def _read(path: Path) -> tuple[str, list[Death], Death | None]:
    """What a file says: of which state of the installation, the deaths, and the call that is, or was, in progress. A damaged
    file says nothing."""
    state, *lines = path.read_text("utf-8", "replace").split("\n")
    try:
        deaths = [
            Death(plugin, stage, int(at_ns)) for plugin, stage, at_ns in (line.split("\t") for line in lines[:-1])
        ]
    except ValueError:
        return "", [], None
    if not lines or not lines[-1]:
        return state, deaths, None
    plugin, _, stage = lines[-1].partition("\t")
    return state, deaths, Death(plugin, stage, path.stat().st_mtime_ns)


def _changed_ns(plugin: str) -> int:
    """When a file of the plugin's package has changed last; 0 if that cannot be said."""
    paths: list[Path] = []
    for entry in installed(ENTRY_POINT_GROUP):
        if entry.name == plugin:
            with suppress(ImportError, ValueError):
                spec = importlib.util.find_spec(entry.value.partition(":")[0].partition(".")[0].strip())
                paths += [Path(spec.origin)] if spec and spec.origin else []
                paths += [
                    path
                    for each in (spec and spec.submodule_search_locations) or ()
                    for path in Path(each).rglob("*.py")
                ]
    return max((path.stat().st_mtime_ns for path in paths if path.is_file()), default=0)
