"""``tt towns``: the towns on this machine that `tt init` has made, and how each of them is. Starts nothing, changes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click
import msgspec
from tinytown.config import CONFIG_FILE, load_config
from tinytown.errors import ServerUnreachable, TinytownError
from tinytown.kernel import running_kernel
from tinytown.model.text import counted
from tinytown.protocol import Keys
from tinytown.redis import BlockingClient, address_of
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_cli.town_registry import Registered, forget_towns, read_registry

#: How long one town's server may take to answer before it counts as offline.
_TIMEOUT_S = 1.0
_AT_ONCE = 16

State = Literal["running", "up", "offline", "missing", "no_config", "broken"]
GONE: frozenset[State] = frozenset({"missing", "no_config"})

_WORDS: dict[State, str] = {
    "running": "running",
    "up": "server up",
    "offline": "offline",
    "missing": "path missing",
    "no_config": "no config",
    "broken": "broken",
}


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """How a town was found. ``kernel_pid`` is of a kernel on this machine; ``agents`` is None where no server told."""

    name: str
    path: str
    state: State
    reason: str = ""
    kernel_pid: int | None = None
    agents: int | None = None


@click.command(cls=TownCommand, examples=["tt towns", "tt towns --prune", "tt towns --json"])
@click.option("--prune", is_flag=True, help="Take those off the list whose directory or tinytown.toml is gone.")
@pass_cli_context
def towns(context: CliContext, prune: bool) -> None:
    """The towns that tt init has made here, and how each of them is. Nothing is started for that.

    running: a kernel works there. server up: the server answers, no kernel works. offline: the server does not answer; if
    it is the town's own, the next command there starts it. path missing, no config: the town is gone. broken: it cannot
    be read.
    """
    found = _look_at_all(read_registry())
    pruned = forget_towns({each.path for each in found if each.state in GONE}) if prune else ()
    gone = {each.path for each in pruned}
    found = [each for each in found if each.path not in gone]
    rows = [(each.name, _WORDS[each.state], each.path, _about(each)) for each in found]
    lines = table(("town", "state", "path", "about"), rows) if rows else ["no towns: tt init makes one"]
    lines += [f"forgotten: {each.path}" for each in pruned]
    context.emit({"towns": found, "pruned": [each.path for each in pruned]}, lines)


def _look_at_all(registered: Sequence[Registered]) -> list[Look]:
    """Each town once, by name. Together, because a server that is cut off takes its time to be silent."""
    from concurrent.futures import ThreadPoolExecutor  # late: only this command needs it

    each_once = list({each.path: each for each in registered}.values())
    if not each_once:
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(each_once))) as pool:
        return sorted(pool.map(_look, each_once), key=lambda look: (look.name, look.path))


def _look(town: Registered) -> Look:
    def look(state: State, reason: str = "", **more: int | None) -> Look:
        return Look(name=name, path=town.path, state=state, reason=reason, **more)

    name, root = town.name, Path(town.path)
    if not root.is_absolute():
        return look("broken", "the list should have its whole path")
    try:
        os.stat(root)
        os.stat(root / CONFIG_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return look("no_config" if root.is_dir() else "missing")
    except (OSError, ValueError) as error:
        return look("broken", str(error))
    try:
        config = load_config(root)
        name = config.name
        address = address_of(root, config)
    except TinytownError as error:
        return look("broken", error.message)
    pid = running_kernel(root)
    try:
        with BlockingClient(address, timeout_s=_TIMEOUT_S) as client:
            base = Keys(name).base
            agents = int(client.command("ZCARD", f"{base}:agents"))
            hosts = int(client.command("ZCOUNT", f"{base}:hosts", time.time_ns() // 1_000_000, "+inf"))
    except ServerUnreachable as error:
        why = "" if config.redis.url is None and error.code == "server_unreachable" else error.message
        return look("running", why, kernel_pid=pid) if pid else look("offline", why)
    except TinytownError as error:
        return look("broken", error.message)
    return look("running" if pid or hosts else "up", kernel_pid=pid, agents=agents)


def _about(look: Look) -> str:
    parts = [] if look.agents is None else [counted(look.agents, "agent")]
    if look.state == "running":
        parts.append(f"kernel {look.kernel_pid}" if look.kernel_pid else "kernel on another machine")
    return ", ".join([*parts, *([look.reason] if look.reason else [])])
