"""What the shell completes accounts, work and coding CLIs to."""

from __future__ import annotations

from collections.abc import Iterable

import click
from tinytown_cli.completion import find_completer, running_town

from tinytown_ops.coding_clis import CODING_CLIS
from tinytown_ops.costs import ledger


def accounts(ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Accounts, with whether they are rate-limited."""
    with running_town(ctx) as town:
        known = town.run(ledger.accounts(town.operations.keys))
    return [
        (account.name, f"parked until {account.parked_until}" if account.parked_until else "available")
        for account in known
    ]


def work(ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Tasks and agents."""
    return [*find_completer("tasks")(ctx), *find_completer("agents")(ctx)]


def coding_clis(_ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Coding CLIs that a conductor may use."""
    return [(cli.name, cli.program) for cli in CODING_CLIS]
