"""``tt demo``: four agents build a small tool in a town of their own."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import click
from tinytown.config import URL_VARIABLE
from tinytown.errors import Refused, UsageError
from tinytown.identity import ROUND_VARIABLES, inside_a_round
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import KIND

_SCRIPTED_TIMEOUT_S = 120.0
_REAL_TIMEOUT_S = 3600.0

#: Set by nox, which puts the environment of a session on the PATH for as long as the session lasts.
_SESSION_VARIABLE = "NOX_CURRENT_SESSION"


@click.command(
    cls=TownCommand, examples=["tt demo", "tt demo --dir /tmp/word-tools", "tt demo --cli claude", "tt demo --json"]
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A new or empty directory for the demo.  [default: ./tinytown-demo, or tinytown-demo-2, ...]",
)
@click.option(
    "--cli",
    type=KIND,
    metavar="KIND",
    help="Use real agents of this kind.  [default: scripted agents, which need no key]",
)
@click.option(
    "--workspace",
    type=click.Choice(["worktree", "shared"]),
    help="Each task in a worktree of its own, or all in one directory.  [default: worktree where tinytown-git is installed]",
)
@click.option(
    "--merge",
    type=click.Choice(["queue"]),
    help="How finished work of worktrees comes together: merged by the queue.  [default: queue]",
)
@click.option("--timeout", "timeout_s", type=click.FloatRange(1), metavar="SECONDS", help="Give up after this time.")
@pass_cli_context
def demo(
    context: CliContext,
    directory: Path | None,
    cli: str | None,
    workspace: str | None,
    merge: str | None,
    timeout_s: float | None,
) -> None:
    """Watch four agents design, build, review, fix and approve a small tool in a git repository of its own.

    The scripted agents need no key and no network. Nothing is left running; the directory is kept. Exit code 0 means that
    everything succeeded.
    """
    if inside_a_round():
        raise Refused("the demo starts a server, which an agent's round must not do", hint="run it outside of a round")
    if merge and workspace == "shared":
        raise UsageError(
            "expected --merge with --workspace worktree: in a shared directory there is nothing to merge",
            hint="leave one of them out",
        )
    import trio  # late, like the imports below: `tt demo --help` does not need them

    from tinytown_demo.demo_run import View, open_interruptible, run_demo
    from tinytown_demo.demo_town import check_kinds, choose_workspace
    from tinytown_demo.report import Report, make_report, report_lines
    from tinytown_demo.views import JsonView, PlainView, print_json

    where = choose_workspace(workspace or ("worktree" if merge else None), check_kinds(cli))
    server_elsewhere = os.environ.pop(URL_VARIABLE, None)  # the demo's town has a server of its own
    for name in ROUND_VARIABLES:
        os.environ.pop(name, None)
    view: View
    if context.json:
        view = JsonView()
    elif sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from tinytown_demo.live_view import LiveView

        view = LiveView()
    else:
        view = PlainView()
    limit_s = timeout_s or (_REAL_TIMEOUT_S if cli else _SCRIPTED_TIMEOUT_S)

    async def run_and_report() -> Report:
        async with open_interruptible():
            run = await run_demo(directory, view, cli=cli, workspace=where, timeout_s=limit_s)
            return await make_report(run, scripted=cli is None)
        raise AssertionError("it returns or raises")

    report = trio.run(run_and_report)
    if context.json:
        print_json(report)
    else:
        without_url = f"env -u {URL_VARIABLE} " if server_elsewhere else ""
        for line in report_lines(report, f"cd {shlex.quote(report.directory)} && {_entering()}{without_url}tt status"):
            print(line)
    sys.stdout.flush()
    if not report.succeeded:
        raise click.exceptions.Exit(1)


def _entering() -> str:
    """What makes ``tt`` a command of the reader's shell, if this program's environment is not on the PATH."""
    programs = Path(sys.prefix, "bin")
    activate = programs / "activate"
    is_on_path = shutil.which("tt") == str(programs / "tt") and not os.environ.get(_SESSION_VARIABLE)
    return "" if is_on_path or not activate.is_file() else f". {shlex.quote(str(activate))} && "
