"""Where a town's state is: outside of the project, out of reach of the commands that agents run there.

``tinytown.toml`` names the town's `id`. Its state (the server's data, logs, transcripts, the agents' directories) is in
``$XDG_STATE_HOME/tinytown/<id>/``; beside it is a record of where the project is and what its settings say, which
outlives both. A town without an id is known by its path. Source: the XDG Base Directory Specification.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import tomllib
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from tinytown.config import CONFIG_FILE
from tinytown.entry_points import installed
from tinytown.errors import NotFound, Refused, TinytownError
from tinytown.files import replace_file
from tinytown.identity import TOWN_VARIABLE, inside_a_round
from tinytown.model.ids import check_town_name, town_name_from
from tinytown.model.text import shown
from tinytown.packages import install_hint


class TownRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a town beside its state: its project's root, the text of its settings, whether it had data."""

    root: str
    settings: str = ""
    has_data: bool = False


#: Root -> what its settings say of the state; kept, so that a running kernel stays with its state.
_known: dict[Path, tuple[str, str]] = {}


def find_town(start: Path | None = None) -> Path:
    """The root of the town that `start` (default: TINYTOWN_TOWN, else the current directory) is in.

    In a linked git worktree it is the town of the main one. Raises: NotFound if there is none there or in any directory above.
    """
    named = os.environ.get(TOWN_VARIABLE)
    begin = start or (Path(named) if named else None)
    try:
        begin = (begin or Path.cwd()).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        why, hint = f"no such directory: {shown(str(begin))}", "name the town's directory with --town"
        if begin is None:
            why = f"cannot read the current directory: {getattr(error, 'strerror', error)}"
            hint = "change to one that exists"
        raise NotFound(why, hint=hint) from error
    for directory in (begin, *begin.parents):
        own, main = (directory / CONFIG_FILE).is_file(), main_worktree(directory)
        if main and (main / CONFIG_FILE).is_file() and (not own or _settings_id(directory) == _settings_id(main) != ""):
            return main
        if own:
            return directory
    raise NotFound(f"no town in {begin} or above it: no {CONFIG_FILE}", hint="tt init makes one")


def state_home() -> Path:
    """The directory with the state of all towns of this user."""
    home = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(home):
        home = os.path.expanduser("~/Library/Application Support" if sys.platform == "darwin" else "~/.local/state")
    return Path(home, "tinytown")


def new_town_id(name: str) -> str:
    """An id for a new town."""
    return f"{name[:50]}-{os.urandom(4).hex()}"


def town_id(root: Path) -> str:
    """The id of the town at `root`: that of its settings, else one that its path gives. Raises as `state_directory`."""
    return _settings(root)[0]


def state_directory(root: Path) -> Path:
    """The directory with the state of the town at `root`. Creates nothing.

    Raises: Refused with code ``town_copied`` for a copy of a project whose original is still there.
    """
    id_, directory = _settings(root)
    return root / Path(directory).expanduser() if directory else state_home() / id_


def beside_state(id_: str, suffix: str) -> Path:
    """A path beside the state of a town, which it is to outlive. `suffix` begins with @, which no id has: it is no other town's
    state. ``@lock`` and ``@record.json`` are taken."""
    return state_home() / f"{id_}{suffix}"


def read_record(id_: str) -> TownRecord | None:
    """The record of a town; None if there is none that can be read."""
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(beside_state(id_, "@record.json").read_bytes(), type=TownRecord)
    return None


def records() -> Iterator[tuple[str, TownRecord]]:
    """The ids of all towns of this user that have a record, and their records, the newest first."""
    changed = {path: path.stat().st_mtime for path in state_home().glob("*@record.json") if path.exists()}
    for path in sorted(changed, key=changed.__getitem__, reverse=True):
        if record := read_record(id_ := path.name.partition("@")[0]):
            yield id_, record


def open_state(root: Path, *, stop_server: Callable[[Path], object] = lambda _: None) -> Path:
    """The state directory of the town at `root`, made if need be, for this user alone; its record says where the project is.

    State in the project (``.tt``, until release 0.2), or under the path of a project that had no id, is moved once, by a plugin;
    `stop_server` ends a server that runs there. Inside an agent's round nothing is made or written.
    Raises: OSError; Refused as `state_directory`, as `migration`, with code ``foreign_directory`` for a link or another user's
    directory, ``kernel_running`` if a kernel uses the state that is to move.
    """
    directory = state_directory(root)
    if inside_a_round():
        return directory
    id_ = town_id(root)
    if not directory.exists():
        state_home().mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(beside_state(id_, "@lock"), os.O_RDWR | os.O_CREAT, 0o600)) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not directory.exists() and (former := _former_state(root, id_)):
                migration("state")(root, former, directory, stop_server)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700, parents=True)
    check_private(directory)
    record = read_record(id_)
    _write_record(id_, record, root=str(root), settings=_text(root) or (record.settings if record else ""))
    return directory


