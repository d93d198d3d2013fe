"""``tt service``: has the kernel of a town run as a service of the user: from login on, and again after a crash.

Writes one file, the definition, which it recognises by its first line; overwrites and removes no other unless asked to.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from tinytown.config import URL_VARIABLE, load_config
from tinytown.errors import Refused, TinytownError
from tinytown.files import replace_file
from tinytown.identity import inside_a_round
from tinytown.kernel import running_kernel
from tinytown.state import open_state, town_id
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownGroup
from tinytown_cli.kernel_process import READY_TIMEOUT_S, kernel_log

from tinytown_ops.service.definition import MARK, Service
from tinytown_ops.service.managers import MANAGERS, Manager, manager_here

_POLL_S = 0.05
#: What a kernel needs of the environment that a service manager would not give it. Names of places, nothing secret.
_KEPT_VARIABLES = ("PATH", "LANG", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TINYTOWN_HOME")


@click.group(
    cls=TownGroup,
    alone="status",
    examples=["tt service", "tt service install", "tt service uninstall"],
)
def service() -> None:
    """Run the town's kernel at login and overnight, as a service of systemd or launchd."""


@service.command(
    "install",
    examples=["tt service install", "tt service install --no-start", "tt service install --print --manager launchd"],
)
@click.option("--no-start", is_flag=True, help="Start it with the next login, not now.")
@click.option("--replace", is_flag=True, help="Overwrite a definition that differs.")
@click.option("--print", "printed", is_flag=True, help="Print the definition; write and start nothing.")
@click.option("--manager", type=click.Choice(sorted(MANAGERS)), help="With --print: for this service manager.")
@pass_cli_context
def install(context: CliContext, no_start: bool, replace: bool, printed: bool, manager: Any) -> None:
    """Have the kernel start when you log in, and again after a crash.

    Its definition keeps your PATH of this moment, and no secrets: give the kernel keys of vendors in another way, such as
    systemctl --user edit.
    """
    what = _service(context)
    chosen = manager_here(manager)
    if printed:
        text = chosen.definition(what)
        context.emit({"manager": chosen.name, "path": str(chosen.path(what)), "definition": text}, text.splitlines())
        return
    if manager and manager != manager_here().name:
        raise Refused(f"{manager} does not run here", hint="--print shows the definition without installing it")
    chosen.check()
    pid, running = running_kernel(what.root), chosen.state(what).pid
    if pid and pid != running and not no_start:
        raise Refused(
            f"the town's kernel is running already (process {pid}), outside of the service",
            hint="tt stop, then try again; or --no-start",
            code="kernel_running",
        )
    changed = _write(chosen, what, replace=replace)
    try:
        chosen.enable(what, start=not no_start)
    except TinytownError:
        if changed == "created":
            chosen.path(what).unlink(missing_ok=True)
        raise
    pid = None if no_start else _await_kernel(chosen, what)
    lingers = chosen.stays_after_logout()
    value = {
        "manager": chosen.name,
        "name": what.name,
        "path": str(chosen.path(what)),
        "definition": changed,
        "pid": pid,
        "stays_after_logout": lingers,
    }
    lines = [
        f"{'kept' if changed == 'same' else 'wrote'} {chosen.path(what)}",
        f"the kernel is running (process {pid})" if pid else "the kernel starts with your next login",
        f"its output: {chosen.log_command(what)}",
    ]
    context.emit(value, [*lines, *_linger_line(lingers=lingers)])
    if os.environ.get(URL_VARIABLE):
        context.warn(f"{URL_VARIABLE} may hold a password and is not part of the service: set redis.url instead")


