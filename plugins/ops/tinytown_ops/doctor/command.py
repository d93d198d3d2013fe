"""``tt doctor``: looks at what a town stands on, and says of everything that is wrong how to mend it.

Changes nothing and starts nothing, but for the task of `doctor_task`, which leaves nothing. Works outside of a town too, as
far as there is something to look at.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from tinytown.client import TownClient
from tinytown.config import RUNTIME_DIRECTORY, Config, load_config
from tinytown.errors import NotFound, TinytownError
from tinytown.packages import default_kind, install_hint
from tinytown.redis import BlockingClient, address_of
from tinytown_cli.backend_warnings import warnings_by_kind
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_cli.plugin_commands import survey
from tinytown_ops.coding_clis import CODING_CLIS, ask_versions, program_version
from tinytown_ops.doctor.finding import Finding
from tinytown_ops.doctor.smoke_test import try_a_task
from tinytown_ops.doctor.town_checks import examine_town
from tinytown_server.server import EmbeddedServer, find_binary

_OLDEST_PYTHON = (3, 11)
_LITTLE_SPACE_BYTES = 1 << 30
_TOO_LITTLE_SPACE_BYTES = 50 << 20


@click.command(cls=TownCommand, examples=["tt doctor", "tt doctor --no-task", "tt doctor --json"])
@click.option("--no-task", is_flag=True, help="Only look: give no task to a throw-away agent.")
@pass_cli_context
def doctor(context: CliContext, no_task: bool) -> None:
    """Look for what is wrong here, and say how to mend it. Ends with 1 if there is a problem.

    Where a kernel runs, a throw-away agent does a task that asks no model; afterwards agent and task are gone.
    """
    findings = list(_examine(context, with_task=not no_task))
    is_healthy = all(each.level != "problem" for each in findings)
    rows = [(each.level, each.check, each.found) for each in findings]
    lines = table(("", "check", "found"), rows)
    lines += [f"{each.check}: {each.fix}" for each in findings if each.fix]
    context.emit({"healthy": is_healthy, "findings": findings}, lines)
    if not is_healthy:
        click.get_current_context().exit(1)


def _examine(context: CliContext, *, with_task: bool) -> Iterator[Finding]:
    yield _python()
    yield _git()
    yield from _coding_clis()
    yield from _guarded("plugins", lambda: _plugins(context))
    try:
        root = context.town_root()
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
    yield from _guarded("server", lambda: _server(root, config, with_task=with_task))


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
    path = shutil.which("git")
    if path is None:
        return Finding("git", "note", "not on the PATH", "agents often need git")
    return Finding("git", "ok", f"{program_version(path)} at {path}")


def _coding_clis() -> Iterator[Finding]:
    found = ask_versions(CODING_CLIS)
    for each in found:
        yield Finding("coding CLI", "ok", f"{each.cli.name}: {each.version or 'no version told'} at {each.path}")
    if not found:
        names = ", ".join(each.program for each in CODING_CLIS)
        yield Finding("coding CLI", "note", f"none is on the PATH of {names}", f"for instance {CODING_CLIS[0].install}")


def _plugins(context: CliContext) -> Iterator[Finding]:
    found = survey(context)
    working = [each for each in found.reports if each.status == "active"]
    kinds = ", ".join(sorted(found.backends))
    names = ", ".join(each.name for each in working) or "none"
    if kinds:
        yield Finding("plugins", "ok", f"{names}; kinds of agents: {kinds}")
    else:
        yield Finding("plugins", "problem", f"{names}; no kind of agent", install_hint("kinds", default_kind()))
    concerned: dict[str, list[str]] = {}
    for kind, told in warnings_by_kind(found.backends).items():
        for warning in told:
            concerned.setdefault(warning, []).append(kind)
    for warning, kinds_of_it in concerned.items():
        yield Finding("kinds of agents", "note", f"{', '.join(kinds_of_it)}: {warning}")
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


def _server(root: Path, config: Config, *, with_task: bool) -> Iterator[Finding]:
    address = address_of(root, config)
    if config.redis.url is None:
        yield _binary()
        if not EmbeddedServer(root / RUNTIME_DIRECTORY).ping():
            yield Finding("server", "note", "the embedded server does not run", "the next command starts it")
            return
    with BlockingClient(address) as client:
        client.connect()
        link = TownClient(root, config, client)
        yield Finding("server", "ok", f"{address.redacted} answers, version {link.server_version()}")
        link.make_ready()
        yield from examine_town(link)
        if with_task:
            yield from _guarded("a task", lambda: try_a_task(link))
