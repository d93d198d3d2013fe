"""``tt accounts``: the vendor accounts that agents share, which are rate limited, and releasing one."""

from __future__ import annotations

import click
from tinytown.errors import NotFound
from tinytown.model.text import shown
from tinytown_cli import administration
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownGroup
from tinytown_cli.params import Word

from tinytown_ops.costs import ledger


@click.group(cls=TownGroup, alone="list", examples=["tt accounts", "tt accounts unpark claude"])
def accounts() -> None:
    """Vendor accounts that agents share. A rate-limited account is parked: its agents wait, on all hosts."""


@accounts.command("list", examples=["tt accounts list", "tt accounts list --json"])
@pass_cli_context
def list_accounts(context: CliContext) -> None:
    """List accounts, and until when each is parked."""
    with context.open_town() as town:
        found = town.run(ledger.accounts(town.operations.keys))
    rows = [
        (
            account.name,
            f"parked until {account.parked_until}" if account.parked_until else "available",
            str(account.agents),
            ", ".join(account.kinds),
        )
        for account in found
    ]
    lines = table(("account", "state", "agents", "kinds"), rows) if rows else ["no accounts: there are no agents"]
    context.emit({"accounts": found}, lines)


@accounts.command("unpark", examples=["tt accounts unpark claude"])
@click.argument("account", type=Word("account", "accounts"))
@pass_cli_context
def unpark(context: CliContext, account: str) -> None:
    """Release ACCOUNT now. If it is still rate limited, its agents find out and wait again."""
    with context.open_town() as town:
        known = {known.name for known in town.run(ledger.accounts(town.operations.keys))}
        if account not in known:
            raise NotFound(
                f"no account called {shown(account)!r}; known accounts: {', '.join(sorted(known)) or 'none'}",
                hint="tt accounts list shows them",
            )
        reason = f"requested by {town.caller.agent_name or town.caller.address}"
        was_parked = town.run(administration.unpark_account(town.operations.keys, account, reason=reason))
    context.emit(
        {"account": account, "was_parked": was_parked},
        f"{account} is available{'' if was_parked else ' (it was not parked)'}",
    )