def migration(what: str) -> Any:
    """What brings the ``state`` or the ``data`` of a town from an older release to this one: an entry point of that name in the
    group ``tinytown.migrations``. Raises: Refused with code ``older_release`` if there is none.
    """
    for entry in installed("tinytown.migrations"):
        if entry.name == what:
            return entry.load()
    hint = install_hint("parts", "migrations")
    raise Refused(f"the {what} of this town is of an older release", hint=hint, code="older_release")


def mark_data(root: Path, *, has_data: bool = True) -> None:
    """Record whether the town has data, so that it is missed if it is gone."""
    if record := read_record(town_id(root)):
        _write_record(town_id(root), record, has_data=has_data)


def main_worktree(directory: Path) -> Path | None:
    """The main working tree if `directory` is the top of a linked one of git's, else None.

    Source: gitrepository-layout(5): there ``.git`` is a file that names a directory with a file ``commondir``.
    """
    with suppress(OSError, UnicodeDecodeError):
        if not (directory / ".git").is_file():
            return None
        git = directory / (directory / ".git").read_text().removeprefix("gitdir:").strip()
        return (git / (git / "commondir").read_text().strip()).resolve().parent
    return None


def _settings(root: Path) -> tuple[str, str]:
    """The town's id, and the directory of its state if the settings name one."""
    if root not in _known:
        by_path, table = _id_by_path(root), _table(root)
        if table is None:  # deleted or broken: the records know
            return next((id_ for id_, record in records() if record.root == str(root)), by_path), ""
        directory: Any = None
        with suppress(KeyError, TypeError):
            directory = table["state"]["directory"]
        id_ = _id_in(table)
        record = read_record(id_) if id_ else None
        if record and record.root != str(root) and _settings_id(Path(record.root)) == id_:
            raise Refused(
                f"{root} is a copy of the town at {record.root}: both have the id {id_!r}",
                hint=f"work in {record.root}, or give this copy another id in {CONFIG_FILE}, which makes it a town of its own",
                code="town_copied",
            )
        _known[root] = id_ or by_path, directory if isinstance(directory, str) else ""
    return _known[root]


def _id_by_path(root: Path) -> str:
    return f"{town_name_from(root.name)[:50]}-{zlib.crc32(os.fsencode(root)):08x}"


def _former_state(root: Path, id_: str) -> Path | None:
    """Where a former release has the state of the town, or where it was before the project had an id; None if there is none."""
    former_id, old = _id_by_path(root), root / ".tt"
    former = read_record(former_id)
    if former_id != id_ and former and former.root == str(root):
        old = state_home() / former_id
    return old if (old / "kernel.lock").exists() or (old / "server.lock").exists() else None


def _settings_id(root: Path) -> str:
    """The id in the settings at `root`; empty without."""
    return _id_in(_table(root) or {})


def _id_in(table: dict[str, Any]) -> str:
    """The id in these settings; empty without a valid one."""
    with suppress(TinytownError):
        return check_town_name(str(table.get("id", "")))
    return ""


def _text(root: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return (root / CONFIG_FILE).read_text(encoding="utf-8")
    return ""


def _table(root: Path) -> dict[str, Any] | None:
    with suppress(tomllib.TOMLDecodeError, RecursionError):
        return tomllib.loads(text) if (text := _text(root)) else None
    return None


def _write_record(id_: str, record: TownRecord | None, **changes: Any) -> None:
    changed = msgspec.structs.replace(record or TownRecord(root=""), **changes)
    if changed != record:
        state_home().mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(beside_state(id_, "@record.json"), msgspec.json.encode(changed))


def check_private(directory: Path) -> None:
    """Raises: Refused with code ``foreign_directory`` unless it is a directory of this user, whom alone it then admits."""
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        mode, user = stat.filemode(status.st_mode), status.st_uid
        raise Refused(
            f"expected the state directory {directory} to be a directory of user {os.geteuid()}, it is {mode} of user {user}",
            hint="move it away, or name another one as state.directory",
            code="foreign_directory",
        )
    if status.st_mode & 0o077:
        directory.chmod(0o700)


def require_data(root: Path) -> None:
    """Raises: NotFound with code ``data_gone`` if the town is recorded to have had data."""
    if (record := read_record(town_id(root))) and record.has_data:
        raise NotFound(
            f"the data of the town at {root} is gone: {state_directory(root)} has none",
            hint="tt uninstall --force forgets the town",
            code="data_gone",
        )