@service.command("uninstall", examples=["tt service uninstall"])
@click.option("--replace", is_flag=True, help="Remove the definition even if somebody else wrote it.")
@pass_cli_context
def uninstall(context: CliContext, replace: bool) -> None:
    """End the service and remove its definition. The town, its mail and its tasks stay."""
    what, manager = _service(context), manager_here()
    manager.check()
    path = manager.path(what)
    present = _read(path)
    if present is not None and MARK not in present and not replace:
        raise Refused(f"{path} was not written by tt service install", hint="--replace removes it all the same")
    manager.disable(what)
    with suppress(FileNotFoundError):
        path.unlink()
    text = f"removed {path}" if present is not None else "the service was not installed"
    context.emit({"manager": manager.name, "name": what.name, "path": str(path), "removed": present is not None}, text)


@service.command("status", examples=["tt service status", "tt service status --json"])
@pass_cli_context
def status(context: CliContext) -> None:
    """Show whether the service is installed and running, and whether it stays when you log out."""
    what, manager = _service(context), manager_here()
    path = manager.path(what)
    present = _read(path)
    manager.check()
    state, kernel = manager.state(what), running_kernel(what.root)
    lingers = manager.stays_after_logout()
    value = {
        "manager": manager.name,
        "name": what.name,
        "path": str(path),
        "installed": present is not None,
        "current": present == manager.definition(what),
        "state": state.state,
        "at_login": state.at_login,
        "pid": state.pid,
        "kernel_pid": kernel,
        "stays_after_logout": lingers,
    }
    context.emit(value, _status_lines(manager, what, value))


def _status_lines(manager: Manager, what: Service, value: dict[str, Any]) -> list[str]:
    if not value["installed"]:
        lines = ["the service is not installed: tt service install"]
    else:
        lines = [
            f"{what.name} of {manager.name} is {value['state']}"
            + (f" (process {value['pid']})" if value["pid"] else ""),
            "starts at login" if value["at_login"] else "does not start at login: tt service install",
            f"defined in {value['path']}",
            f"its output: {manager.log_command(what)}",
        ]
        if not value["current"]:
            lines.append("the definition differs from what would be written now: tt service install --replace")
        lines += _linger_line(lingers=value["stays_after_logout"])
    if value["kernel_pid"] and value["kernel_pid"] != value["pid"]:
        lines.append(f"the town's kernel is process {value['kernel_pid']}, outside of the service")
    return lines


def _linger_line(*, lingers: bool | None) -> list[str]:
    if lingers:
        return ["it stays when you log out"]
    return [] if lingers is None else ["it ends when you log out; so that it stays: loginctl enable-linger"]


def _service(context: CliContext) -> Service:
    root = context.town_root()
    config = load_config(root)
    if inside_a_round():
        raise Refused("cannot change services inside an agent's round", hint="ask a person: tt send supervisor TEXT")
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if os.environ.get(name)}
    return Service(
        id=town_id(root),
        town=config.name,
        root=root,
        python=sys.executable,
        log=kernel_log(root),
        drain_s=config.drain_s,
        environment=kept,
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None


def _write(manager: Manager, what: Service, *, replace: bool) -> str:
    """Write the definition: ``created``, ``replaced``, or ``same`` if it was there. Raises: Refused if another one is there."""
    path, text = manager.path(what), manager.definition(what)
    present = _read(path)
    if present == text:
        return "same"
    if present is not None and not replace:
        whose = "differs from what would be written" if MARK in present else "was not written by tt service install"
        raise Refused(f"{path} is there and {whose}", hint="--replace overwrites it, --print shows the new one")
    open_state(what.root)  # launchd opens the log before the kernel runs
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.encode())
    return "created" if present is None else "replaced"


def _await_kernel(manager: Manager, what: Service) -> int:
    """The process of the kernel once it runs. Raises: TinytownError with code ``kernel_not_started``."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if pid := running_kernel(what.root):
            return pid
        if manager.state(what).state == "failed":
            break
        time.sleep(_POLL_S)
    raise TinytownError(
        "the service is installed, but its kernel does not run",
        hint=f"see {manager.log_command(what)}; tt start shows the error at once",
        code="kernel_not_started",
    )
