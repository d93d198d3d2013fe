"""What the commands work on: the repository, the worktrees and the settings of the town, without its server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import trio
from tinytown.config import CONFIG_FILE, Config, convert_settings, load_config
from tinytown_cli.public import CliContext

from tinytown_git.repository import Repository, find_repository
from tinytown_git.settings import Settings
from tinytown_git.worktrees import Worktrees

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """The town at `root`, as far as git is concerned."""

    root: Path
    settings: Settings
    worktrees: Worktrees

    @property
    def repository(self) -> Repository:
        return self.worktrees.repository


def read_settings(root: Path, config: Config) -> Settings:
    """The settings of the plugin in the town at `root`. Raises: ConfigError."""
    return convert_settings(Settings, config.plugins.get("git", {}), root / CONFIG_FILE, "plugins.git")


def run_in_place(context: CliContext, work: Callable[[Place], Awaitable[T]]) -> T:
    """What `work` returns in the town of the command line. Raises: NotFound without a town or a repository; ConfigError."""
    root = context.town_root()
    settings = read_settings(root, load_config(root))

    async def run() -> T:
        repository = await find_repository(root)
        worktrees = Worktrees(repository, settings.worktrees_directory(root), settings.branch_prefix)
        return await work(Place(root, settings, worktrees))

    return trio.run(run)


def refuse_in_round(context: CliContext, what: str) -> None:
    """Raises: Refused when an agent calls, from inside a round."""
    from tinytown_cli.caller import caller_in

    caller_in(context.town_root()).refuse_agents(what, "ask a person: tt send supervisor TEXT")


def in_units(seconds: float) -> str:
    """A duration in its largest unit."""
    units = ((86_400, "d"), (3_600, "h"), (60, "m"))
    size, unit = next(((size, unit) for size, unit in units if seconds >= size), (1, "s"))
    return f"{max(0.0, seconds) // size:.0f}{unit}"


def age(at: str) -> str:
    """How long ago the moment in the name of a rescue was."""
    then = datetime.strptime(at, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    return in_units((datetime.now(UTC) - then).total_seconds())
