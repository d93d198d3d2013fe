"""``tt start`` and ``tt stop``: run the town's kernel in the foreground or the background, and stop it."""

from __future__ import annotations

from pathlib import Path

import click
from tinytown.config import load_config, prepare_runtime_directory
from tinytown.errors import Refused, TinytownError
from tinytown.identity import caller_in, inside_a_round
from tinytown.kernel import running_kernel
from tinytown.redis import town_server

from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.kernel_process import end_kernel, kernel_log, start_kernel


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
    from tinytown.kernel import run_kernel  # late: trio and all that the kernel needs

    prepare_runtime_directory(root)
    run_kernel(root, ready_fd=ready_fd)


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
    if pid is not None:
        context.explain(f"sending SIGTERM to process {pid}")
        if not end_kernel(pid, timeout_s=timeout_s):
            raise TinytownError(
                f"the kernel (process {pid}) did not stop after two SIGTERMs",
                hint=f"see {kernel_log(root)}; kill -9 {pid} is safe",
            )
    server = None if keep_server else town_server(root, config)
    server_stopped = server is not None and server.stop()
    lines = [
        f"stopped the kernel (process {pid})" if pid else "kernel was not running",
        "stopped the server"
        if server_stopped
        else "server kept running"
        if keep_server
        else "no server was running"
        if server
        else "the server at redis.url is not stopped by tt",
    ]
    context.emit({"kernel": {"stopped": pid is not None, "pid": pid}, "server": {"stopped": server_stopped}}, lines)
