"""``tt start`` and ``tt stop``: run the town's kernel in the foreground or the background, and stop it."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
from pathlib import Path

import click
from tinytown.config import Config, load_config
from tinytown.errors import NotFound, Refused, TinytownError
from tinytown.identity import inside_a_round
from tinytown.kernel import running_kernel
from tinytown.process import is_running
from tinytown.redis import town_server

from tinytown_cli.caller import caller_in
from tinytown_cli.client import TownClient, connect
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.kernel_process import end_kernel, expect_kernel, kernel_log, start_kernel
from tinytown_cli.snapshot_files import newest_snapshot

_POLL_S = 0.05


@click.command(cls=TownCommand, examples=["tt start", "tt start --background", "python -m tinytown"])
@click.option("--background", is_flag=True, help="Start a background process and return when it is ready.")
@click.option("--ready-fd", type=int, hidden=True, help="File descriptor to report readiness on.")
@pass_cli_context
def start(context: CliContext, background: bool, ready_fd: int | None) -> None:
    """Run the town's kernel until Ctrl-C or SIGTERM; a second one interrupts its rounds. A town has one kernel per machine."""
    root = context.town_root()
    load_config(root)
    if inside_a_round():
        raise Refused("cannot run a kernel inside an agent's round: it would end with the round")
    _refuse_second(root)
    if not background:
        run_in_foreground(root, ready_fd=ready_fd)
        return
    try:
        with context.progress("starting the kernel"):
            pid = start_kernel(root)
    except TinytownError:
        _refuse_second(root)  # another process started one meanwhile
        raise
    log = kernel_log(root)
    context.emit({"pid": pid, "log": str(log)}, [f"started the kernel (process {pid})", f"log: {log}"])


def _refuse_second(root: Path) -> None:
    if pid := running_kernel(root):
        raise Refused(
            f"the town's kernel is already running (process {pid})",
            hint="stop it first with: tt stop",
            code="kernel_running",
            pid=pid,
        )


def run_in_foreground(root: Path, *, ready_fd: int | None = None) -> None:
    """Run the town's kernel in this process until a signal ends it."""
    from tinytown_cli.init_process import leave_init

    leave_init()
    from tinytown.kernel import run_kernel  # late: trio and all that the kernel needs

    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if run_kernel(root, ready_fd=ready_fd):  # the same process, with what is installed and set by now
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
        os.execv(sys.executable, [sys.executable, "-m", "tinytown", "start", "--town", str(root)])


@click.command(cls=TownCommand, examples=["tt reload", "tt reload --timeout 120"])
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0), default=60.0, show_default=True, metavar="SECONDS",
    help="Wait for so long until it runs again.",
)  # fmt: skip
@pass_cli_context
def reload(context: CliContext, timeout_s: float) -> None:
    """Have the town's kernel on this machine take up the plugins that are installed now, and the present settings.

    Its process stays. Rounds in progress finish within drain_s, or are interrupted and begin again. If the settings or plugins
    are wrong, nothing happens.
    """
    root = context.town_root()
    config = load_config(root)
    caller_in(root).refuse_agents("cannot reload the kernel", "ask a person: tt send supervisor TEXT")
    pid = running_kernel(root)
    if pid is None:
        raise NotFound("no kernel is running on this machine", hint="tt start --background")
    expect_kernel(root, pid)
    from tinytown.plugin import load_plugins  # late: it imports every plugin

    load_plugins(config, root)
    with context.open_town() as town:
        before = {host.id for host in town.run(town.operations.hosts())}
        os.kill(pid, signal.SIGUSR1)
        with context.progress("waiting for the rounds in progress, and for the kernel"):
            kinds = _await_return(town, pid, before, time.monotonic() + timeout_s)
    listed = ", ".join(kinds) or "none"
    context.emit({"pid": pid, "kinds": kinds}, f"the kernel (process {pid}) runs again; kinds of agents: {listed}")


def _await_return(town: TownClient, pid: int, before: set[str], deadline: float) -> tuple[str, ...]:
    """The kinds of the kernel in process `pid` once it is another host than those `before`. Raises: TinytownError."""
    while time.monotonic() < deadline and is_running(pid):
        for host in town.run(town.operations.hosts()):
            if host.pid == pid and host.root == str(town.root) and host.id not in before:
                return host.backends
        time.sleep(_POLL_S)
    how = "is not back in time" if is_running(pid) else "ended instead of running again"
    raise TinytownError(
        f"the kernel (process {pid}) {how}", hint=f"see {kernel_log(town.root)}", code="kernel_not_started"
    )


@click.command(cls=TownCommand, examples=["tt stop", "tt stop --timeout 5 --keep-server"])
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0), default=30.0, show_default=True, metavar="SECONDS",
    help="Let running rounds finish for so long, then interrupt them.",
)  # fmt: skip
@click.option("--keep-server", is_flag=True, help="Keep the embedded server running.")
@pass_cli_context
def stop(context: CliContext, timeout_s: float, keep_server: bool) -> None:
    """Stop the town's kernel on this machine, then its embedded server. Mail and tasks are kept for the next start."""
    root = context.town_root()
    config = load_config(root)
    caller_in(root).refuse_agents("cannot stop the town", "ask a person: tt send supervisor TEXT")
    pid = running_kernel(root)
    before = newest_snapshot(root)
    if pid is not None:
        expect_kernel(root, pid)
        context.explain(f"sending SIGTERM to process {pid}")
        _end_kernel(context, root, config, pid, timeout_s)
    newest = newest_snapshot(root)
    snapshot = newest if newest != before else None
    server = None if keep_server else town_server(root, config)
    server_stopped = server is not None and server.stop()
    lines = [
        f"stopped the kernel (process {pid})" if pid else f"kernel was not running{_whose(root)}",
        *([f"saved a snapshot: {snapshot}"] if snapshot else []),
        "stopped the server"
        if server_stopped
        else "server kept running"
        if keep_server
        else "no server was running"
        if server
        else "the server at redis.url is not stopped by tt",
    ]
    answer = {
        "kernel": {"stopped": pid is not None, "pid": pid},
        "snapshot": snapshot and str(snapshot),
        "server": {"stopped": server_stopped},
    }
    context.emit(answer, lines)


def _end_kernel(context: CliContext, root: Path, config: Config, pid: int, timeout_s: float) -> None:
    """End the kernel, saying on a terminal which rounds it waits for. Raises: TinytownError."""
    deadline = time.monotonic() + timeout_s
    busy = ""

    def report() -> None:
        left_s = max(0.0, deadline - time.monotonic())
        progress.update(f"{busy or 'its rounds'}, interrupted in {left_s:.0f} s" if left_s else f"{busy} interrupted")

    with context.progress("waiting for the kernel to finish") as progress:
        with contextlib.suppress(TinytownError), connect(root, config) as town:
            agents = town.run(town.operations.agents())
            busy = ", ".join(agent.name for agent in agents if agent.state == "working")
        if not end_kernel(pid, timeout_s=timeout_s, while_waiting=report):
            raise TinytownError(
                f"the kernel (process {pid}) did not stop after two SIGTERMs",
                hint=f"see {kernel_log(root)}; kill -9 {pid} is safe",
            )


def _whose(root: Path) -> str:
    """A remark about a project of another user: their kernel has its state among theirs, and cannot be seen from here."""
    owner = root.stat().st_uid
    if owner == os.geteuid():
        return ""
    try:
        import pwd

        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = str(owner)
    return f" as your user; the project belongs to {name}, whose kernel only {name} can see and stop"
