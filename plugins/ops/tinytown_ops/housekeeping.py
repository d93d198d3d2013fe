"""The service that bounds what a town leaves on this machine: logs that grow while it runs, and the files of removed agents."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import trio
from tinytown.config import LimitsConfig
from tinytown.contracts import Service
from tinytown.errors import TinytownError
from tinytown.process import older_log
from tinytown.state import state_directory
from tinytown.town import Town
from tinytown_cli.trees import last_change, remove_tree

_EVERY_S = 60.0
_DAY_S = 86_400
#: Logs in the state directory that nobody else bounds while they are written: the kernel's own, and its server's.
_LOGS = ("kernel.log", "redis.log")


class Housekeeping(Service):
    """The service ``housekeeping``, of every kernel: each has files on its own machine."""

    name = "housekeeping"
    scope: Literal["host", "town"] = "host"

    async def run(self, town: Town) -> None:
        """Look once a minute, until cancelled."""
        while True:
            with suppress(TinytownError, OSError):
                names = {agent.name for agent in await town.agents()}
                await trio.to_thread.run_sync(keep_house, state_directory(town.root), names, town.config.limits)
            await trio.sleep(_EVERY_S)


def keep_house(state: Path, agents: Collection[str], limits: LimitsConfig) -> None:
    """Shorten the logs beyond `limits.log_bytes`; delete what nobody has written for `limits.finished_days` of other agents.

    Blocking. Raises: OSError.
    """
    for name in _LOGS:
        with suppress(OSError):  # a log that cannot be shortened keeps nothing else from being tidied
            _shorten(state / name, limits.log_bytes)
    before = time.time() - limits.finished_days * _DAY_S
    for path, agent in _files_of_agents(state):
        if agent not in agents and last_change(path) < before:
            with suppress(OSError):
                if path.is_dir() and not path.is_symlink():
                    remove_tree(path)
                else:
                    path.unlink()


def _shorten(log: Path, limit_bytes: int) -> None:
    """Move the content of a log aside. Its writers append, so that they continue at the new end.

    A link or a pipe in the place of a file, which an agent may have put there, is not followed. Raises: OSError.
    """
    try:
        descriptor = os.open(log, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    with open(descriptor, "r+b") as whole:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_size > limit_bytes:
            older_log(log).unlink(missing_ok=True)
            with open(os.open(older_log(log), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as older:
                shutil.copyfileobj(whole, older)
            whole.truncate(0)


def _files_of_agents(state: Path) -> Iterator[tuple[Path, str]]:
    """Logs and directories of agents with the names of these."""
    for path in (state / "logs").glob("*.log*"):
        yield path, path.name.removesuffix(".1").removesuffix(".log")
    for path in (state / "agents").glob("*"):
        yield path, path.name
