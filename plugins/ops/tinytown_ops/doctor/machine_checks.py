"""What ``tt doctor`` checks on this machine: Python, git, coding CLIs, plugins, the server's program, the town's files."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from tinytown.config import RUNTIME_DIRECTORY, Config
from tinytown.contracts import Finding
from tinytown.packages import default_kind, install_hint
from tinytown.plugin import Plugins
from tinytown.redis import town_server
from tinytown_cli.backend_warnings import warnings_by_kind

from tinytown_ops.coding_clis import CODING_CLIS, installed_versions, program_version

_OLDEST_PYTHON = (3, 11)
_LOW_SPACE_BYTES = 1 << 30
_NO_SPACE_BYTES = 50 << 20


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
    kinds_by_warning: dict[str, list[str]] = {}
    for kind, warnings in warnings_by_kind(plugins.backends).items():
        for warning in warnings:
            kinds_by_warning.setdefault(warning, []).append(kind)
    for warning, warned_kinds in kinds_by_warning.items():
        yield Finding("kinds of agents", "note", f"{', '.join(warned_kinds)}: {warning}")
    for problem in plugins.problems:
        fix = problem.hint or "update the plugin, or block it with TINYTOWN_BLOCK"
        yield Finding("plugins", "problem", problem.message, fix)


def check_server_program(root: Path, config: Config) -> Iterator[Finding]:
    """Which program serves the town at `root`; nothing where ``redis.url`` names a server. Raises: ServerUnreachable."""
    server = town_server(root, config)
    if server is not None:
        program = server.program()
        yield Finding("server program", "ok", f"{program.path}, version {program.version}")


def check_files(root: Path) -> Iterator[Finding]:
    """Whether the town's directory is writable and private, and its disk has room. Raises: OSError."""
    is_writable = os.access(root, os.W_OK | os.X_OK)
    if not is_writable:
        yield Finding("files", "problem", f"{root} is not writable", "give your user write permission there")
    runtime = root / RUNTIME_DIRECTORY
    if runtime.exists():
        status = runtime.stat()
        if status.st_uid != os.geteuid():
            yield Finding("files", "problem", f"{runtime} belongs to user {status.st_uid}", "run tt as its owner")
        elif stat.S_IMODE(status.st_mode) & 0o077:
            yield Finding("files", "problem", f"{runtime} is open to other users", f"chmod 700 {runtime}")
        elif is_writable:
            yield Finding("files", "ok", f"{runtime} is private to your user")
    free_bytes = shutil.disk_usage(root).free
    found = f"{free_bytes / (1 << 30):.1f} GB free"
    if free_bytes < _NO_SPACE_BYTES:
        yield Finding("disk", "problem", found, "free some space: the server refuses writes on a full disk")
    elif free_bytes < _LOW_SPACE_BYTES:
        yield Finding("disk", "note", found, "free some space before it runs out")
    else:
        yield Finding("disk", "ok", found)
