"""Which entry points of Tinytown's groups are installed, without importing a plugin or, mostly, `importlib.metadata`.

A scan of the installed distributions takes 25 to 85 ms, too long for a quick command, so its result is kept in
``$XDG_CACHE_HOME/tinytown/`` (``~/.cache/tinytown/``), one file for each Python, with the modification times of each
directory of `sys.path` and of its ``entry_points.txt`` files. A directory whose times differ is scanned again; a file that
is damaged, or that others may write, counts as none.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

#: The groups are ``tinytown`` and everything that begins with ``tinytown.``.
PROJECT = "tinytown"

_FORMAT = 1
_SUFFIXES = (".dist-info", ".egg-info", ".egg")
#: A directory that changed less than this before it was scanned may change again without a new modification time.
_SETTLED_NS = 2_000_000_000

#: A directory as the file has it: `settled`, `state` and the entry points, each ``[group, *IndexedEntryPoint]``.
_Record = dict[str, Any]


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
    """The entry points of `group`, by name and distribution; several may have one name.

    Of a distribution that is installed twice the first on the path counts. Imports no plugin. Blocks for less than 1 ms if
    nothing changed since the last call by any process, else for a scan.
    """
    found: dict[str, list[tuple[str, IndexedEntryPoint]]] = {}
    for record in _records():
        here: dict[str, list[tuple[str, IndexedEntryPoint]]] = {}
        for of_group, *fields in record["entries"]:
            entry = IndexedEntryPoint(*fields)
            here.setdefault(_normalized(entry.distribution), []).append((of_group, entry))
        for distribution, entries in here.items():
            found.setdefault(distribution, entries)
    chosen = [entry for entries in found.values() for of_group, entry in entries if of_group == group]
    return tuple(sorted(chosen, key=lambda entry: (entry.name, entry.distribution)))


def installation_state() -> int:
    """A number that differs once anything with entry points of Tinytown's groups was installed, reinstalled or removed."""
    return zlib.crc32(json.dumps([record["state"][1:] for record in _records() if record["entries"]]).encode())


def _records() -> Iterable[_Record]:
    """One record for each directory of the path, from the file where it still holds."""
    directories = list(dict.fromkeys(os.path.abspath(entry) for entry in sys.path if type(entry) is str))
    path = cache_file("entry-points")
    kept = _read(path) if path else {}
    records: dict[str, _Record] = {}
    for directory in directories:
        record = kept.get(directory)
        if record is None or not record["settled"] or record["state"] != _state(directory, record["state"]):
            record = _scan(directory)
        records[directory] = record
    if path and any(record != kept.get(directory) for directory, record in records.items()):
        # The directories of other programs with this Python, such as the current one of each, stay; not without bound.
        others = {name: record for name, record in kept.items() if name not in records}
        directories_known = records | (others if len(others) < 50 else {})
        write_cache(path, {"format": _FORMAT, "executable": sys.executable, "directories": directories_known})
    return records.values()


def cache_file(name: str) -> str | None:
    """Where this Python caches what it knows of plugins under `name`; None without a home directory."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):
        cache = os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(cache):
        return None
    return os.path.join(cache, PROJECT, f"{name}-{zlib.crc32(os.fsencode(sys.executable)):08x}.json")


def _read(path: str) -> dict[str, _Record]:
    """The records of the file; none unless it is whole and of this format and Python."""
    try:
        content = read_cache(path)
        if content["format"] != _FORMAT or content["executable"] != sys.executable:
            return {}
        for record in content["directories"].values():
            _ = record["settled"], record["state"][0], [IndexedEntryPoint(*fields) for _, *fields in record["entries"]]
        return dict(content["directories"])
    except (TypeError, LookupError, AttributeError):
        return {}


def read_cache(path: str) -> Any:
    """The JSON value of a file made by `write_cache`; None unless it is whole and only this user may write it."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return None
            return json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return None


def write_cache(path: str, content: Any) -> None:
    """Replace the file as a whole, so that another process reads the old or the new one. Never raises OSError."""
    partial = f"{path}.{os.getpid()}"
    with contextlib.suppress(OSError, UnicodeError):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(content, file)
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(partial)
            raise


def _state(directory: str, known: Iterable[Any] = ()) -> list[Any]:
    """The modification time of `directory`, then the path and that of each file that `known`, an earlier state, names."""
    return [_changed_ns(directory), *([path, _changed_ns(path)] for path, _ in list(known)[1:])]


def _changed_ns(path: str) -> int:
    """When a file or directory changed last; 0 if it is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except (OSError, ValueError):
        return 0


def _scan(directory: str) -> _Record:
    """The record of a directory, or of an archive, as it is now."""
    began_ns = time.time_ns()
    changed_ns = _changed_ns(directory)
    record: _Record = {"settled": changed_ns < began_ns - _SETTLED_NS, "state": [changed_ns], "entries": []}
    try:
        names = os.listdir(directory)
    except NotADirectoryError:
        names = [".egg"]  # an archive: only importlib.metadata looks into it
    except OSError:
        return record
    if not any(name.endswith(_SUFFIXES) or name == "EGG-INFO" for name in names):
        return record
    import importlib.metadata

    importlib.metadata.MetadataPathFinder().invalidate_caches()  # it has a cache of its own, by modification time alone
    for distribution in importlib.metadata.distributions(path=[directory]):
        try:
            if f"[{PROJECT}" not in (distribution.read_text("entry_points.txt") or ""):
                continue
            name, version = distribution.metadata["Name"], distribution.version
            if not (name and version):
                continue
            entries = [
                [entry.group, entry.name, entry.value, name, version]
                for entry in distribution.entry_points
                if entry.group == PROJECT or entry.group.startswith(f"{PROJECT}.")
            ]
            path = str(distribution._path / "entry_points.txt")  # type: ignore[attr-defined]
        except Exception:  # metadata that cannot be read belongs to a package that cannot be called installed
            continue
        changed_ns = _changed_ns(path)
        record["settled"] = record["settled"] and changed_ns < began_ns - _SETTLED_NS
        record["state"].append([path, changed_ns])
        record["entries"] += entries
    return record


def _normalized(distribution: str) -> str:
    return distribution.lower().replace("_", "-").replace(".", "-")
