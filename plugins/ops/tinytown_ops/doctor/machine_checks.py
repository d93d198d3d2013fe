"""What ``tt doctor`` checks on this machine: Python, git, coding CLIs, plugins, the server's program, the town's files."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tinytown.config import CONFIG_FILE, Config, load_config, user_directory
from tinytown.model.ids import town_name_from
from tinytown.model.text import shown
from tinytown.packages import default_kind, install_hint
from tinytown.plugin import Plugins
from tinytown.redis import town_server
from tinytown.state import new_town_id, state_directory
from tinytown_cli.backend_warnings import warnings_by_kind
from tinytown_cli.contracts import Finding, NeedsProgram
from tinytown_cli.git_repository import repository_root

from tinytown_ops.coding_clis import CODING_CLIS, installed_versions, program_version

#: The check of kinds of agents whose program is missing: one finding for each program.
NOT_INSTALLED = "not installed"

_OLDEST_PYTHON = (3, 11)
_LOW_SPACE_BYTES = 1 << 30
_NO_SPACE_BYTES = 50 << 20
_GIT_S = 10.0


def check_python() -> Finding:
    """Which Python runs this, and whether it is new enough."""
    found = ".".join(map(str, sys.version_info[:3])) + f" at {sys.executable}"
    if sys.version_info < _OLDEST_PYTHON:
        return Finding("python", "problem", found, "use Python 3.11 or newer")
    return Finding("python", "ok", found)


def check_git() -> Finding:
    """Whether git is installed."""
    path = shutil.which("git")
    if path is None:
        return Finding("git", "note", "not on the PATH", "install git: many agents need it")
    return Finding("git", "ok", f"{program_version(path)} at {path}")


def check_user_settings() -> Iterator[Finding]:
    """Where the user's own settings are, and whether there are some of Tinytown 0.10, which lives beside this one."""
    own, old = user_directory() / "config.toml", Path("~/.tt/config.toml").expanduser()
    if own.exists():
        yield Finding("your settings", "ok", str(own))
    if old.exists():
        found = f"{old} is of Tinytown 0.10: it is not read, and stays as it is"
        yield Finding("your settings", "note", found, f"tt migrate takes its coding CLIs over; yours are in {own}")


def check_coding_clis() -> Iterator[Finding]:
    """Which coding CLIs are installed, with their versions."""
    installed = installed_versions(CODING_CLIS)
    for cli in installed:
        yield Finding("coding CLI", "ok", f"{cli.cli.name}: {cli.version or 'unknown version'} at {cli.path}")
    if not installed:
        names = ", ".join(cli.program for cli in CODING_CLIS)
        yield Finding("coding CLI", "note", f"none on the PATH of {names}", f"for example: {CODING_CLIS[0].install}")


def check_plugins(plugins: Plugins) -> Iterator[Finding]:
    """Which plugins are active, which kinds of agents they provide, and what is wrong with the others."""
    names = ", ".join(report.name for report in plugins.reports if report.status == "active") or "none"
    kinds = ", ".join(sorted(plugins.backends))
    if kinds:
        yield Finding("plugins", "ok", f"{names}; kinds of agents: {kinds}")
    else:
        fix = install_hint("kinds", default_kind())
        yield Finding("plugins", "problem", f"{names}; no kind of agent is available", fix)
    missing = _missing_programs(plugins)
    for (program, fix), missing_kinds in missing.items():
        yield Finding(NOT_INSTALLED, "note", f"{', '.join(missing_kinds)}: {program}", fix)
    cannot_start = {kind for kinds in missing.values() for kind in kinds}
    kinds_by_warning: dict[str, list[str]] = {}
    for kind, warnings in warnings_by_kind(plugins.backends).items():
        for warning in warnings if kind not in cannot_start else ():
            kinds_by_warning.setdefault(warning, []).append(kind)
    for warning, warned_kinds in kinds_by_warning.items():
        yield Finding("kinds of agents", "note", f"{', '.join(warned_kinds)}: {warning}")
    for problem in plugins.problems:
        fix = problem.hint or "update the plugin, or block it with TINYTOWN_BLOCK"
        yield Finding("plugins", "problem", problem.message, fix)


def _missing_programs(plugins: Plugins) -> dict[tuple[str, str], list[str]]:
    """The programs that are missing, with how to install each -> the kinds of agents that need it."""
    missing: dict[tuple[str, str], list[str]] = {}
    for kind, backend in sorted(plugins.backends.items()):
        with suppress(Exception):  # a plugin's code may raise anything; its warnings say so
            if isinstance(backend, NeedsProgram) and (found := backend.missing_program()):
                program, fix = map(str, found)
                missing.setdefault((shown(program, 200), shown(fix, 500)), []).append(kind)
    return missing


def check_server_program(root: Path, config: Config) -> Iterator[Finding]:
    """Which program serves the town at `root`; nothing where ``redis.url`` names a server. Raises: ServerUnreachable."""
    server = town_server(root, config)
    if server is not None:
        program = server.program()
        yield Finding("server program", "ok", f"{program.path}, version {program.version}")


def _check_settings_file(root: Path) -> Iterator[Finding]:
    path = root / CONFIG_FILE
    if path.exists() and not load_config(root).id:
        fix = f'add id = "{new_town_id(town_name_from(root.name))}" to {path} while no kernel runs'
        yield Finding(
            "settings", "note", "the town has no id: its state does not follow the project when it moves", fix
        )
    git = shutil.which("git")
    if git is None or repository_root(root) is None or not path.exists():
        return
    command = [git, "ls-files", "--error-unmatch", "--", CONFIG_FILE]
    if subprocess.run(command, cwd=root, capture_output=True, check=False, timeout=_GIT_S).returncode:
        yield Finding("settings", "note", f"{path} is not in git", f"commit it: git add {CONFIG_FILE}")


def check_files(root: Path) -> Iterator[Finding]:
    """Whether the town's state is writable and private and its disk has room, and the project keeps its settings.

    Raises: OSError; Refused for a copied project.
    """
    state = state_directory(root)
    place = next(path for path in (state, *state.parents) if path.exists())
    status = place.lstat()
    if not os.access(place, os.W_OK | os.X_OK):
        yield Finding("files", "problem", f"{place} is not writable", "give your user write permission there")
    elif place == state and stat.S_ISLNK(status.st_mode):
        yield Finding("files", "problem", f"{state} is a link", "name its target as state.directory")
    elif place == state and status.st_uid != os.geteuid():
        yield Finding("files", "problem", f"{state} belongs to user {status.st_uid}", "run tt as its owner")
    elif place == state and stat.S_IMODE(status.st_mode) & 0o077:
        yield Finding("files", "problem", f"{state} is open to other users", f"chmod 700 {state}")
    elif place == state:
        yield Finding("files", "ok", f"{state} is private to your user")
    yield from _check_settings_file(root)
    free_bytes = shutil.disk_usage(place).free
    found = f"{free_bytes / (1 << 30):.1f} GB free"
    if free_bytes < _NO_SPACE_BYTES:
        yield Finding("disk", "problem", found, "free some space: the server refuses writes on a full disk")
    elif free_bytes < _LOW_SPACE_BYTES:
        yield Finding("disk", "note", found, "free some space before it runs out")
    else:
        yield Finding("disk", "ok", found)
