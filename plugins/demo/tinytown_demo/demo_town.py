"""The town of the demo: a new or empty directory with a git repository and a town in it. Nothing is overwritten."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Collection
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tinytown.config import CONFIG_FILE, Config, load_user_config
from tinytown.entry_points import installed
from tinytown.errors import BackendUnavailable, NotFound, Refused, TinytownError, UsageError
from tinytown.kinds import check_kind
from tinytown.model.text import shown
from tinytown.packages import install_hint
from tinytown.plugin import survey_plugins
from tinytown.state import new_town_id
from tinytown_cli.town_state import forget_town

from tinytown_demo.plan import PLAN, Where
from tinytown_demo.repository import commit, make_repository

TOWN = "wordcount"
_DIRECTORY = "tinytown-demo"

_README = """\
A small tool that counts words, built by the agents of `tt demo`. DESIGN.md describes it.

    python -m unittest discover -s tests
    python -m wordcount --top 10 DESIGN.md
"""

_IGNORED = "__pycache__/\n"

_SETTINGS = """\
# The town of `tt demo`, with short rounds and short timeouts.
name = "{name}"
id = "{id}"
default_cli = {default}
drain_s = 2.0

# A server of its own, whatever your other towns use.
[redis]

[round]
timeout_s = {timeout_s}
grace_s = 1.0
retry_delay_s = 0.5
"""

_CONDUCTORS = """
# The reviewer may open tasks of others again.
[roles.reviewer]
authority = "conductor"
"""

_SHARED = """
# The agents work in one directory, as their tasks say.
[plugins.git]
workspace = "shared"
"""

_WORKTREES = """
# Each task has a worktree of its own, and finished work is merged into main.
[plugins.git]
workspace = "worktree"
merge = "queue"
"""

_SCRIPTED = """
[agent_clis.{kind}]
command = [{command}]
env = {{ PYTHONDONTWRITEBYTECODE = "1" }}
"""


@dataclass(frozen=True)
class DemoTown:
    """The `root` of the demo's town; ``is_new``: the directory was created for it."""

    root: Path
    is_new: bool

    def clear(self) -> None:
        """Remove a town that could not be opened."""
        if (self.root / CONFIG_FILE).exists():
            forget_town(self.root)
        for path in self.root.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if self.is_new:
            self.root.rmdir()


def choose_workspace(wanted: str | None, plugins: Collection[str]) -> Where:
    """Where the agents are to work: in worktrees wherever `tinytown-git` is active, unless something else is wanted.

    `plugins` are the active ones. Raises: NotFound if worktrees are wanted and the plugin is missing or blocked.
    """
    if wanted == "worktree" and "git" not in plugins:
        raise NotFound("worktrees need the plugin 'git', which is not available", hint=install_hint("plugins", "git"))
    return "shared" if wanted == "shared" or "git" not in plugins else "worktree"


def check_kinds(cli: str | None) -> frozenset[str]:
    """Check that agents of the kind `cli`, or scripted ones without it, can run here; the names of the active plugins.

    Raises: NotFound with the available kinds; UsageError for a kind that runs a task's text as a command;
    BackendUnavailable if the plugin for scripted agents is missing.
    """
    user = load_user_config()
    config = Config(name=TOWN, agent_clis=user.agent_clis, plugins=user.plugins)
    survey = survey_plugins(config, Path.cwd())
    kinds = survey.backends
    active = frozenset(report.name for report in survey.reports if report.status == "active")
    if cli is None:
        if "shell" not in kinds:
            raise BackendUnavailable(
                "the scripted agents of the demo need the kind 'shell', which is not available",
                hint=install_hint("kinds", "shell"),
            )
        return active
    check_kind(cli, kinds)
    if cli == "shell" and not user.plugins.get("shell", {}).get("command"):
        raise UsageError(
            "expected a kind of agent that understands prose; 'shell' runs the text of a task as a command",
            hint="leave out --cli for scripted agents",
        )
    return active


def make_demo_town(directory: Path | None, *, cli: str | None, workspace: Where, round_timeout_s: float) -> DemoTown:
    """A new town in a new repository, in `directory` or else in a new one below the current directory.

    Raises: Refused if `directory` exists and is not empty; TinytownError if it cannot be created, or git fails.
    """
    try:
        demo_town = _fresh(directory) if directory is not None else _first_free(Path.cwd())
    except OSError as error:
        raise TinytownError(
            f"cannot create the directory {error.filename}: {error.strerror}", hint="choose another with --dir"
        ) from error
    try:
        root = demo_town.root
        make_repository(root)
        (root / "README.md").write_text(_README, encoding="utf-8")
        (root / ".gitignore").write_text(_IGNORED, encoding="utf-8")
        (root / CONFIG_FILE).write_text(settings_text(cli, workspace, round_timeout_s), encoding="utf-8")
        commit(root, "An empty project and its town", ("README.md", ".gitignore", CONFIG_FILE))
    except BaseException:
        demo_town.clear()
        raise
    return demo_town


def settings_text(cli: str | None, workspace: Where, round_timeout_s: float) -> str:
    """The town's settings: all agents of the kind `cli`, or a kind of its own for each scripted agent."""
    # A JSON string is a TOML string.
    text = _SETTINGS.format(
        name=TOWN, id=new_town_id(TOWN), default=json.dumps(cli or "shell"), timeout_s=round_timeout_s
    )
    plugins = {entry.name for entry in installed("tinytown")}
    text += _CONDUCTORS if "authority" in plugins else ""
    if "git" in plugins:
        text += _WORKTREES if workspace == "worktree" else _SHARED
    if cli is None:
        for part in PLAN:
            command = (sys.executable, "-m", "tinytown_demo.scripted_agent", part.agent)
            text += _SCRIPTED.format(
                kind=part.agent, command=", ".join(json.dumps(word, ensure_ascii=False) for word in command)
            )
    return text


def _fresh(directory: Path) -> DemoTown:
    root, is_new = directory.absolute(), not os.path.lexists(directory)
    if not is_new and not (root.is_dir() and not any(root.iterdir())):
        raise Refused(
            f"expected a new or empty directory for the demo, got {shown(str(root), 200)}",
            hint="choose another with --dir",
            code="exists",
        )
    root.mkdir(parents=True, exist_ok=True)
    return DemoTown(root.resolve(), is_new)


def _first_free(parent: Path) -> DemoTown:
    for number in count(1):
        root = parent.resolve() / (_DIRECTORY if number == 1 else f"{_DIRECTORY}-{number}")
        with contextlib.suppress(FileExistsError):
            root.mkdir()
            return DemoTown(root, is_new=True)
    raise AssertionError("there is always a next number")
