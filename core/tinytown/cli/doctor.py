"""``tt doctor``: looks at what a town stands on, and says of everything that is wrong how to mend it.

Changes nothing and starts nothing. Works outside of a town too, as far as there is something to look at.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from tinytown.cli.background import running_kernel
from tinytown.cli.frame import TownCommand
from tinytown.cli.invocation import Invocation, pass_invocation
from tinytown.cli.plugins import cautions_of, survey
from tinytown.cli.table import table
from tinytown.cli.town_link import TownLink, town_root
from tinytown.config import RUNTIME_DIRECTORY, Config, load_config
from tinytown.errors import NotFound, TinytownError
from tinytown.redis.light import LightClient
from tinytown.redis.server import EmbeddedServer, find_binary
from tinytown.redis.town_server import address_of

_OLDEST_PYTHON = (3, 11)
_LITTLE_SPACE_BYTES = 1 << 30
_TOO_LITTLE_SPACE_BYTES = 50 << 20

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was found, and, unless all is well, what to do."""

    check: str
    level: Level
    found: str
    fix: str = ""


@click.command(cls=TownCommand, examples=["tt doctor", "tt doctor --json"])
@pass_invocation
def doctor(invocation: Invocation) -> None:
    """Look for what is wrong here, and say how to mend it. Ends with 1 if there is a problem."""
    findings = list(_examine(invocation))
    is_healthy = all(each.level != "problem" for each in findings)
    rows = [(each.level, each.check, each.found) for each in findings]
    lines = table(("", "check", "found"), rows)
    lines += [f"{each.check}: {each.fix}" for each in findings if each.fix]
    invocation.answer({"healthy": is_healthy, "findings": findings}, lines)
    if not is_healthy:
        click.get_current_context().exit(1)


def _examine(invocation: Invocation) -> Iterator[Finding]:
    yield _python()
    yield _git()
    yield from _guarded("plugins", lambda: _plugins(invocation))
    try:
        root = town_root(invocation)
    except NotFound as error:
        yield from _guarded("server program", lambda: iter([_binary()]))
        yield Finding("town", "note", error.message, error.hint)
        return
    try:
        config = load_config(root)
    except TinytownError as error:
        yield Finding("settings", "problem", error.message, error.hint or "mend the file")
        return
    yield Finding("town", "ok", f"{config.name} in {root}")
    yield from _guarded("files", lambda: _files(root))
    yield from _guarded("server", lambda: _server(root, config))


def _guarded(check: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What `look` finds; an error is a finding too."""
    try:
        yield from look()
    except TinytownError as error:
        yield Finding(check, "problem", error.message, error.hint)
    except OSError as error:
        yield Finding(check, "problem", str(error))


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3])) + f" at {sys.executable}"
    if sys.version_info < _OLDEST_PYTHON:
        return Finding("python", "problem", found, "use Python 3.11 or newer")
    return Finding("python", "ok", found)


def _git() -> Finding:
    found = shutil.which("git")
    return Finding("git", "ok", found) if found else Finding("git", "note", "not on the PATH", "agents often need git")


def _plugins(invocation: Invocation) -> Iterator[Finding]:
    found = survey(invocation)
    working = [each for each in found.reports if each.status == "active"]
    kinds = ", ".join(sorted(found.backends))
    names = ", ".join(each.name for each in working) or "none"
    if kinds:
        yield Finding("plugins", "ok", f"{names}; kinds of agents: {kinds}")
    else:
        yield Finding("plugins", "problem", f"{names}; no kind of agent", "pip install tinytown-shell")
    for kind, backend in sorted(found.backends.items()):
        for caution in cautions_of(backend):
            yield Finding("kinds of agents", "note", f"{kind}: {caution}")
    for problem in found.problems:
        yield Finding(
            "plugins", "problem", problem.message, problem.hint or "upgrade it, or block it by TINYTOWN_BLOCK"
        )


def _binary() -> Finding:
    binary = find_binary()
    return Finding("server program", "ok", f"{binary.path}, version {binary.version}")


def _files(root: Path) -> Iterator[Finding]:
    writable = os.access(root, os.W_OK | os.X_OK)
    if not writable:
        yield Finding("files", "problem", f"{root} is not writable", "give yourself the right to write there")
    runtime = root / RUNTIME_DIRECTORY
    if runtime.exists():
        status = runtime.stat()
        if status.st_uid != os.geteuid():
            yield Finding("files", "problem", f"{runtime} belongs to user {status.st_uid}", "run as its owner")
        elif stat.S_IMODE(status.st_mode) & 0o077:
            yield Finding("files", "problem", f"{runtime} is open to other users", f"chmod 700 {runtime}")
        elif writable:
            yield Finding("files", "ok", f"{runtime} is ours alone")
    free_bytes = shutil.disk_usage(root).free
    found = f"{free_bytes / (1 << 30):.1f} GB free"
    if free_bytes < _TOO_LITTLE_SPACE_BYTES:
        yield Finding("disk", "problem", found, "make room: without it the server refuses every change")
    elif free_bytes < _LITTLE_SPACE_BYTES:
        yield Finding("disk", "note", found, "make room before it runs out")
    else:
        yield Finding("disk", "ok", found)


def _server(root: Path, config: Config) -> Iterator[Finding]:
    address = address_of(root, config)
    if config.redis.url is None:
        yield _binary()
        if not EmbeddedServer(root / RUNTIME_DIRECTORY).ping():
            yield Finding("server", "note", "the embedded server does not run", "the next command starts it")
            return
    with LightClient(address) as client:
        client.connect()
        link = TownLink(root, config, client)
        yield Finding("server", "ok", f"{address.redacted} answers, version {link.server_version()}")
        yield from _town(link)


def _town(link: TownLink) -> Iterator[Finding]:
    link.make_ready()
    seen = link.run(link.calls.status())
    if pid := running_kernel(link.root):
        yield Finding("kernel", "ok", f"runs as process {pid}")
    elif seen.hosts:
        yield Finding("kernel", "ok", f"runs on {seen.hosts[0].name}, not on this machine")
    else:
        yield Finding("kernel", "note", "none runs", "tt start")
    for agent in seen.agents:
        if agent.state == "error":
            found = f"{agent.name} is in error: {agent.reason or 'no reason given'}"
            yield Finding("agents", "problem", found, f"mend that, then tt resume {agent.name}")
    if seen.dead:
        yield Finding("dead letters", "note", f"{seen.dead} messages were given up", "tt dead list")
