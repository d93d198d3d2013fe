"""Linux: a box made by bubblewrap, from namespaces of the kernel. Says what the box is to be; `outside` makes it.

Source: bwrap(1), of version 0.8. Its operations are carried out in the order in which they are written.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from tinytown.contracts import Box, Sandbox
from tinytown.errors import ProcessFailed

from tinytown_sandbox import outside
from tinytown_sandbox.git_links import GitLinks
from tinytown_sandbox.places import (
    OWN,
    Access,
    access_to,
    accesses,
    foreign_sockets,
    planted_file,
    temporary_programs,
    writable_repositories,
)
from tinytown_sandbox.settings import Settings

INSTALL = "apt-get install bubblewrap, dnf install bubblewrap, or your system's way"
_TRIAL_S = 10.0
#: Where in the box the town's sockets are; a link leads there from the path by which they are known outside.
_SOCKETS = "/run/tinytown"
#: Settings of the whole machine. Root may write them whatever rights it lacks, and bwrap leaves them so:
#: ``kernel/core_pattern`` names a program that the system runs outside of any box.
_SYSTEM_SETTINGS = tuple(
    f"/proc/{name}"
    for name in ("sys", "sysrq-trigger", "irq", "bus", "fs", "mtrr", "pressure", "acpi", "asound", "driver", "scsi")
)
#: Ways to services of the desktop and of the machine, which are out of reach.
_UNSET = (
    "DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "SSH_AGENT_PID", "GPG_AGENT_INFO", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY",
    "DOCKER_HOST", "TMPDIR",
)  # fmt: skip


class Bubblewrap(Sandbox):
    """Boxes by bubblewrap."""

    name = "bubblewrap"

    def __init__(self, settings: Settings, root: Path) -> None:
        self._settings = settings
        self._root = root
        self._works = False
        self._links = GitLinks(root)

    def problem(self) -> str:
        if not self._works:
            program = _bubblewrap({self._root.resolve(): "write"})
            if program is None:
                return f"bubblewrap is not installed: {INSTALL}"
            if why := _try(program):
                return why
            self._works = True
        return ""

    def wrap(self, command: Sequence[str], *, box: Box, environment: Mapping[str, str]) -> Sequence[str]:
        return wrapped(command, box, self._settings, environment, self._links)


def wrapped(
    command: Sequence[str], box: Box, settings: Settings, environment: Mapping[str, str], links: GitLinks
) -> list[str]:
    """The command that runs `command` in a box. Raises: ProcessFailed for a command that is not there."""
    path = _find(command, environment, box.workspace)
    chosen = accesses(box, settings, environment)
    program = _bubblewrap(chosen)
    if program is None:
        raise ProcessFailed("bubblewrap is not installed", hint=INSTALL, code="command_not_found")
    chosen |= dict.fromkeys(temporary_programs(path, environment, chosen), "read")
    places: dict[Path, Access] = {**chosen, **dict.fromkeys(foreign_sockets(chosen), "hidden")}
    network = settings.network
    plan = {
        "bwrap": [
            program,
            *_namespaces(program, shared_network=network == "on"),
            *_file_system(places, settings),
            *_sockets(box.sockets),
            *(["--remount-ro", str(path)] for path in _emptied(places)),
            *_variables(box, chosen, environment),
            "--chdir",
            str(box.workspace),
        ],
        "git": links.before_agents(writable_repositories(box)),
        "planted": [str(path) for path in planted_file(box)],
        "sockets": [[str(path), f"{_SOCKETS}/{number}.sock"] for number, path in enumerate(box.sockets)],
        "hosts": settings.hosts,
        "processes": settings.processes,
        "memory_bytes": settings.memory_bytes,
        "file_bytes": settings.file_bytes,
    }
    # The place of our package comes last, so that nothing beside it can stand in for a module of Python's.
    return [sys.executable, "-I", "-S", outside.__file__, repr(plan), *command]


def _bubblewrap(chosen: Mapping[Path, Access]) -> str | None:
    """The program that makes boxes, never one that an agent could have put there; None without."""
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        program = shutil.which("bwrap", path=directory) if os.path.isabs(directory) else None
        if program and access_to(Path(program).resolve(), chosen) != "write":
            return program
    return None


def _find(command: Sequence[str], environment: Mapping[str, str], workspace: Path) -> Path:
    """Where the command is. Raises: ProcessFailed as the process supervisor would, which sees only what is wrapped around it."""
    name = command[0] if command else ""
    where = str(workspace / name) if "/" in name else shutil.which(name, path=environment.get("PATH", os.defpath))
    if where is None or not os.path.exists(where):
        raise ProcessFailed(
            f"no such command: {name!r}",
            hint="install it, or put its directory on PATH",
            code="command_not_found",
        )
    return Path(where).absolute()


def _namespaces(program: str, *, shared_network: bool) -> Iterator[str]:
    yield from ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
    if "--disable-userns" in _options(program):
        yield "--disable-userns"
    if not shared_network:
        yield "--unshare-net"
    yield from ("--cap-drop", "ALL", "--die-with-parent", "--as-pid-1")


def _file_system(places: Mapping[Path, Access], settings: Settings) -> Iterator[str | list[str]]:
    """Operations on files. A list is one operation, left out if the path at its end is gone by the time it is carried out."""
    yield from ("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")
    for place in _SYSTEM_SETTINGS:
        if os.path.exists(place):
            yield from ("--ro-bind", place, place)
    for place in OWN:
        if os.path.isdir(place) and not os.path.islink(place):
            if settings.tmp_bytes:
                yield from ("--size", str(settings.tmp_bytes))
            yield from ("--perms", "0755" if place == "/run" else "1777", "--tmpfs", place)
    for path in sorted(places, key=lambda path: len(path.parts)):  # what is inside comes after what it is in
        match places[path]:
            case "write":
                yield ["--bind", str(path), str(path)]
            case "read":
                if _covered(path, places):
                    yield ["--ro-bind", str(path), str(path)]
            case "empty":
                yield from ("--perms", "0700", "--tmpfs", str(path))
            case "blank":
                yield from ("--ro-bind-data", outside.EMPTY_FILE, str(path))
            case "hidden" if path.is_dir():
                yield ["--perms", "0700", "--tmpfs", str(path)]
            case _:
                yield ["--ro-bind-data", outside.EMPTY_FILE, str(path)]


def _emptied(places: Mapping[Path, Access]) -> list[Path]:
    """The places that become empty directories."""
    return [path for path, access in places.items() if access == "empty" or (access == "hidden" and path.is_dir())]


def _covered(path: Path, places: Mapping[Path, Access]) -> bool:
    """Whether what is above `path` is not as read-only as the rest."""
    for above in path.parents:
        if above in places:
            return places[above] != "read"
        if str(above) in OWN:
            return True
    return False


def _sockets(sockets: Sequence[Path]) -> Iterator[str]:
    yield from ("--dir", _SOCKETS)
    for number, path in enumerate(sockets):
        yield from ("--symlink", f"{_SOCKETS}/{number}.sock", str(path))


def _variables(box: Box, chosen: Mapping[Path, Access], environment: Mapping[str, str]) -> Iterator[str]:
    for name in _UNSET:
        if name in environment and not (
            name == "TMPDIR" and access_to(Path(environment[name]).resolve(), chosen) == "write"
        ):
            yield from ("--unsetenv", name)
    yield from ("--setenv", "PWD", str(box.workspace))
    if box.writable:  # the home directory is read-only: caches go to the agent's own place
        caches = box.writable[0].resolve() / "cache"
        yield from ("--dir", str(caches))
        for name, below in {
            "XDG_CACHE_HOME": "",
            "npm_config_cache": "npm",
            "GOMODCACHE": "go",
            "CARGO_HOME": "cargo",
        }.items():
            if name not in environment:
                yield from ("--setenv", name, str(caches / below))


@cache
def _options(program: str) -> str:
    return subprocess.run([program, "--help"], capture_output=True, text=True, timeout=_TRIAL_S, check=False).stdout


def _try(program: str) -> str:
    """Why a box of this program does not work; empty if it does."""
    try:
        if "--perms" not in _options(program):
            return f"{program} is too old, version 0.5 is needed: {INSTALL}"
        trial = [program, *_namespaces(program, shared_network=True), "--ro-bind", "/", "/", "--proc", "/proc", "--"]
        ended = subprocess.run(
            [*trial, sys.executable, "-I", "-S", "-c", ""],
            capture_output=True,
            text=True,
            timeout=_TRIAL_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"{program} does not work: {error}"
    if ended.returncode == 0:
        return ""
    lines = ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"]
    return (
        f"{program} cannot make a box: {lines[-1]}; does this system let you make user namespaces?"
        " (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor"
        " profile for it)"
    )
