"""What is outside of the project: where it is, and how a town is removed from this machine."""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path

from tinytown.config import CONFIG_FILE, Config, load_config
from tinytown.errors import NotFound, Refused, TinytownError
from tinytown.kernel import kernel_with_state, running_kernel
from tinytown.model.text import shown
from tinytown.redis import town_server
from tinytown.state import TownRecord, beside_state, read_record, state_directory, state_home, town_id

from tinytown_cli.caller import caller_in
from tinytown_cli.context import CliContext
from tinytown_cli.snapshot_files import SUFFIX, snapshots_directory
from tinytown_cli.town_registry import forget_towns, registry_path
from tinytown_cli.trees import remove_tree


def town_places(root: Path) -> dict[str, str]:
    """Where everything of the town at `root` is, as ``tt where --json`` prints it. Raises: Refused for a copied project."""
    return {
        "project": str(root),
        "id": town_id(root),
        "settings": str(root / CONFIG_FILE),
        "state": str(state_directory(root)),
        "logs": str(state_directory(root) / "logs"),
        "snapshots": str(snapshots_directory(root)),
        "towns": str(registry_path()),
    }


def remove_state(root: Path, config: Config) -> None:
    """Stop the server of the town at `root` and remove all that is outside of the project.

    Raises: Refused if a kernel runs the town.
    """
    _refuse_running(running_kernel(root))
    with contextlib.suppress(TinytownError):
        if server := town_server(root, config):
            server.stop()
    forget_town(root)


def forget_town(root: Path) -> None:
    """Remove the state of the town at `root`, its snapshots and its record; the project stays as it is."""
    _forget(town_id(root), state_directory(root))


def state_left_by(id_: str, record: TownRecord) -> Path | None:
    """The state of a town whose project is gone, or has been made a town of another id; None if the project is there."""
    with contextlib.suppress(TinytownError):  # a copy, whose original this is
        if Path(record.root).is_dir():
            other = town_id(Path(record.root))
            if other == id_ or read_record(other) is None:  # settings that are broken for now are no other town
                return None
        directory: object = ""
        with contextlib.suppress(tomllib.TOMLDecodeError, RecursionError, KeyError, TypeError):
            directory = tomllib.loads(record.settings)["state"]["directory"]
        left = (
            Path(record.root, directory).expanduser()
            if isinstance(directory, str) and directory
            else state_home() / id_
        )
        return left if left.is_dir() else None
    return None


def uninstall_left_state(context: CliContext, id_: str, *, force: bool) -> None:
    """Remove the state of a town whose project is gone, and say so.

    Raises: NotFound for an id without state; Refused for a project that is there, without `force`, or if a kernel runs.
    """
    if (record := read_record(id_)) is None:
        raise NotFound(f"no town with the id {shown(id_)!r} has state on this machine", hint="tt towns lists them")
    caller_in(record.root).refuse_agents("cannot remove a town", "send the supervisor a message")
    state = state_left_by(id_, record)
    if state is None:
        raise Refused(f"the project of {id_} is there: {record.root}", hint="run tt uninstall in it")
    _refuse_running(kernel_with_state(state))
    removed = {"state": str(state), "snapshots": str(beside_state(id_, SUFFIX))}
    _confirm(context, id_, removed, force=force)
    with contextlib.suppress(TinytownError):
        if server := town_server(Path(record.root), Config(name="left"), state):
            server.stop()
    _forget(id_, state)
    context.emit({"uninstalled": True, **removed}, f"removed: {' and '.join(removed.values())}")


def uninstall_town(context: CliContext, *, force: bool) -> None:
    """Remove the town from this machine and from the user's list, and say so; ``tinytown.toml`` and the project stay.

    Raises: Refused without `force`, or if a kernel runs the town.
    """
    root = context.town_root()
    config = load_config(root)
    caller_in(root).refuse_agents("cannot remove the town", "send the supervisor a message")
    removed = {name: path for name, path in town_places(root).items() if name in ("state", "snapshots")}
    _confirm(context, f"town {config.name}", removed, force=force)
    remove_state(root, config)
    with contextlib.suppress(TinytownError):
        forget_towns([str(root)])
    context.emit({"uninstalled": True, **removed}, f"removed: {' and '.join(removed.values())}")


def _refuse_running(pid: int | None) -> None:
    if pid:
        raise Refused(f"a kernel runs this town, as process {pid}", hint="run tt stop", code="kernel_running")


def _confirm(context: CliContext, what: str, removed: dict[str, str], *, force: bool) -> None:
    if not force:
        context.emit({"uninstalled": False, **removed}, f"would remove: {' and '.join(removed.values())}")
        raise Refused(f"nothing of {what} was removed", hint="--force removes it for good", code="needs_force")


def _forget(id_: str, state: Path) -> None:
    for directory in (state, state_home() / f"{id_}@snapshots"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            remove_tree(directory)
    for suffix in ("@record.json", "@lock"):
        (state_home() / f"{id_}{suffix}").unlink(missing_ok=True)
