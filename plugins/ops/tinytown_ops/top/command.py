"""``tt top``: the town on one live screen. Without a terminal, and with --once, it is printed once."""

from __future__ import annotations

import sys

import click
from tinytown.config import load_config
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand

_WIDTH = 120
_EVENTS = 12


@click.command(cls=TownCommand, examples=["tt top", "tt top --once", "tt top --once --json"])
@click.option("--once", is_flag=True, help="Print the screen once and exit; the default without a terminal.")
@pass_cli_context
def top(context: CliContext, once: bool) -> None:
    """Watch the town on one screen: agents with their activity, tasks, events.

    Keys: up and down or j and k select an agent, Enter shows its log, p pauses it, r resumes it, q quits.
    """
    if once or context.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        _print_once(context)
        return
    from tinytown_ops.top.screen import watch  # late: trio, and all that a screen needs

    root = context.town_root()
    if signal_number := watch(root, load_config(root)):
        click.get_current_context().exit(128 + signal_number)


def _print_once(context: CliContext) -> None:
    from tinytown_cli.formatting import terminal_width

    from tinytown_ops.top.model import Model
    from tinytown_ops.top.view import frame, text_of

    with context.open_town() as town:
        model = Model(town.config.name, auto_claim=town.config.auto_claim)
        model.update(town.run_all(model.queries(town.operations)))
        for event in town.run(town.operations.latest_events(_EVENTS)):
            model.add_event(event)
        now_ms = town.now_ms()
    model.selected = ""
    height = len(model.agents) + _EVENTS + 7
    lines = [text_of(line) for line in frame(model, terminal_width() or _WIDTH, height, now_ms)]
    context.emit(model.shape(now_ms), lines[:-1])
