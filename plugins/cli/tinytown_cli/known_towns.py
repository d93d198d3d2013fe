"""Where a town is, remembered between commands: its root, name, state and server, by the directory that a command works in.

Finding a town and reading its settings takes a quick command as long as importing click. The answer is kept in the cache
directory and believed while nothing that it depends on has changed: the environment, and each file that was read, or was not
there, on the way from the directory to the root. Nothing secret is kept. Quick to import.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from tinytown.identity import TOWN_VARIABLE, round_url

from tinytown_cli.cache import cache_file, read_cache, write_cache

if TYPE_CHECKING:
    from pathlib import Path

    from tinytown.config import Config
    from tinytown.redis import Address

_FORMAT = 1
_TOWNS_KEPT = 50
#: A file that changed less than this ago may change again without a new modification time.
_SETTLED_NS = 2_000_000_000
#: Variables that decide where files lie, and those that name a server: with one of these a town is not remembered.
_PLACES = ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "TINYTOWN_HOME")
_SERVERS = ("REDIS_URL", "TINYTOWN_REDIS_PASSWORD")


class KnownTown(NamedTuple):
    """What a quick command needs to know. `address`: the fields of the server's `Address`; empty if only a round asked, which has
    its own. `is_embedded`: the server is the town's own."""

    root: str
    name: str
    message_limit_bytes: int
    state: str
    is_embedded: bool
    address: tuple[Any, ...]


def recall_town(start: str | None) -> KnownTown | None:
    """The town that `start` (default: TINYTOWN_TOWN, else the current directory) is in; None if it has to be found."""
    try:
        entry = _towns()[_key(_begin(start))]
        if entry["states"] == [_state(path) for path in entry["files"]] and not _has_link(entry["directories"]):
            *town, address = entry["town"]
            return KnownTown._make([*town, tuple(address)])
    except (LookupError, TypeError, ValueError, OSError):
        pass
    return None


def remember_town(start: str | None, root: Path, config: Config, address: Address) -> None:
    """Remember the town that `start` is in, if it is found again by its files alone: not one that is reached from a linked
    worktree, or with a password."""
    import msgspec
    from tinytown.config import CONFIG_FILE, user_directory
    from tinytown.state import state_directory

    from tinytown_cli.secrets import names_several

    path = cache_file("towns")
    try:
        begin = _begin(start)
        key, directories = _key(begin), _way(begin, str(root))
    except (LookupError, OSError):
        return
    finds_server = config.redis.url is not None and names_several(config.redis.url)  # another one after a failover
    if path is None or address.password or finds_server or _has_link(directories):
        return
    files = [
        *(os.path.join(directory, CONFIG_FILE) for directory in directories),
        str(user_directory() / "config.toml"),
    ]
    states = [_state(path) for path in files]
    if any(state and state[0] > time.time_ns() - _SETTLED_NS for state in states):
        return
    limit, state, is_embedded = config.limits.message_bytes, str(state_directory(root)), config.redis.url is None
    fields = [] if round_url(root) else [*msgspec.structs.astuple(address)]
    town = [str(root), config.name, limit, state, is_embedded, fields]
    entry = {"directories": directories, "files": files, "states": states, "town": town}
    towns = _towns()
    others = towns if len(towns) < _TOWNS_KEPT else {}
    write_cache(path, {"format": _FORMAT, "towns": others | {key: entry}})


def _towns() -> dict[str, Any]:
    """The content of the file; nothing unless it is whole and of this format."""
    path = cache_file("towns")
    content: Any = read_cache(path) if path else None
    if not isinstance(content, dict):
        return {}
    found = cast("dict[str, Any]", content)
    return dict(found["towns"]) if found.get("format") == _FORMAT else {}


def _begin(start: str | None) -> str:
    """Where the search begins, as `find_town` has it. Raises: OSError if that is not there."""
    return os.path.realpath(start or os.environ.get(TOWN_VARIABLE) or os.getcwd(), strict=True)


def _key(begin: str) -> str:
    """Raises: LookupError where the environment names the server."""
    if any(os.environ.get(name) for name in _SERVERS):
        raise LookupError
    return "\0".join([begin, *(os.environ.get(name, "") for name in _PLACES)])


def _way(begin: str, root: str) -> list[str]:
    """The directories from `begin` up to `root`. Raises: LookupError if `root` is not above it."""
    way = [begin]
    while way[-1] != root:
        if way[-1] == os.path.dirname(way[-1]):
            raise LookupError
        way.append(os.path.dirname(way[-1]))
    return way


def _has_link(directories: list[str]) -> bool:
    """Whether one of them is the top of a linked worktree, or of a submodule: there ``.git`` is a file."""
    return any(os.path.isfile(os.path.join(directory, ".git")) for directory in directories)


def _state(path: str) -> list[int]:
    """What changes with the file; empty without one."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_mtime_ns, status.st_size, status.st_ino]
