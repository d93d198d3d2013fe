"""Which entry points of Tinytown's groups are installed, without importing a plugin or `importlib.metadata`.

Importing `importlib.metadata` takes 20 to 60 ms, too long for a quick command. What it would find in the directories of
`sys.path` is read here from the files that installers write: some 10 µs for each installed distribution. Archives on the path
and finders of other kinds are not asked. Source: the entry points specification, and "Recording installed projects" (PyPA).
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

#: The groups are ``tinytown`` and everything that begins with ``tinytown.``.
PROJECT = "tinytown"

_METADATA = {".dist-info": "METADATA", ".egg-info": "PKG-INFO"}


class IndexedEntryPoint(NamedTuple):
    """An installed entry point. `value` is ``module`` or ``module:attribute``; `distribution` is named as its metadata does."""

    name: str
    value: str
    distribution: str
    version: str

    def load(self) -> Any:
        """What `value` names. Raises: whatever importing it raises, AttributeError."""
        import importlib

        module, _, attribute = self.value.partition(":")
        loaded: Any = importlib.import_module(module.strip())
        for part in filter(None, attribute.partition("[")[0].strip().split(".")):
            loaded = getattr(loaded, part)
        return loaded


def installed(group: str) -> tuple[IndexedEntryPoint, ...]:
    """The entry points of `group`, by name and distribution; several may have one name. Imports no plugin; blocks for a few ms.
    A distribution installed twice counts as the first on the path."""
    entries: list[IndexedEntryPoint] = []
    seen: set[str] = set()
    for directory, text in _announcing():
        distribution = os.path.basename(directory).partition("-")[0].lower().replace("_", "-").replace(".", "-")
        pairs = [] if distribution in seen else list(_entries(text, group))
        seen.add(distribution)
        if pairs and all(known := _name_and_version(directory)):
            entries += [IndexedEntryPoint(*pair, *known) for pair in pairs]
    return tuple(sorted(entries, key=lambda entry: (entry.name, entry.distribution)))


def plugin_entries(root: Path) -> list[IndexedEntryPoint]:
    """The entry points of plugins: the installed ones, and what the functions in ``tinytown.plugin_finders`` find for a town."""
    finders = installed(f"{PROJECT}.plugin_finders")
    return [*installed(PROJECT), *(entry for finder in finders for entry in finder.load()(root))]


def loading_state(settings: Path) -> str:
    """What plugins are loaded from now for the town with this settings file, in three words: Python, installation, settings."""
    try:
        content = settings.read_bytes() + repr(plugin_entries(settings.parent)).encode()
    except OSError:
        return ""
    return f"{sys.prefix}@{installation_state():x}@{zlib.crc32(content):x}"


def installation_state() -> int:
    """A number that differs once anything with entry points of Tinytown's groups was installed, reinstalled or removed."""
    files = [(directory, os.stat(f"{directory}/entry_points.txt").st_mtime_ns) for directory, _ in _announcing()]
    return zlib.crc32(repr(files).encode("utf-8", "replace"))


def _announcing() -> Iterator[tuple[str, str]]:
    """The metadata of each distribution with such entry points, as a directory, and the text of its ``entry_points.txt``."""
    for path in dict.fromkeys(os.path.abspath(entry) for entry in sys.path if type(entry) is str):
        try:
            names = sorted(name for name in os.listdir(path) if name.endswith(tuple(_METADATA)))
        except OSError:
            continue
        for name in names:
            if f"[{PROJECT}" in (text := _read(f"{path}/{name}/entry_points.txt")):
                yield f"{path}/{name}", text


def _name_and_version(directory: str) -> tuple[str, str]:
    """What the metadata call the distribution; empty where they cannot be read: a package that cannot be called installed."""
    head = _read(f"{directory}/{_METADATA[directory[-10:]]}").partition("\n\n")[0]
    fields = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line and line[0] in "NV")
    return fields.get("Name", "").strip(), fields.get("Version", "").strip()


def _entries(text: str, group: str) -> Iterator[tuple[str, str]]:
    """Name and value of each entry of a group. Source: the format is that of `configparser`, with ``=`` alone."""
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[]")
        elif section == group and "=" in line and line[0] not in "#;":
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()


def _read(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read().decode()
    except (OSError, ValueError):
        return ""
