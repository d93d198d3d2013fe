"""``tt accounts``: what agents share with their vendors, and letting a throttled one go on."""

from __future__ import annotations

import click
from tinytown.errors import NotFound
from tinytown.model.text import shown
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownGroup
from tinytown_cli.params import Word
from tinytown_ops.costs import ledger
from tinytown_ops.costs.serializers import account_shape


@click.group(cls=TownGroup, alone="list", examples=["tt accounts", "tt accounts unpark claude"])
def accounts() -> None:
    """What agents share with their vendors. A throttled account is parked: its agents wait, on all hosts."""


@accounts.command("list", examples=["tt accounts list", "tt accounts list --json"])
@pass_cli_context
def list_accounts(context: CliContext) -> None:
    """List the accounts, and until when each is parked."""
    with context.open_town() as town:
        found = town.run(ledger.accounts(town.operations.keys))
    rows = [
        (
            each.name,
            f"parked until {each.parked_until}" if each.parked_until else "free",
            str(each.agents),
            ", ".join(each.kinds),
        )
        for each in found
    ]
    lines = table(("account", "state", "agents", "kinds"), rows) if rows else ["no accounts yet: no agent has one"]
    context.emit({"accounts": [account_shape(each) for each in found]}, lines)


@accounts.command("unpark", examples=["tt accounts unpark claude"])
@click.argument("account", type=Word("account", "accounts"))
@pass_cli_context
def unpark(context: CliContext, account: str) -> None:
    """Let the agents of ACCOUNT go on at once. If it is still throttled, they are told so and wait again."""
    with context.open_town() as town:
        known = {each.name for each in town.run(ledger.accounts(town.operations.keys))}
        if account not in known:
            raise NotFound(
                f"no account called {shown(account)!r}; here are: {', '.join(sorted(known)) or 'none'}",
                hint="tt accounts list shows them",
            )
        reason = f"asked by {town.caller.agent_name or town.caller.address}"
        was_parked = town.run(town.operations.unpark_account(account, reason=reason))
    context.emit(
        {"account": account, "was_parked": was_parked}, f"{account} is free{'' if was_parked else ', as it was before'}"
    )
