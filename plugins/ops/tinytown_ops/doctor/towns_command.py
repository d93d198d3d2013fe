"""``tt towns``: the towns of this user on this machine, with their state. Starts nothing, changes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import click
import msgspec
from tinytown.config import CONFIG_FILE, load_config
from tinytown.errors import ServerUnreachable, TinytownError
from tinytown.kernel import running_kernel
from tinytown.model.text import counted
from tinytown.protocol import Keys
from tinytown.redis import address_of
from tinytown.state import records
from tinytown_cli.blocking_client import BlockingClient
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_cli.town_registry import Registered, forget_towns, read_registry
from tinytown_cli.town_state import state_left_by

#: A server that takes longer to answer counts as offline.
_TIMEOUT_S = 1.0
_CONCURRENT = 16

State = Literal["running", "up", "offline", "missing", "no_config", "broken"]
GONE: frozenset[State] = frozenset({"missing", "no_config"})

_LABELS: dict[State, str] = {
    "running": "running",
    "up": "server running",
    "offline": "offline",
    "missing": "path missing",
    "no_config": "no config",
    "broken": "broken",
}


class TownState(msgspec.Struct, frozen=True, kw_only=True):
    """How a town is. `kernel_pid` is of a kernel on this machine; `agents` is None where no server answered.

    `left_id` is the id of a town whose project is gone and whose state is not; else empty.
    """

    name: str
    path: str
    state: State
    reason: str = ""
    kernel_pid: int | None = None
    agents: int | None = None
    left_id: str = ""


@click.command(cls=TownCommand, examples=["tt towns", "tt towns --prune", "tt towns --json"])
@click.option("--prune", is_flag=True, help="Forget towns whose directory or tinytown.toml is gone.")
@pass_cli_context
def towns(context: CliContext, prune: bool) -> None:
    """List your towns on this machine, with their state. Starts nothing.

    running: a kernel is running. server running: the server answers, but no kernel is running. offline: the server does
    not answer; an embedded one starts with the next command there. path missing, no config: the town is gone. broken: it
    cannot be read. --prune takes towns off the list; what a deleted project has left on this machine is removed by tt
    uninstall ID.
    """
    states = _read_states((*read_registry(), *_recorded()))
    pruned = forget_towns({town.path for town in states if town.state in GONE}) if prune else ()
    forgotten = {town.path for town in pruned}
    left = list(_left({town.path: town.name for town in states}))
    shown_as_left = {town.path for town in left}
    states = [
        town
        for town in states
        if town.path not in forgotten and not (town.state == "missing" and town.path in shown_as_left)
    ] + left
    rows = [(town.name, _LABELS[town.state], town.path, _notes(town)) for town in states]
    lines = table(("town", "state", "path", "notes"), rows) if rows else ["no towns: tt init creates one"]
    lines += [f"forgotten: {town.path}" for town in pruned]
    context.emit({"towns": states, "pruned": [town.path for town in pruned]}, lines)


def _recorded() -> Iterator[Registered]:
    """Towns that have state here and are still there; tt init may have created them elsewhere."""
    return (Registered(path=record.root) for _, record in records() if os.path.isdir(record.root))


def _left(names: Mapping[str, str]) -> Iterator[TownState]:
    """The towns whose projects are gone and have left their state here."""
    for id_, record in records():
        if state_left_by(id_, record):
            yield TownState(name=names.get(record.root, id_), path=record.root, state="missing", left_id=id_)


def _read_states(registered: Sequence[Registered]) -> list[TownState]:
    """Each town once, by name. Concurrently: a server that cannot be reached takes a whole timeout."""
    from concurrent.futures import ThreadPoolExecutor  # late: only this command needs it

    towns = list({town.path: town for town in reversed(registered)}.values())
    if not towns:
        return []
    with ThreadPoolExecutor(min(_CONCURRENT, len(towns))) as pool:
        return sorted(pool.map(_read_state, towns), key=lambda town: (town.name, town.path))


def _read_state(town: Registered) -> TownState:
    def answer(
        state: State, reason: str = "", *, kernel_pid: int | None = None, agents: int | None = None
    ) -> TownState:
        return TownState(name=name, path=town.path, state=state, reason=reason, kernel_pid=kernel_pid, agents=agents)

    name, root = town.name, Path(town.path)
    if not root.is_absolute():
        return answer("broken", "expected an absolute path in the list")
    try:
        os.stat(root)
        os.stat(root / CONFIG_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return answer("no_config" if root.is_dir() else "missing")
    except (OSError, ValueError) as error:
        return answer("broken", str(error))
    try:
        config = load_config(root)
        name = config.name
        address = address_of(root, config)
    except TinytownError as error:
        return answer("broken", error.message)
    pid = running_kernel(root)
    try:
        with BlockingClient(address, timeout_s=_TIMEOUT_S) as client:
            base = Keys(name).base
            agents = int(client.command("ZCARD", f"{base}:agents"))
            hosts = int(client.command("ZCOUNT", f"{base}:hosts", time.time_ns() // 1_000_000, "+inf"))
    except ServerUnreachable as error:
        why = "" if config.redis.url is None and error.code == "server_unreachable" else error.message
        return answer("running", why, kernel_pid=pid) if pid else answer("offline", why)
    except TinytownError as error:
        return answer("broken", error.message)
    return answer("running" if pid or hosts else "up", kernel_pid=pid, agents=agents)


def _notes(town: TownState) -> str:
    parts = [] if town.agents is None else [counted(town.agents, "agent")]
    if town.left_id:
        parts.append(f"its state is left: tt uninstall {town.left_id}")
    if town.state == "running":
        parts.append(f"kernel {town.kernel_pid}" if town.kernel_pid else "kernel on another machine")
    return ", ".join([*parts, *([town.reason] if town.reason else [])])
