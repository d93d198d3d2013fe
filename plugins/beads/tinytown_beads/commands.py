"""``tt beads``: the group of commands. Each command's work is done in the modules that it names."""

from __future__ import annotations

import click
from tinytown.command_line import TownGroup


@click.group(cls=TownGroup, examples=[])
def beads() -> None:
    """Bring beads in, write them out, keep both in step."""
