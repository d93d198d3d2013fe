"""``tt top``: the town while it works, on one screen. Without a terminal, and with --once, one picture of it."""

from __future__ import annotations

import sys

import click
from tinytown.config import load_config
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand

_WIDTH = 120
_EVENTS = 12


@click.command(cls=TownCommand, examples=["tt top", "tt top --once", "tt top --once --json"])
@click.option("--once", is_flag=True, help="Print one picture and end; so it is without a terminal, too.")
@pass_cli_context
def top(context: CliContext, once: bool) -> None:
    """Watch the town at work: agents and why they wait, tasks, what happens.

    Keys: up and down or j and k choose an agent, Enter shows its log, p pauses it, r lets it go on, q ends.
    """
    if once or context.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        _print_once(context)
        return
    from tinytown_ops.top.screen import watch  # late: trio, and all that a screen needs

    root = context.town_root()
    if number := watch(root, load_config(root)):
        click.get_current_context().exit(128 + number)


def _print_once(context: CliContext) -> None:
    from tinytown_cli.formatting import terminal_width
    from tinytown_ops.top.view import Model, frame, text_of

    with context.open_town() as town:
        model = Model(town.config.name, auto_claim=town.config.auto_claim)
        model.loaded(town.run_all(model.questions(town.operations)))
        for event in town.run(town.operations.latest_events(_EVENTS)):
            model.heard(event)
        now_ms = town.now_ms()
    model.chosen = ""
    height = len(model.agents) + _EVENTS + 7
    lines = [text_of(line) for line in frame(model, terminal_width() or _WIDTH, height, now_ms)]
    context.emit(model.shape(now_ms), lines[:-1])
